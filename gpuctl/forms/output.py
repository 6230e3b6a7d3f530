"""The forms of an answer, and how one is printed."""

import json
import os
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from enum import StrEnum
from shutil import get_terminal_size

from gpuctl.forms.line import Line
from gpuctl.forms.text import harmless, inert


class Output(StrEnum):
    """Every form that an answer can have; a command has some of them."""

    table = "table"
    """For people."""
    short = "short"
    """For people, only what is wrong."""
    markdown = "markdown"
    """For a pull request, or the summary of a CI job."""
    csv = "csv"
    """For spreadsheets."""
    json = "json"
    """For programs."""


def show(
    output: Output,
    *,
    table: Callable[[], Iterable[Line]],
    document: Callable[[], object],
    short: Callable[[], Iterable[Line]] | None = None,
    markdown: Callable[[], str] | None = None,
    csv: Callable[[], Iterable[Line]] | None = None,
) -> None:
    """Prints an answer in one form; only that form is made."""
    if output is Output.json:
        print(json_text(document()))
    elif output is Output.markdown and markdown:
        print_markdown(markdown())
    elif output is Output.csv and csv:
        print_lines(csv())
    else:
        print_lines((short if output is Output.short and short else table)())


def print_markdown(text: str) -> None:
    """Prints Markdown, whose blocks of code have the text of others as it is: no command to a CI system either."""
    print("\n".join(map(inert, text.split("\n"))), end="")


def print_lines(shown: Iterable[Line]) -> None:
    """Prints lines for people, one after the other as they come, in colour where that shows."""
    colored = _shows_colors()
    for each in shown:
        print(each.colored if colored else each.plain)
    sys.stdout.flush()


@contextmanager
def live() -> Generator[Callable[[Iterable[Line]], None]]:
    """Takes one picture after the other: on a terminal each in the place of the last, elsewhere below it."""
    if not sys.stdout.isatty():
        yield print_lines
        return
    above = 0

    def show(shown: Iterable[Line]) -> None:
        nonlocal above
        picture = list(shown)[: get_terminal_size().lines - 1]
        print(f"\x1b[{above}F\x1b[J" if above else "", end="")
        print_lines(picture)
        above = len(picture)

    print("\x1b[?7l", end="")  # the terminal cuts lines that are too long
    try:
        yield show
    finally:
        print("\x1b[?7h", end="", flush=True)


def json_text(document: object, indent: int | None = 2) -> str:
    """A document for programs, which also in the log of a CI job is text."""
    return json.dumps(document, indent=indent).replace("##[", r"\u0023#[").replace("##vso[", r"\u0023#vso[")


def say(text: str) -> None:
    """Says something on standard output, where it is nothing but text."""
    print(harmless(text))


def complain(text: str) -> None:
    """Says something on standard error, where it is nothing but text."""
    print(harmless(text), file=sys.stderr, flush=True)


def _shows_colors() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()
