"""Power limits that GPUs take: what is proposed, and what a number means to GPUs of several models."""

from collections.abc import Iterable, Iterator, Mapping

from gpuctl.init.text import Entry
from gpuctl.settings import CATALOGUE, Settings

USUAL_WATTS: int = Settings.model_fields["power_limit"].default
"""What a stack file without the key means."""


def take_limits(models: Iterable[str]) -> list[str]:
    """Those of some models that take a power limit, as far as is known."""
    return [model for model in models if model not in CATALOGUE or CATALOGUE[model].has_limit]


def proposed(models: Iterable[str]) -> int:
    """The usual limit, or the highest that one of the models takes without more watts than it has by default."""
    return max((_limit(model, USUAL_WATTS) for model in models), default=USUAL_WATTS)


def limits(models: Iterable[str], watts: int) -> dict[str, int]:
    """Model -> its limit, where one number is said of all: GPUs that do not take it get the nearest they do.

    Where none of them takes it, it stays, so that the rules of stack files refuse it.
    """
    known = {model: _limit(model, watts) for model in models}
    return known if watts in known.values() else dict.fromkeys(known, watts)


def range_of(model: str) -> str:
    """What a model takes, as the rest of a sentence about it."""
    known = CATALOGUE.get(model)
    if known is None:
        return "is not in the catalogue: only the GPU itself can say which limits it takes"
    default = f", {known.watts.default} W by default" if known.watts.default else ""
    is_known = known.watts.minimum is not None or known.watts.maximum is not None
    span = str(known.watts) if is_known else "a limit of unknown range"
    return f"takes {span}{default}" if known.has_limit else "takes no limit"


def power_entries(models: Mapping[str, int]) -> Iterator[Entry]:
    """What a stack file says of the limits of models; the highest is the usual one."""
    if not models:
        return
    usual = max(models.values())
    comments = ["Watts per GPU", *(f"{model} {range_of(model)}" for model in models)]
    yield Entry("powerLimit", usual, comments)
    if others := {model: watts for model, watts in models.items() if watts != usual}:
        yield Entry("powerLimits", others)


def _limit(model: str, watts: int) -> int:
    known = CATALOGUE.get(model)
    if known is None:
        return watts
    default, nearest = known.watts.default, known.watts.nearest(watts)
    is_taken = nearest == watts and not (known.watts.maximum is None and default is not None and watts > default)
    return watts if is_taken or default is None else min(nearest, default)
