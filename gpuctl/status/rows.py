"""Joins what agents and kubelets tell into one row for each GPU."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpuctl.checks.agent_reports import AgentReport
from gpuctl.cluster import Pod
from gpuctl.desired.capacity import resource_name
from gpuctl.power.log import Sample
from gpuctl.settings import GpuNode, Settings

_UNMANAGED = (
    "gpu:powerManagement is false, so no agent of the stack tells of single GPUs: the figures are those of the nodes"
)
_GATE = "Kubernetes tells it from v1.31 on with feature gate ResourceHealthStatus, which is on by default from v1.36 on"


@dataclass(frozen=True)
class Row:
    """One GPU, or a whole node where nothing tells of its GPUs."""

    node: str
    gpu: Sample | None
    """None of a whole node."""
    used: int | None
    """Slices that pods hold; None where the kubelet does not tell which GPU a pod has."""
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


def status(settings: Settings, pods: Mapping[str, Sequence[Pod]], reports: Mapping[str, AgentReport]) -> Status:
    """The GPUs in the order of the stack file.

    Args:
        settings: of the stack.
        pods: node -> the pods that hold slices there.
        reports: node -> what its power-limit agent says; none where the stack has no agents.
    """
    resource = resource_name(settings)
    rows = [
        row
        for node in settings.nodes
        for row in _of_node(settings, node, pods.get(node.name, ()), reports.get(node.name, AgentReport()))
    ]
    notes = [report.silence for report in reports.values() if report.silence]
    if not settings.power_management:
        notes = [_UNMANAGED]
    if mute := [node for node, users in pods.items() if not all(pod.devices(resource) for pod in users)]:
        told = [row.node for row in rows if row.gpu]
        if unknown := [node for node in mute if node in told]:
            notes.append(f"?: the kubelet of {', '.join(unknown)} does not tell which GPU a pod has. {_GATE}")
    return Status(tuple(rows), tuple(notes))


def _of_node(settings: Settings, node: GpuNode, users: Sequence[Pod], report: AgentReport) -> Iterator[Row]:
    resource, slices = resource_name(settings), settings.slices_of(node)
    names = {pod.metadata.uid: f"{pod.namespace}/{pod.name}" for pod in users}
    if not report.gpus:
        used = sum(pod.asks_for(resource) for pod in users)
        yield Row(node.name, None, used, node.count * slices, tuple(sorted(names.values())))
        return
    all_told = all(pod.devices(resource) for pod in users)
    held = [
        (device.resource_id.partition("::")[0], pod.metadata.uid) for pod in users for device in pod.devices(resource)
    ]
    for gpu in report.gpus:
        here = [uid for uuid, uid in held if uuid == gpu.gpu]
        holders = tuple(sorted({names[uid] for uid in here}))
        yield Row(node.name, gpu, len(here) if all_told else None, slices, holders)
