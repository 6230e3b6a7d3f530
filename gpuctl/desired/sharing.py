"""How the GPUs of a node are shared, and what the node offers for it: the one place where slices are counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from gpuctl.settings import GpuGroup, Settings

RESOURCE = "nvidia.com/gpu"
RENAMED_RESOURCE = "nvidia.com/gpu.shared"


class Mode(Enum):
    """How pods share a GPU."""

    WHOLE = "whole"
    """Not at all: one pod has it."""
    TIME_SLICING = "time-slicing"
    """In turns, without isolation of memory or faults."""


@dataclass(frozen=True)
class SharedGpus:
    """GPUs of one node that are shared in the same way."""

    gpus: tuple[GpuGroup, ...]
    """Which, by model."""
    mode: Mode
    slices: int
    """Pods that share one GPU."""
    resource: str
    """What a pod asks for to get a slice."""

    @property
    def by_model(self) -> Mapping[str, int]:
        """Model, as in the stack file -> slices of all its GPUs."""
        return {group.gpu: group.count * self.slices for group in self.gpus}

    @property
    def offered(self) -> int:
        """Slices of all of them."""
        return sum(self.by_model.values())


def resource_name(settings: Settings) -> str:
    """The resource a pod asks for."""
    return RENAMED_RESOURCE if settings.rename_by_default else RESOURCE
