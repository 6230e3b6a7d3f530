"""The stack's figures as series of Prometheus, recorded by rules: what alerts and dashboard compare the cluster with.

The alerts and the dashboard are then the same for every stack, and a figure is in one place.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gpuctl.desired.backends import groups
from gpuctl.desired.capacity import capacity
from gpuctl.desired.daemon_set import grounds
from gpuctl.desired.dra import NAME as DRA_DRIVER
from gpuctl.desired.limits import Limit, limits
from gpuctl.desired.power_limit import NAME as AGENT
from gpuctl.desired.profiles import named, profiles
from gpuctl.desired.sharing import SharedGpus
from gpuctl.settings import GpuNode, Settings

Rule = dict[str, Any]
"""One entry of a rule group, as it stands in a rule file."""

DESIRED_LIMIT = "gpu_stack:power_limit_watts:desired"
"""By node and UUID."""
EXPECTED_SLICES = "gpu_stack:slices:expected"
"""By node and resource, the latter as kube-state-metrics writes it."""
EXPECTED_DRIVERS = "gpu_stack:dra_drivers:expected"
"""Ready pods of the DRA driver, by namespace and DaemonSet."""
NOT_DRA = 'backend=""'
"""Which expected slices are a number in the node's status, that kube-state-metrics knows; ResourceSlices are not."""
EXPECTED_AGENTS = "gpu_stack:power_limit_agents:expected"
"""Ready pods of the power-limit agent, by namespace and DaemonSet."""
CIRCUIT_ALLOWED = "gpu_stack:circuit_watts:allowed"
"""By circuit."""
CIRCUIT_DRAWN = "gpu_stack:circuit_watts:drawn"
"""What the GPUs on it draw now and its nodes draw besides, by circuit."""

GPU_INFO = "gpu_stack:gpu:info"
"""Always 1, by node, UUID and name of the model; the exporters' series differ in their labels, these do not."""
REQUESTED_LIMIT = "gpu_stack:power_limit_watts:requested"
ENFORCED_LIMIT = "gpu_stack:power_limit_watts:enforced"
DEFAULT_LIMIT = "gpu_stack:power_limit_watts:default"
DRAW = "gpu_stack:power_draw_watts"
TEMPERATURE = "gpu_stack:temperature_celsius"
UTILIZATION = "gpu_stack:utilization_ratio"
MEMORY = "gpu_stack:memory_used_ratio"
"""These are measured, by node and UUID."""
XID = "gpu_stack:gpu_xid:last"
"""Always 1, of a GPU whose DCGM reports an Xid: the last one, until the next, by node, UUID and xid."""

POD_SLICES = "gpu_stack:pod_slices"
"""Slices that a running pod has, by node, resource, namespace and pod."""
POD_MEMORY = "gpu_stack:pod_memory_bytes"
POD_SHARE = "gpu_stack:pod_memory_share_bytes"
"""The memory of a slice of the GPU, times the pod's slices of that resource, which is a label of it too."""
POD_SM = "gpu_stack:pod_sm_ratio"
"""These are by node, UUID, namespace and pod."""
SLICE_MEMORY = "gpu_stack:slice_memory_bytes"
"""The memory of the GPU, divided by its slices, or the limit that MPS sets; the resource is a label of it too."""
PROCESSES = "gpu_stack:gpu_processes"
"""These are by node and UUID."""
WATCHED = "gpu_stack:usage:up"
"""1 where the usage watcher of a node sees its GPUs."""

EXPORTED_INFO, DCGM_INFO = "nvidia_smi_gpu_info", "DCGM_FI_DEV_POWER_USAGE"
"""The series by which an exporter shows that it watches a GPU."""
_MEASURED = {
    REQUESTED_LIMIT: ("nvidia_smi_power_limit_watts", "DCGM_FI_DEV_POWER_MGMT_LIMIT"),
    ENFORCED_LIMIT: ("nvidia_smi_enforced_power_limit_watts", "DCGM_FI_DEV_ENFORCED_POWER_LIMIT"),
    DEFAULT_LIMIT: ("nvidia_smi_power_default_limit_watts", "DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF"),
    DRAW: ("nvidia_smi_power_draw_watts", "DCGM_FI_DEV_POWER_USAGE"),
    TEMPERATURE: ("nvidia_smi_temperature_gpu", "DCGM_FI_DEV_GPU_TEMP"),
}
"""Series -> those of nvidia_gpu_exporter and of dcgm-exporter with the same meaning, in the same unit."""


