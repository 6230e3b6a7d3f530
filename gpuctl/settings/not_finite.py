"""Infinities and such in a stack file: Pulumi writes all of it as JSON, which has no such numbers, and refuses it."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import cast

from gpuctl.settings.mistakes import Mistake, edit
from gpuctl.settings.refusal import Path, path_text, printable

_AS_WRITTEN = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
_REASON = "is a number that Pulumi cannot store, so it refuses the file; write another number, or a text in quotes"


def not_finite(config: Mapping[str, object], name: str) -> list[Mistake]:
    """A mistake for each, in keys of whichever project. `pulumi config` refuses the file too, so no command fixes one.

    Args:
        config: full key, such as `gpu:slices`, to value.
        name: of the stack file.
    """
    return [
        Mistake(printable(path_text(path)), _AS_WRITTEN[str(value)], _REASON, edit(name))
        for path, value in _found(config, ())
    ]


def _found(value: object, path: Path) -> Iterator[tuple[Path, float]]:
    if isinstance(value, dict):
        for key, each in cast(dict[str, object], value).items():
            yield from _found(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(cast(list[object], value)):
            yield from _found(each, (*path, index))
    elif isinstance(value, float) and not isfinite(value):
        yield path, value
