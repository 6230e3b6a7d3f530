"""What offers GPUs to the scheduler: one row for each way, which is a folder of its own beside this file."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gpuctl.desired import device_plugin, dra
from gpuctl.desired.part import Part
from gpuctl.desired.profiles import Profile
from gpuctl.desired.sharing import SharedGpus
from gpuctl.settings import GpuNode, Settings


class Backend(NamedTuple):
    """One way to offer GPUs."""

    name: str
    groups: Callable[[Settings, GpuNode], tuple[SharedGpus, ...]]
    """What it offers of a node; nothing of a node that is not its own."""
    parts: Callable[[Settings, Sequence[Profile]], Sequence[Part]]
    """What must be deployed for it, in that order; all of it comes after the parts that every backend needs."""


BACKENDS = (
    Backend("device-plugin", device_plugin.groups, device_plugin.parts),
    Backend("dra", dra.groups, dra.parts),
)


def groups(settings: Settings, node: GpuNode) -> tuple[SharedGpus, ...]:
    """The GPUs of a node by the way they are shared; each GPU is in one group, and each group has its resource."""
    return tuple(group for backend in BACKENDS for group in backend.groups(settings, node))
