"""What pods and nodes of the API become in the record."""

from collections import Counter
from collections.abc import Iterable, Sequence

from gpuctl.cluster import Node, Pod
from gpuctl.desired.device_plugin.config import config_hash
from gpuctl.desired.profiles import profile_of
from gpuctl.settings import GpuNode, Settings
from gpuctl.sharing.record import CudaRun, Gpu, NodeRun, PodRun

PULL_FAILURES = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
"""Reasons of a container that waits for an image it will not get; ErrImagePull alone may be a passing one."""
_SUCCESS = "Test PASSED"
"""What NVIDIA's CUDA samples end with."""


def node_run(settings: Settings, wanted: GpuNode, node: Node | None, users: Sequence[Pod], resource: str) -> NodeRun:
    """A node of the stack as it is before the proof.

    Args:
        settings: of the stack.
        wanted: what the stack says of it.
        node: what the cluster has; None when it has none of that name.
        users: the node's active pods that hold the resource.
        resource: that a pod asks for.
    """
    hash_ = config_hash(settings, profile_of(settings, wanted))
    slices = settings.slices_of(wanted)
    if node is None:
        return NodeRun(wanted.name, wanted.count, slices, hash_, problem="is not in the cluster")
    info = node.status.node_info
    return NodeRun(
        name=wanted.name,
        gpus=wanted.count,
        slices=slices,
        config_hash=hash_,
        allocatable=node.allocatable(resource),
        busy=busy(users, resource),
        others=_others(users, resource),
        busy_after=busy(users, resource),
        kubelet=info.kubelet_version,
        operating_system=info.os_image,
        kernel=info.kernel_version,
        runtime=info.container_runtime_version,
        problem="is cordoned" if node.spec.unschedulable else "" if node.ready else "is not Ready",
    )


def busy(users: Iterable[Pod], resource: str) -> int:
    """How many slices pods hold."""
    return sum(pod.asks_for(resource) for pod in users)


def pod_run(pod: Pod, resource: str) -> PodRun:
    """A pod that looks at its GPUs; what it said is known when it has ended."""
    status = next(iter(pod.status.container_statuses), None)
    state = status.state if status else None
    ended = state.terminated if state else None
    said = _said(ended.message if ended else "")
    rows = [row.split(", ") for row in said.get("smi", [])]
    devices = pod.devices(resource)
    return PodRun(
        name=pod.name,
        node=pod.node,
        device=devices[0].resource_id if devices else "",
        visible=next(iter(said.get("visible", [])), ""),
        sees=tuple(Gpu(*row) for row in rows if len(row) == 3 and row[0].startswith("GPU-")),
        device_files=tuple(said.get("file", [])),
        answer=" ".join(", ".join(row) for row in rows if not row[0].startswith("GPU-")),
        started=ended.started_at if ended else state.running.started_at if state and state.running else "",
        finished=ended.finished_at if ended else "",
        problem=problem(pod),
    )


def cuda_run(pod: Pod, lines: Sequence[str]) -> CudaRun:
    """A pod that ran a CUDA program, with the end of its log."""
    status = next(iter(pod.status.container_statuses), None)
    ended = status.state.terminated if status else None
    return CudaRun(
        name=pod.name,
        node=pod.node,
        passed=pod.status.phase == "Succeeded" and any(_SUCCESS in line for line in lines),
        said="\n".join(lines),
        started=ended.started_at if ended else "",
        finished=ended.finished_at if ended else "",
        problem=problem(pod),
    )


def problem(pod: Pod) -> str:
    """Why a pod does not run, or ended badly; empty when neither is so."""
    if pod.status.phase in ("Running", "Succeeded"):
        return ""
    for status in pod.status.container_statuses:
        if status.state.terminated:
            ended = status.state.terminated
            return _sentence(ended.reason, ended.message) or f"exit code {ended.exit_code}"
        if status.state.waiting:
            return _sentence(status.state.waiting.reason, status.state.waiting.message)
    if pod.status.reason:
        return _sentence(pod.status.reason, pod.status.message)
    said = next((condition for condition in pod.status.conditions if condition.status == "False"), None)
    return _sentence(said.reason, said.message) if said else "it has not been scheduled yet"


def cannot_be_pulled(pod: Pod) -> bool:
    """Whether it waits for an image that it will not get."""
    waiting = (status.state.waiting for status in pod.status.container_statuses)
    return any(each.reason in PULL_FAILURES for each in waiting if each)


def unschedulable(pod: Pod) -> str:
    """The scheduler's reason for leaving a pod without a node; empty when there is none."""
    found = (condition for condition in pod.status.conditions if condition.type == "PodScheduled")
    return next((condition.message for condition in found if condition.status == "False"), "")


def _others(users: Sequence[Pod], resource: str) -> dict[str, int] | None:
    devices = [device.resource_id for pod in users for device in pod.devices(resource)]
    if len(devices) < busy(users, resource):
        return None
    return dict(Counter(device.partition("::")[0] for device in devices))


def _said(message: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in message.splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    return found


def _sentence(reason: str, message: str) -> str:
    return ": ".join(part for part in (reason, " ".join(message.split())) if part)
