"""The marks of outcomes, in colour, and in ASCII where nothing else can be printed."""

from typing import NamedTuple

from rich.text import Text

from gpuctl.checks.model import Outcome


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


def marked(outcome: Outcome, *, in_ascii: bool) -> Text:
    """The mark of an outcome."""
    mark = _MARKS[outcome]
    return Text(mark.ascii if in_ascii else mark.symbol, mark.style)


def can_print_symbols(encoding: str) -> bool:
    """Whether an output of this encoding can show all marks."""
    return can_print("".join(mark.symbol for mark in _MARKS.values()), encoding)


def can_print(text: str, encoding: str | None) -> bool:
    """Whether an output of this encoding can show a text; None is one that is not known."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
