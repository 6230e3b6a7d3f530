"""The alerts: what must never go unnoticed, with the words for it. docs/alerts.md says what fixes each.

They read what `figures` records of nvidia_gpu_exporter v1.14 or dcgm-exporter, and kube-state-metrics. Whatever else
a series is labelled with is aggregated away: an exporter that restarts must not reset a pending alert.
"""

from collections.abc import Iterator

from gpuctl.desired.figures import (
    CIRCUIT_ALLOWED,
    CIRCUIT_DRAWN,
    DCGM_INFO,
    DEFAULT_LIMIT,
    DESIRED_LIMIT,
    DRAW,
    ENFORCED_LIMIT,
    EXPECTED_AGENTS,
    EXPECTED_DRIVERS,
    EXPECTED_SLICES,
    EXPORTED_INFO,
    GPU_INFO,
    NOT_DRA,
    POD_MEMORY,
    POD_SHARE,
    POD_SLICES,
    POD_SM,
    PROCESSES,
    REQUESTED_LIMIT,
    WATCHED,
    XID,
    Rule,
)
from gpuctl.settings import Settings

RUNBOOK = "docs/alerts.md"

_GPU = "GPU {{ $labels.uuid }} of node {{ $labels.node }}"
_CRITICAL_XIDS = "48|62|64|74|79|95|119|120"
"""Those after which a GPU needs a reset or its node a reboot; the others are mostly faults of applications."""
_SEEN = "and on () kube_node_info"
"""Without kube-state-metrics nothing is known, and nothing is missing."""


def alerts(settings: Settings) -> list[Rule]:
    """The alerting rules of a stack."""
    by_dra = any(settings.backend_of(node) == "dra" for node in settings.nodes)
    return [
        *(_limits(settings) if settings.power_management else ()),
        *(_circuits() if settings.circuits else ()),
        *_capacity(by_dra=by_dra),
        *(_drivers() if by_dra else ()),
        *_sources(),
        *(_usage() if settings.usage_metrics else ()),
    ]


def _limits(settings: Settings) -> Iterator[Rule]:
    """The agent has two rounds to put a limit back before anyone is alerted.

    A GPU that has no limit to set, only one that it enforces, may enforce less than is wanted: so it is held.

    An exporter that does not tell the default lets every limit that is too high count as lost: the graver of the two.
    """
    patience = f"{2 * settings.power_interval + 60}s"
    off_default = f"{REQUESTED_LIMIT} != on (node, uuid) {DEFAULT_LIMIT}"
    lost = f"({REQUESTED_LIMIT} - on (node, uuid) {DESIRED_LIMIT}) > 1 unless on (node, uuid) ({off_default})"
    yield _alert(
        "GpuPowerLimitLost",
        lost,
        patience,
        "critical",
        f"{_GPU} is back at its default power limit",
        f"{_GPU} may draw {{{{ $value }}}} W more than the stack allows, and the agent does not put its limit back.",
    )
    yield _alert(
        "GpuPowerLimitDrift",
        f"({_off(REQUESTED_LIMIT)}) unless on (node, uuid) ({lost})",
        patience,
        "warning",
        f"{_GPU} is not at its power limit",
        f"The power limit of {_GPU} is {{{{ $value }}}} W off the stack's, and the agent does not put it back.",
    )
    yield _alert(
        "GpuPowerLimitNotEnforced",
        f"({_off(ENFORCED_LIMIT, f'and on (node, uuid) {REQUESTED_LIMIT}')}) unless on (node, uuid) "
        f"({_off(REQUESTED_LIMIT)})",
        patience,
        "warning",
        f"{_GPU} enforces another power limit than the one that is set",
        f"What {_GPU} enforces is {{{{ $value }}}} W off the stack's limit, although that limit is set.",
    )
    watched = f"unless on (node, uuid) {REQUESTED_LIMIT} unless on (node, uuid) {ENFORCED_LIMIT}"
    yield _alert(
        "GpuPowerLimitUnwatched",
        f"count by (node) ({DESIRED_LIMIT} {watched})",
        "5m",
        "warning",
        "Prometheus has no power limits of node {{ $labels.node }}",
        "The exporter tells of {{ $value }} GPUs of node {{ $labels.node }}, and of none of their power limits: "
        "dcgm-exporter does so only with the counters that docs/monitoring.md lists.",
    )
    ready = "max by (namespace, daemonset) (kube_daemonset_status_number_ready)"
    yield _alert(
        "GpuPowerAgentNotReady",
        f"{_missing(EXPECTED_AGENTS, ready, 'namespace, daemonset')} {_SEEN}",
        "5m",
        "warning",
        "The power-limit agent is not ready on every GPU node",
        "DaemonSet {{ $labels.daemonset }} has {{ $value }} ready pods fewer than the stack has nodes: the GPUs of "
        "these are not held at their limits.",
    )


def _circuits() -> Iterator[Rule]:
    yield _alert(
        "GpuCircuitOverBudget",
        f"({CIRCUIT_DRAWN} - on (circuit) {CIRCUIT_ALLOWED}) > 0",
        "1m",
        "critical",
        "The circuit of {{ $labels.circuit }} is overloaded",
        "The nodes on the circuit of {{ $labels.circuit }} draw {{ $value }} W more than it allows.",
    )


