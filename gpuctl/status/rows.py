"""Joins what agents and kubelets report into one row for each GPU."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpuctl.checks.agent_reports import AgentReport
from gpuctl.cluster import Pod
from gpuctl.desired.desired import Desired, DesiredNode
from gpuctl.observed.devices import held, usage
from gpuctl.power.log import Sample

_UNMANAGED = (
    "gpu:powerManagement is false, so no agent of the stack reports single GPUs: the figures are those of the nodes"
)
_GATE = "Kubernetes reports it from v1.31 on with feature gate ResourceHealthStatus, on by default from v1.36 on"


@dataclass(frozen=True)
class Row:
    """One GPU, or a whole node where nothing reports its GPUs."""

    node: str
    gpu: Sample | None
    """None of a whole node."""
    used: int | None
    """Slices that pods hold; None where the kubelet does not report which GPU a pod has."""
    slices: int
    """Slices there are."""
    users: tuple[str, ...]
    """`namespace/pod`, of those known to hold one."""


@dataclass(frozen=True)
class Status:
    """One look at all GPUs of a stack."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """What is not known, and why."""


def status(desired: Desired, pods: Mapping[str, Sequence[Pod]], reports: Mapping[str, AgentReport]) -> Status:
    """The GPUs in the order of the stack file.

    Args:
        desired: what the stack asks for.
        pods: node -> the pods that hold slices there.
        reports: node -> what its power-limit agent says; none where the stack has no agents.
    """
    resources = desired.resources
    rows = [
        row
        for name, node in desired.nodes.items()
        for row in _of_node(node, resources, pods.get(name, ()), reports.get(name, AgentReport()))
    ]
    notes = [report.silence for report in reports.values() if report.silence]
    if not desired.settings.power_management:
        notes = [_UNMANAGED]
    with_gpus = {row.node for row in rows if row.gpu}
    if unknown := [name for name in pods if name in with_gpus and not usage(pods[name], *resources).is_complete]:
        notes.append(f"?: the kubelet of {', '.join(unknown)} does not report which GPU a pod has. {_GATE}")
    return Status(tuple(rows), tuple(notes))


def _of_node(node: DesiredNode, resources: Sequence[str], users: Sequence[Pod], report: AgentReport) -> Iterator[Row]:
    if not report.gpus:
        yield Row(node.name, None, held(users, *resources), sum(node.offers.values()), _names(users))
        return
    on = usage(users, *resources)
    for gpu in report.gpus:
        here = on.pods.get(gpu.gpu, ())
        slices = node.group_of(gpu.gpu, gpu.index).slices
        yield Row(node.name, gpu, len(here) if on.is_complete else None, slices, _names(here))


def _names(pods: Iterable[Pod]) -> tuple[str, ...]:
    return tuple(sorted({f"{pod.namespace}/{pod.name}" for pod in pods}))
