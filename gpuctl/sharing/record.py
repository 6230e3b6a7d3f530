"""What a run of the proof saw: observations only, which the checks SHR judge.

Times are those of the Kubernetes API, in UTC and whole seconds, so that their texts sort as they do.
"""

from collections import Counter
from collections.abc import Mapping

import msgspec

from gpuctl.desired.sharing import RESOURCE
from gpuctl.observed.devices import gpu_of


class Gpu(msgspec.Struct, frozen=True, rename="camel"):
    """A GPU as a pod sees it through nvidia-smi."""

    uuid: str
    model: str
    driver: str


class PodRun(msgspec.Struct, frozen=True, rename="camel"):
    """A pod of the proof, from its start to its end."""

    name: str
    node: str
    device: str = ""
    """What the kubelet says it gave, `GPU-UUID::SLICE`; empty where it does not say."""
    visible: str = ""
    """NVIDIA_VISIBLE_DEVICES in the pod."""
    sees: tuple[Gpu, ...] = ()
    device_files: tuple[str, ...] = ()
    """GPUs under /dev in the pod."""
    answer: str = ""
    """What nvidia-smi said instead of GPUs."""
    started: str = ""
    finished: str = ""
    """Empty when it did not come to its end."""
    problem: str = ""
    """Why it did not run, or not to its end."""
    resource: str = ""
    """What it asked for; empty when it asked for no GPU."""
    mps: str = ""
    """`reached` where it finds an MPS daemon, `absent` where it should and does not; empty where it is sent to none."""

    @property
    def uuid(self) -> str:
        """The GPU it has: as the kubelet says, else as the device plugin wrote it, else the only one it sees."""
        if self.device:
            return gpu_of(self.device)
        if self.visible.startswith("GPU-"):
            return self.visible
        return self.sees[0].uuid if len(self.sees) == 1 else ""


class NodeRun(msgspec.Struct, frozen=True, rename="camel"):
    """What a node offers of one resource, and what was free of it when the proof began."""

    name: str
    gpus: int
    """Physical GPUs that it offers so, by the stack."""
    slices: int
    """Per GPU, by the stack."""
    config_hash: str
    """SHA-256 of the device plugin's configuration that the stack asks for."""
    allocatable: int = 0
    busy: int = 0
    """Slices of pods that are not the proof's."""
    others: Mapping[str, int] | None = None
    """UUID -> slices of those pods; None where the kubelet does not say."""
    busy_after: int = 0
    kubelet: str = ""
    operating_system: str = ""
    kernel: str = ""
    runtime: str = ""
    problem: str = ""
    """Why no pod can run there at all."""
    resource: str = RESOURCE

    @property
    def offered(self) -> int:
        """Slices that it must offer, by the stack."""
        return self.gpus * self.slices

    @property
    def free(self) -> int:
        """Slices that the proof takes."""
        return 0 if self.problem else max(0, self.allocatable - self.busy)


class ExtraPod(msgspec.Struct, frozen=True, rename="camel"):
    """A pod that comes after every slice is taken."""

    name: str
    phase: str
    """At the end of the watch."""
    message: str
    """The scheduler's, from the pod's condition."""
    seconds: float
    """How long it was watched."""
    node: str = ""
    """Where it went against all expectation."""
    events: tuple[str, ...] = ()
    """Word by word."""
    resource: str = RESOURCE


class CudaRun(msgspec.Struct, frozen=True, rename="camel"):
    """A pod that ran the CUDA program."""

    name: str
    node: str
    passed: bool
    said: str
    """The end of its output."""
    started: str = ""
    finished: str = ""
    problem: str = ""


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """One run of the proof on one cluster."""

    id: str
    namespace: str
    context: str
    kubernetes: str
    """Version of the API server."""
    resource: str
    """What a pod asks for to get a slice; each node's own is with the node."""
    objects_hash: str
    """SHA-256 of the objects that the stack asks for, as `gpuctl render` prints them."""
    started: str
    finished: str = ""
    nodes: tuple[NodeRun, ...] = ()
    pods: tuple[PodRun, ...] = ()
    together: str = ""
    """When one answer of the API server said that all of them were running; empty when none did."""
    extras: tuple[ExtraPod, ...] = ()
    """One for each resource."""
    without: tuple[PodRun, ...] = ()
    """Pods that ask for no GPU."""
    cuda_image: str = ""
    """Empty when none was to be run."""
    cuda: tuple[CudaRun, ...] = ()
    cuda_skipped: str = ""
    """Why there was no CUDA run."""
    refused: str = ""
    """What the cluster answered when it would not take the proof's objects."""
    left: tuple[str, ...] = ()
    """Objects that could not be removed."""

    @property
    def resources(self) -> tuple[str, ...]:
        """What the nodes offer."""
        return tuple(dict.fromkeys(node.resource for node in self.nodes)) or (self.resource,)

    def pods_on(self, node: NodeRun) -> list[PodRun]:
        """The pods that got what a node offers of a resource."""
        return [pod for pod in self.pods if (pod.node, pod.resource) == (node.name, node.resource)]

    def tally(self, node: NodeRun) -> dict[str, int]:
        """UUID -> slices in use at once on a node, those of others included where they are known."""
        own = Counter(pod.uuid for pod in self.pods_on(node) if pod.started)
        return dict(own + Counter(node.others or {}))