def _capacity(*, by_dra: bool) -> Iterator[Rule]:
    expected = f"{EXPECTED_SLICES}{{{NOT_DRA}}}" if by_dra else EXPECTED_SLICES
    capacity, allocatable = (
        f"max by (node, resource) (kube_node_status_{name})" for name in ("capacity", "allocatable")
    )
    yield _alert(
        "GpuCapacityBelowExpected",
        f"{_missing(expected, capacity, 'node, resource')} {_SEEN}",
        "5m",
        "warning",
        "Node {{ $labels.node }} offers fewer GPU slices than the stack says",
        "{{ $value }} slices of {{ $labels.resource }} are missing on node {{ $labels.node }}.",
    )
    yield _alert(
        "GpuUnhealthy",
        f"({capacity} - on (node, resource) {allocatable}) > 0 and on (node, resource) {expected}",
        "2m",
        "critical",
        "A GPU of node {{ $labels.node }} is unhealthy",
        "{{ $value }} slices of {{ $labels.resource }} on node {{ $labels.node }} get no new pods: the device plugin "
        "found their GPU unhealthy, or does not run.",
    )
    critical = f'{{xid=~"{_CRITICAL_XIDS}"}}'
    yield _alert(
        "GpuXid",
        f"((min by (node, uuid, xid) (time() - nvidia_smi_xid_last_timestamp_seconds{critical}) < 300) "
        f"or ({XID}{critical} unless {XID} offset 5m)) and on (node) {EXPECTED_SLICES}",
        "0s",
        "critical",
        f"Xid {{{{ $labels.xid }}}} on {_GPU}",
        f"The driver reported Xid {{{{ $labels.xid }}}} for {_GPU} within the last five minutes.",
    )


def _drivers() -> Iterator[Rule]:
    """Of the slices of the DRA driver no exporter has a series: gpuctl verify, in the cluster, watches these."""
    ready = "max by (namespace, daemonset) (kube_daemonset_status_number_ready)"
    yield _alert(
        "GpuDraDriverNotReady",
        f"{_missing(EXPECTED_DRIVERS, ready, 'namespace, daemonset')} {_SEEN}",
        "5m",
        "warning",
        "The DRA driver is not ready on every GPU node",
        "DaemonSet {{ $labels.daemonset }} has {{ $value }} ready pods fewer than the stack has nodes: these offer no "
        "GPU to new pods.",
    )


def _sources() -> Iterator[Rule]:
    yield _alert(
        "GpuExporterAbsent",
        f"max by (node) ({EXPECTED_SLICES}) unless on (node) {GPU_INFO}",
        "5m",
        "warning",
        "No GPU metrics of node {{ $labels.node }}",
        f"Prometheus has no {EXPORTED_INFO} with node {{{{ $labels.node }}}} and no {DCGM_INFO} with Hostname "
        "{{ $labels.node }}: nobody watches what its GPUs draw.",
    )
    yield _alert(
        "GpuKubeStateMetricsAbsent",
        "absent(kube_node_info)",
        "5m",
        "warning",
        "No metrics of kube-state-metrics",
        "Prometheus has no kube_node_info: nobody watches capacity, health and the power-limit agent.",
    )


def _usage() -> Iterator[Rule]:
    """A pod of which nobody can tell whether it computes is not called idle."""
    pod, gpu = "{{ $labels.namespace }}/{{ $labels.pod }}", "GPU {{ $labels.uuid }} of node {{ $labels.node }}"
    yield _alert(
        "GpuMemoryOverShare",
        f"({POD_MEMORY} - on (node, uuid, namespace, pod) {POD_SHARE}) > 0",
        "5m",
        "warning",
        f"{pod} holds more than its share of the memory of {gpu}",
        f"{pod} holds {{{{ $value | humanize1024 }}}}B more than its share of the memory of {gpu}: other pods there "
        "may get an out of memory.",
    )
    unknown = f"({POD_MEMORY} unless on (node, uuid, namespace, pod) {POD_SM})"
    yield _alert(
        "GpuIdleHolder",
        f"{POD_SLICES} unless on (namespace, pod) ({POD_SM} > 0) unless on (namespace, pod) {unknown} "
        f"and on (node) ({WATCHED} == 1)",
        "1h",
        "warning",
        f"{pod} holds a GPU and computes nothing",
        f"{pod} holds {{{{ $value }}}} {{{{ $labels.resource }}}} of node {{{{ $labels.node }}}} and was seen to "
        "compute nothing for an hour.",
    )
    yield _alert(
        "GpuDrawWithoutUser",
        f"({DRAW} > on (node, uuid) 0.5 * {ENFORCED_LIMIT}) and on (node, uuid) ({PROCESSES} == 0)",
        "10m",
        "warning",
        f"{gpu} draws much and nobody uses it",
        f"{gpu} draws {{{{ $value }}}} W, more than half of its limit, and no process is on it.",
    )
    yield _alert(
        "GpuUsageUnwatched",
        f"max by (node) ({EXPECTED_SLICES}) unless on (node) ({WATCHED} == 1)",
        "10m",
        "warning",
        "Nobody sees who uses the GPUs of node {{ $labels.node }}",
        "Prometheus has no gpu_usage_up with node {{ $labels.node }}, or nvidia-smi does not answer the usage watcher "
        "there.",
    )


def _off(limit: str, low: str = "") -> str:
    """Too high or too low, with the sign kept; 1 W is within a GPU's rounding, and the agent's tolerance.

    Args:
        limit: the series that is compared with the stack's.
        low: what must hold besides for a limit that is too low.
    """
    off = f"({limit} - on (node, uuid) {DESIRED_LIMIT})"
    return f"{off} > 1 or {off} < -1{f' {low}' if low else ''}"


def _missing(expected: str, actual: str, by: str) -> str:
    """How many there are too few; a series that is not there counts as 0."""
    return f"({expected} - on ({by}) ({actual} or on ({by}) {expected} * 0)) > 0"


def _alert(name: str, expr: str, patience: str, severity: str, summary: str, description: str) -> Rule:
    return {
        "alert": name,
        "expr": expr,
        "for": patience,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description, "runbook": f"{RUNBOOK}#{name.lower()}"},
    }
