"""The GPU models the project knows: config/gpus.yaml, typed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Generation = Literal["maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"]
GENERATIONS: tuple[Generation, ...] = get_args(Generation)
"""Oldest first."""

_FILE = Path(__file__).parents[2] / "config" / "gpus.yaml"


class PowerRange(NamedTuple):
    """Watts a card takes as its limit; a side that is None is not known."""

    minimum: int | None
    default: int
    maximum: int | None

    def nearest(self, watts: int) -> int:
        """The legal limit closest to the one asked for, in watts."""
        at_least = watts if self.minimum is None else max(watts, self.minimum)
        return at_least if self.maximum is None else min(at_least, self.maximum)

    def __str__(self) -> str:
        if self.minimum is None and self.maximum is None:
            return "of unknown range"
        if self.minimum is None or self.maximum is None:
            return f"at most {self.maximum} W" if self.minimum is None else f"at least {self.minimum} W"
        return f"{self.minimum} to {self.maximum} W"


class GpuModel(BaseModel):
    """One row of the catalogue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """As nvidia-smi prints it."""
    memory_mib: Annotated[int, Field(gt=0, alias="memoryMiB")]
    watts: PowerRange
    generation: Generation
    """NVIDIA's architecture, which decides on drivers and kernel modules."""
    confidence: Literal["captured", "specification", "partial"]


def nearest_common(watts: int, ranges: Iterable[PowerRange]) -> int | None:
    """The limit closest to the one asked for that all of the cards take; None where there is none."""
    known = list(ranges)
    nearest = max((span.nearest(watts) for span in known), key=lambda each: abs(each - watts), default=watts)
    return nearest if all(span.nearest(nearest) == nearest for span in known) else None


CATALOGUE = TypeAdapter(dict[str, GpuModel]).validate_python(yaml.load(_FILE.read_text(), yaml.CSafeLoader))
"""Catalogue key, such as `rtx-3090` -> model."""
