"""What a drill is, and how one is held."""

from collections.abc import Callable, Generator
from typing import NamedTuple

from tests.drills.field import Field

Fault = Generator[None, None, None] | None


class Drill(NamedTuple):
    """A fault, and what is promised of it."""

    name: str
    make: Callable[[Field], Fault]
    """Makes the fault, and ends it. A generator yields while it lasts, and doctor is asked then."""
    within: float
    """Seconds after the fault is over in which everything must be right again, on a machine that is busy."""
    short: bool
    """Whether `make test` holds it too."""
    pods_end: bool
    """Whether the fault itself ends the pods at work."""


class Row(NamedTuple):
    """What was measured of a drill."""

    drill: str
    recovery: float
    """Seconds from the end of the fault until everything was right."""
    kept: str
    """GPU pods whose container is the same as before, of all."""
    above: float
    """Seconds that the worst GPU's limit was above what is wanted."""
    doctor: str
    """Exit code of doctor during the fault and the checks it named; `-` for a fault of a moment."""
    verify: str
    """The same of verify at the end."""
    left_over: str


DRILLS: dict[str, Drill] = {}


def drill(
    name: str, *, within: float = 120, short: bool = False, pods_end: bool = False
) -> Callable[[Callable[[Field], Fault]], Callable[[Field], Fault]]:
    """Puts a function into the table of drills."""

    def register(make: Callable[[Field], Fault]) -> Callable[[Field], Fault]:
        DRILLS[name] = Drill(name, make, within, short, pods_end)
        return make

    return register


def held(drill: Drill, field: Field) -> Row:
    """Holds a drill.

    Raises:
        AssertionError: not everything came right in time.
    """
    field.settle()
    before, doctor = field.containers(), "-"
    with field.watched() as above:
        fault = drill.make(field)
        for _ in fault or ():
            doctor = field.gpuctl("doctor")
        recovery = field.wait(lambda: _is_right(drill, field), drill.within)
    after = field.containers()
    kept = sum(after.get(name) == container for name, container in before.items())
    verify, left_over = field.gpuctl("verify"), ", ".join(field.left_over()) or "-"
    return Row(drill.name, recovery, f"{kept}/{len(before)}", above[0], doctor, verify, left_over)


def _is_right(drill: Drill, field: Field) -> bool:
    if drill.pods_end:
        field.replace_failed()
    return field.is_right()
