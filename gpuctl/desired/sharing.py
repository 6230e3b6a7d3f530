"""How the GPUs of a node are shared, and what the node offers for it: the one place where slices are counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from gpuctl.settings import GpuGroup

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
    component: str
    """Whose pods offer it: what the label `app.kubernetes.io/name` says of them."""
    which: tuple[str, ...] = ()
    """By index or UUID; empty where they are all GPUs of the node."""

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
        """Average memory of one slice of the smallest GPU; None with a model that is not in the catalogue.

        An average and no reservation: time slicing does not isolate memory, and one pod can take all of it.
        """
        known = [group.model.memory_mib for group in self.gpus if group.model and group.model.memory_mib]
        return min(known) // self.slices if len(known) == len(self.gpus) else None


def offers_text(offers: Mapping[str, int]) -> str:
    """Resources as people count them: `1 nvidia.com/gpu, 4 nvidia.com/gpu.shared`."""
    return ", ".join(f"{count} {resource}" for resource, count in offers.items())
