"""The marks of outcomes, in colour, and in ASCII where nothing else can be printed."""

from typing import NamedTuple

from gpuctl.checks.model import Outcome
from gpuctl.forms.line import Part
from gpuctl.forms.text import can_print


class Mark(NamedTuple):
    """How an outcome shows."""

    symbol: str
    ascii: str
    style: str


_BAD = Mark("\N{MULTIPLICATION SIGN}", "x", "red")
_MARKS = {
    Outcome.PASS: Mark("√", "+", "green"),
    Outcome.WARN: Mark("‼", "!", "yellow"),
    Outcome.FAIL: _BAD,
    Outcome.ERROR: _BAD,
    Outcome.SKIP: Mark("-", "-", "dim"),
}


def marked(outcome: Outcome, *, in_ascii: bool) -> Part:
    """The mark of an outcome."""
    mark = _MARKS[outcome]
    return mark.ascii if in_ascii else mark.symbol, mark.style


def can_print_symbols(encoding: str | None) -> bool:
    """Whether an output of this encoding can show all marks."""
    return can_print("".join(mark.symbol for mark in _MARKS.values()), encoding)