def figures(settings: Settings) -> list[Rule]:
    """The recording rules of a stack: first what is measured, then what is wanted."""
    return [
        *_measured(settings.nodes),
        *_slices(settings),
        *_drivers(settings),
        *_circuits(settings),
        *(_usage(settings) if settings.usage_metrics else ()),
        *(_power(settings) if settings.power_management else ()),
    ]


def _measured(nodes: Sequence[GpuNode]) -> Iterator[Rule]:
    """One series for each figure, whichever exporter tells it, or both: of this stack's nodes alone."""
    info = f"{EXPORTED_INFO}{{{_of(nodes)}}} or {_from_dcgm(DCGM_INFO, nodes, name='modelName')}"
    yield _rule(GPU_INFO, f"group by (node, uuid, name) ({info})")
    for series, (exported, dcgm) in _MEASURED.items():
        either = f"{exported}{{{_of(nodes)}}} or {_from_dcgm(dcgm, nodes)}"
        yield _rule(series, f"max by (node, uuid) ({either})")
    percent = f"{_from_dcgm('DCGM_FI_DEV_GPU_UTIL', nodes)} / 100"
    yield _rule(UTILIZATION, f"max by (node, uuid) (nvidia_smi_utilization_gpu_ratio{{{_of(nodes)}}} or {percent})")
    used, free = (_from_dcgm(f"DCGM_FI_DEV_FB_{what}", nodes) for what in ("USED", "FREE"))
    exported = " / ".join(f"nvidia_smi_memory_{what}_bytes{{{_of(nodes)}}}" for what in ("used", "total"))
    yield _rule(MEMORY, f"max by (node, uuid) ({exported} or {used} / ({used} + {free}))")
    counted = f'count_values by (node, uuid) ("xid", {_from_dcgm("DCGM_FI_DEV_XID_ERRORS", nodes)} > 0)'
    yield _rule(XID, f"group by (node, uuid, xid) ({counted})")


def _from_dcgm(metric: str, nodes: Iterable[GpuNode], **more: str) -> str:
    """A series of dcgm-exporter with the labels of nvidia_gpu_exporter: node, uuid without `GPU-`, and more."""
    expr = f"{metric}{{{_of(nodes, 'Hostname')}}}"
    for label, (source, pattern) in {
        "node": ("Hostname", "(.+)"),
        "uuid": ("UUID", "GPU-(.+)"),
        **{label: (source, "(.+)") for label, source in more.items()},
    }.items():
        expr = f'label_replace({expr}, "{label}", "$1", "{source}", "{pattern}")'
    return expr


def _slices(settings: Settings) -> Iterator[Rule]:
    backends = {node.name: settings.backend_of(node) for node in settings.nodes}
    for node, offers in capacity(settings).offers.items():
        said = {"backend": "dra"} if backends[node] == "dra" else {}
        for resource, slices in offers.items():
            yield _rule(EXPECTED_SLICES, f"vector({slices})", node=node, resource=_resource(resource), **said)


def _drivers(settings: Settings) -> Iterator[Rule]:
    for profile in profiles(settings):
        if profile.sharing.backend == "dra":
            expected = f"vector({len(profile.nodes)})"
            yield _rule(EXPECTED_DRIVERS, expected, namespace=settings.namespace, daemonset=profile.named(DRA_DRIVER))


def _circuits(settings: Settings) -> Iterator[Rule]:
    for circuit in settings.circuits:
        draws = f"sum({DRAW}{{{_of(circuit.nodes)}}})"
        yield _rule(CIRCUIT_DRAWN, f"{draws} + {circuit.base_watts}", circuit=circuit.name)
        yield _rule(CIRCUIT_ALLOWED, f"vector({circuit.allowed_watts})", circuit=circuit.name)


def _usage(settings: Settings) -> Iterator[Rule]:
    """What the usage watchers see, with the names that kube-state-metrics has for their pods' UIDs."""
    yield _rule(WATCHED, f"max by (node) (gpu_usage_up{{{_of(settings.nodes)}}})")
    yield _rule(PROCESSES, _of_gpus("processes", _of(settings.nodes)))
    yield _rule(POD_MEMORY, _of_pods("memory_bytes", settings.nodes))
    yield _rule(POD_SM, _of_pods("sm_ratio", settings.nodes))
    for node in settings.nodes:
        for group in groups(settings, node):
            memory = _slice_memory(node, group)
            yield _rule(SLICE_MEMORY, memory, node=node.name, resource=_resource(group.resource))
    resources = "|".join(map(_resource, capacity(settings).by_resource))
    limits = f"kube_pod_container_resource_limits{{{_of(settings.nodes)},resource=~{_quoted(resources)}}}"
    running = 'on (namespace, pod) (max by (namespace, pod) (kube_pod_status_phase{phase="Running"}) == 1)'
    held = f"sum by (node, resource, namespace, pod) (max without (instance, job) ({limits}))"
    yield _rule(POD_SLICES, f"{held} and {running}")
    each = f"({POD_MEMORY} * 0 + on (node, uuid) group_left (resource) {SLICE_MEMORY})"
    yield _rule(POD_SHARE, f"{each} * on (node, resource, namespace, pod) group_left () {POD_SLICES}")


