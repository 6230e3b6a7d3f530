"""Who holds which GPU: the devices of pods, as the kubelet reports them, and the pods of nodes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpuctl.cluster import Pod


@dataclass(frozen=True, slots=True)
class Device:
    """A slice of a GPU, or a whole one, that a pod has."""

    id: str
    """Of a shared GPU its UUID, two colons and the number of the slice; of a whole one its UUID."""
    is_healthy: bool

    @property
    def gpu(self) -> str:
        """UUID of the GPU."""
        return gpu_of(self.id)

    @property
    def is_slice(self) -> bool:
        """Whether it is a slice, of which the GPU may have others."""
        return self.gpu != self.id


@dataclass(frozen=True, slots=True)
class Usage:
    """Which pods hold the GPUs of a node."""

    pods: Mapping[str, tuple[Pod, ...]]
    """UUID -> the pods on that GPU, one for each slice."""
    is_complete: bool
    """Whether the kubelet says of every pod which GPU it has (feature gate ResourceHealthStatus)."""


def gpu_of(device: str) -> str:
    """The UUID in a device's id."""
    return device.partition("::")[0]


def devices(pod: Pod, *resources: str) -> tuple[Device, ...]:
    """What a pod has of some resources; nothing where the kubelet does not report it."""
    found = (each for resource in resources for each in pod.devices(resource))
    return tuple(Device(each.resource_id, each.health != "Unhealthy") for each in found)


def usage(pods: Iterable[Pod], *resources: str) -> Usage:
    """Who is on which GPU.

    Args:
        pods: that hold one of the resources on one node.
        resources: what they ask for.
    """
    found: dict[str, tuple[Pod, ...]] = {}
    is_complete = True
    for pod in pods:
        has = devices(pod, *resources)
        is_complete = is_complete and len(has) >= held([pod], *resources)
        for device in has:
            found[device.gpu] = (*found.get(device.gpu, ()), pod)
    return Usage(found, is_complete)


def users(pods: Iterable[Pod], *resources: str) -> dict[str, list[Pod]]:
    """Node -> its active pods that hold one of some resources."""
    found: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        if pod.active and held([pod], *resources):
            found[pod.node].append(pod)
    return dict(found)


def held(pods: Iterable[Pod], *resources: str) -> int:
    """How many of some resources pods hold."""
    return sum(pod.asks_for(resource) for pod in pods for resource in resources)
