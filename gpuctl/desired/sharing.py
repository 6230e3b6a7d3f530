"""How the GPUs of a node are shared, and what the node offers for it: the one place where slices are counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from gpuctl.settings import GpuGroup
from gpuctl.settings.nodes import Mps

RESOURCE = "nvidia.com/gpu"
RENAMED_RESOURCE = "nvidia.com/gpu.shared"


class Mode(Enum):
    """How pods share a GPU."""

    WHOLE = "whole"
    """Not at all: one pod has it."""
    TIME_SLICING = "time-slicing"
    """In turns, without isolation of memory or faults."""
    MPS = "mps"
    """At once, each with a hard limit of memory and threads; a fatal fault of one ends those on the same GPU."""


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
    component: str
    """Whose pods offer it: what the label `app.kubernetes.io/name` says of them."""
    which: tuple[str, ...] = ()
    """By index or UUID; empty where they are all GPUs of the node."""
    mps: Mps | None = None
    """What the stack file gives each slice; None but for MPS."""

    @property
    def count(self) -> int:
        """Physical GPUs."""
        return sum(group.count for group in self.gpus)

    @property
    def by_model(self) -> Mapping[str, int]:
        """Model, as in the stack file -> slices of all its GPUs."""
        return {group.gpu: group.count * self.slices for group in self.gpus}

    @property
    def offered(self) -> int:
        """Slices of all of them."""
        return sum(self.by_model.values())

    @property
    def memory_mib(self) -> int | None:
        """Memory of one slice of the smallest GPU; None with a model that is not in the catalogue.

        With time slices an average and no reservation: memory is not isolated, and one pod can take all of it.
        """
        if self.limit_mib:
            return self.limit_mib
        known = [group.model.memory_mib for group in self.gpus if group.model and group.model.memory_mib]
        return min(known) // self.slices if len(known) == len(self.gpus) else None

    def share_mib(self, gpu_mib: int, slices: int = 1) -> int:
        """Memory of some slices of one GPU; with MPS its limit, which holds for each process of a pod.

        Args:
            gpu_mib: memory of that GPU, as the driver says.
            slices: how many of it; more than it has are all of them.
        """
        counted = min(slices, self.slices)
        return self.limit_mib * counted if self.limit_mib else gpu_mib * counted // self.slices

    @property
    def visible(self) -> str:
        """As NVIDIA_VISIBLE_DEVICES has them."""
        return ",".join(self.which) or "all"

    @property
    def limit_mib(self) -> int | None:
        """Memory that the stack file gives each slice; None where it is a share of what the GPU has."""
        return (self.mps.memory_mib or None) if self.mps else None

    @property
    def threads_percent(self) -> int | None:
        """Part of a GPU's multiprocessors that one slice may use; None where it is not limited."""
        return (self.mps.threads_percent or 100 // self.slices) if self.mps else None


def offers_text(offers: Mapping[str, int]) -> str:
    """Resources as people count them: `1 nvidia.com/gpu, 4 nvidia.com/gpu.shared`."""
    return ", ".join(f"{count} {resource}" for resource, count in offers.items())
