"""The GPU models the project knows: gpuctl/data/gpus.yaml, typed.

Plain values and no models, which would cost every start their building; a test holds each row to these types.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml

Generation = Literal["maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"]
GENERATIONS: tuple[Generation, ...] = get_args(Generation)
"""Oldest first."""
Product = Literal["geforce", "workstation", "datacenter", "jetson"]

_FILE = Path(__file__).parents[1] / "data" / "gpus.yaml"


class PowerRange(NamedTuple):
    """Watts a GPU takes as its limit; a side that is None is not known."""

    minimum: int | None
    default: int | None
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


class GpuModel(NamedTuple):
    """One row of the catalogue."""

    name: str
    """As nvidia-smi prints it."""
    memory_mib: int | None
    """None where it shares the CPU's memory."""
    watts: PowerRange
    product: Product | None
    """NVIDIA's product line, which decides on drivers as well: some open kernel modules are for one line only."""
    generation: Generation
    """NVIDIA's architecture, which decides on drivers and kernel modules."""
    confidence: Literal["captured", "specification", "partial", "unconfirmed", "stack file"]
    has_limit: bool = True
    """Whether the GPU takes a power limit at all."""
    pci_ids: tuple[str, ...] = ()
    """PCI device ids that are this model's alone, of four hexadecimal digits, under NVIDIA's vendor id 10de."""


def nearest_common(watts: int, ranges: Iterable[PowerRange]) -> int | None:
    """The limit closest to the one asked for that all of the GPUs take; None where there is none."""
    known = list(ranges)
    nearest = max((span.nearest(watts) for span in known), key=lambda each: abs(each - watts), default=watts)
    return nearest if all(span.nearest(nearest) == nearest for span in known) else None


def _model(
    watts: list[int | None],
    memoryMiB: int | None,  # noqa: N803
    hasLimit: bool = True,  # noqa: N803
    pci: str = "",
    **row: Any,
) -> GpuModel:
    """A row, by the names that it has in the file."""
    memory, ids = memoryMiB, tuple(pci.split())
    return GpuModel(watts=PowerRange(*watts), memory_mib=memory, has_limit=hasLimit, pci_ids=ids, **row)


CATALOGUE = {key: _model(**row) for key, row in yaml.load(_FILE.read_text(), yaml.CSafeLoader).items()}
"""Catalogue key, such as `rtx-3090` -> model."""
_KEY_BY_NAME = {model.name.casefold(): key for key, model in reversed(CATALOGUE.items())}


def key_of(gpu: str, described: Mapping[str, GpuModel] | None = None) -> str:
    """The key for a key or a name as nvidia-smi prints it; another text as it is.

    Args:
        gpu: key, name or any text.
        described: models of the stack file's own, which come before those of the catalogue.
    """
    if gpu in CATALOGUE or gpu in (described or {}):
        return gpu
    own = (key for key, model in (described or {}).items() if model.name.casefold() == gpu.casefold())
    return next(own, _KEY_BY_NAME.get(gpu.casefold(), gpu))


def meant(gpu: str) -> str | None:
    """The key that a text is a slip of; None where only a GPU of another series has a similar one."""
    written = gpu.lower().replace(" ", "-").removeprefix("nvidia-").removeprefix("geforce-")
    letters, number = _series(written)
    alike = [key for key in CATALOGUE if _series(key)[0] == letters and len(_series(key)[1]) == len(number)]
    same = [key for key in alike if _series(key)[1] == number]
    close = difflib.get_close_matches(written, same, n=1, cutoff=0) or difflib.get_close_matches(written, alike, n=1)
    is_workstation = number.endswith("000")  # as in RTX 4000, while GeForce has 4070 and the like
    return next((key for key in close if not is_workstation or _series(key)[1].endswith("000")), None)


def _series(key: str) -> tuple[str, str]:
    """The letters that name the series, and the number of the GPU in it."""
    found = re.match(r"(\D*)(\d*)", key)
    return (found[1], found[2]) if found else (key, "")
