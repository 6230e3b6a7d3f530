"""GPU models that a stack file describes itself: what the catalogue has not, or has with other figures."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from gpuctl.settings.catalogue import Generation, GpuModel, PowerRange, Product
from gpuctl.settings.nodes import Model
from gpuctl.settings.refusal import Problem, RemoveKey
from gpuctl.settings.values import Mebibytes, Switch, Text, Watts

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings


class DescribedGpu(Model):
    """One GPU model. What is left out is not known, and not checked."""

    name: Text
    """As `nvidia-smi -L` prints it: by this name a node's GPUs are recognised."""
    generation: Generation
    """NVIDIA's architecture, which decides on drivers and kernel modules."""
    product: Product | None = None
    """NVIDIA's product line: the open kernel modules of drivers before 545 are for `datacenter` only."""
    memory_mib: Annotated[Mebibytes | None, Field(alias="memoryMiB")] = None
    """Memory of one GPU; unset also where it shares that of the CPU."""
    min_watts: Watts | None = None
    """The lowest power limit that it takes; see `nvidia-smi -q -d POWER`."""
    default_watts: Watts | None = None
    """Its power limit where nobody sets one; counted on a circuit while it is left alone."""
    max_watts: Watts | None = None
    """The highest power limit that it takes."""
    has_limit: Switch = True
    """Whether it takes a power limit at all."""

    @property
    def model(self) -> GpuModel:
        """As the catalogue would have it."""
        return GpuModel(
            name=self.name,
            memory_mib=self.memory_mib,
            watts=PowerRange(self.min_watts, self.default_watts, self.max_watts),
            has_limit=self.has_limit,
            product=self.product,
            generation=self.generation,
            confidence="stack file",
        )


def watts_are_in_order(settings: "Settings") -> Iterator[Problem]:
    """The lowest limit of a GPU is not above its default, nor that above the highest."""
    for key, gpu in settings.gpu_models.items():
        named = {"minWatts": gpu.min_watts, "defaultWatts": gpu.default_watts, "maxWatts": gpu.max_watts}
        known = [(name, watts) for name, watts in named.items() if watts is not None]
        for (lower, least), (upper, most) in pairwise(known):
            if least > most:
                yield Problem(("gpuModels", key, upper), most, f"is less than {lower}, {least}", [RemoveKey()])