def _of_gpus(metric: str, matchers: str) -> str:
    """A series of the usage watcher by node and UUID; two watchers that hand over to each other say the same."""
    return f"max by (node, uuid) ({_without_gpu(f'gpu_usage_gpu_{metric}{{{matchers}}}')})"


def _of_pods(metric: str, nodes: Iterable[GpuNode]) -> str:
    seen = f"max by (node, uuid, pod_uid) ({_without_gpu(f'gpu_usage_pod_{metric}{{{_of(nodes)}}}')})"
    names = 'label_replace(max by (namespace, pod, uid) (kube_pod_info), "pod_uid", "$1", "uid", "(.+)")'
    return f"sum by (node, uuid, namespace, pod) ({seen} * on (pod_uid) group_left (namespace, pod) {names})"


def _slice_memory(node: GpuNode, group: SharedGpus) -> str:
    uuids = [each for each in group.which if each.startswith("GPU-")]
    indices = [each for each in group.which if each not in uuids]
    named = [f",{label}=~{_quoted('|'.join(each))}" for label, each in (("index", indices), ("uuid", uuids)) if each]
    memory = (_of_gpus("memory_total_bytes", f"node={_quoted(node.name)}{more}") for more in named or [""])
    of_slice = f"* 0 + {group.limit_mib << 20}" if group.limit_mib else f"/ {group.slices}"
    return " or ".join(f"{each} {of_slice}" for each in memory)


def _without_gpu(expr: str) -> str:
    """With the UUID as exporters have it."""
    return f'label_replace({expr}, "uuid", "$1", "uuid", "GPU-(.+)")'


def _resource(name: str) -> str:
    """As kube-state-metrics has it."""
    return name.translate(str.maketrans("./", "__"))


def _power(settings: Settings) -> Iterator[Rule]:
    all_limits = list(limits(settings))
    for limit in all_limits:
        if limit.watts is not None:
            yield _limit(limit, all_limits, settings.nodes)
    for ground in grounds(found := profiles(settings)):
        nodes = [node for profile in found if profile.sharing.bare is not ground.toolkit for node in profile.nodes]
        agents = f"vector({len(nodes)})"
        yield _rule(EXPECTED_AGENTS, agents, namespace=settings.namespace, daemonset=named(AGENT, ground.name))


def _limit(limit: Limit, others: Iterable[Limit], nodes: Iterable[GpuNode]) -> Rule:
    """The limit of each GPU that it is for and the exporter reports; a GPU gets exactly one."""
    if limit.uuid:
        gpus = f"max by (node) ({GPU_INFO}{{{_of(nodes)},uuid={_quoted(_exported(limit.uuid))}}})"
        return _rule(DESIRED_LIMIT, f"{gpus} * {limit.watts}", uuid=_exported(limit.uuid))
    matchers = [f"node={_quoted(limit.node)}"]
    matchers += [f"uuid!={_quoted(_exported(other.uuid))}" for other in others if other.uuid]
    if limit.model:
        matchers.append(f"name={_quoted(limit.model)}")
    else:
        matchers += [f"name!={_quoted(other.model)}" for other in others if other.model and other.node == limit.node]
    gpus = f"max by (uuid) ({GPU_INFO}{{{','.join(matchers)}}})"
    model = {"model": limit.model} if limit.model else {}
    return _rule(DESIRED_LIMIT, f"{gpus} * {limit.watts}", node=limit.node, **model)


def _rule(name: str, expr: str, **labels: str) -> Rule:
    return {"record": name, "expr": expr} | ({"labels": labels} if labels else {})


def _of(nodes: Iterable[GpuNode], label: str = "node") -> str:
    return f"{label}=~{_quoted('|'.join(node.name.replace('.', '[.]') for node in nodes))}"


def _exported(uuid: str) -> str:
    """As the exporter writes it."""
    return uuid.removeprefix("GPU-")


def _quoted(text: str) -> str:
    return json.dumps(text)
