"""What pods and nodes of the API become in the record."""

from collections.abc import Sequence

from gpuctl.cluster import Node, Pod
from gpuctl.desired import dra
from gpuctl.desired.device_plugin.config import config_hash
from gpuctl.desired.sharing import SharedGpus
from gpuctl.observed.devices import devices, held, usage
from gpuctl.observed.pods import pod_problem
from gpuctl.settings import Settings
from gpuctl.sharing.record import CudaRun, Gpu, NodeRun, PodRun

_SUCCESS = "Test PASSED"
"""What NVIDIA's CUDA samples end with."""


def node_run(settings: Settings, group: SharedGpus, name: str, node: Node | None, users: Sequence[Pod]) -> NodeRun:
    """What a node of the stack offers of a resource before the proof.

    Args:
        settings: of the stack.
        group: what the stack says of it.
        name: of the node.
        node: what the cluster has; None when it has none of that name.
        users: the node's active pods that hold GPUs.
    """
    is_plugin = group.component != dra.NAME
    hash_, resource = config_hash(settings, group) if is_plugin else "", group.resource
    if node is None:
        return NodeRun(name, group.count, group.slices, hash_, problem="is not in the cluster", resource=resource)
    info = node.status.node_info
    on = usage((pod for pod in users if pod.asks_for(resource)), resource)
    return NodeRun(
        name=name,
        gpus=group.count,
        slices=group.slices,
        config_hash=hash_,
        allocatable=node.allocatable(resource),
        busy=held(users, resource),
        others={gpu: len(pods) for gpu, pods in on.pods.items()} if on.is_complete else None,
        busy_after=held(users, resource),
        kubelet=info.kubelet_version,
        operating_system=info.os_image,
        kernel=info.kernel_version,
        runtime=info.container_runtime_version,
        problem="is cordoned" if node.spec.unschedulable else "" if node.ready else "is not Ready",
        resource=resource,
    )


def pod_run(pod: Pod, resource: str) -> PodRun:
    """A pod that lists its GPUs, of which it asked for one by a resource; what it said is known when it has ended."""
    status = next(iter(pod.status.container_statuses), None)
    state = status.state if status else None
    ended = state.terminated if state else None
    said = _said(ended.message if ended else "")
    rows = [row.split(", ") for row in said.get("smi", [])]
    has = devices(pod, resource)
    return PodRun(
        name=pod.name,
        node=pod.node,
        device=has[0].id if has else "",
        visible=next(iter(said.get("visible", [])), ""),
        sees=tuple(Gpu(*row) for row in rows if len(row) == 3 and row[0].startswith("GPU-")),
        device_files=tuple(said.get("file", [])),
        answer=" ".join(", ".join(row) for row in rows if not row[0].startswith("GPU-")),
        started=ended.started_at if ended else state.running.started_at if state and state.running else "",
        finished=ended.finished_at if ended else "",
        problem=problem(pod),
        resource=resource,
        mps=next(iter(said.get("mps", [])), ""),
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
    found = None if pod.status.phase == "Running" else pod_problem(pod)
    return found.why if found else ""


def _said(message: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in message.splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    return found
