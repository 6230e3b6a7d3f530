"""A report for people: everything, or only what is wrong."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.text import Text

from gpuctl.checks.model import Outcome
from gpuctl.checks.report import Entry, Report
from gpuctl.report.symbols import marked
from gpuctl.report.words import (
    ALL,
    CAPACITY_HEADINGS,
    SHOWN,
    capacity_cells,
    findings,
    headline,
    seen,
    shown_capacity,
    verdict,
    with_remedies,
)

_INDENT = "    "


def table(report: Report, *, in_ascii: bool = False) -> Iterator[Text]:
    """Every check by category, the capacity of each node, and the verdict."""
    yield Text(f"gpuctl verify: {seen(report)}", "bold")
    for heading, entries in _blocks(report.entries):
        yield Text()
        yield Text(heading, "bold")
        yield Text("-" * len(heading), "dim")
        yield from _checks(entries, in_ascii=in_ascii)
    yield Text()
    yield from _capacity(report, in_ascii=in_ascii)
    yield _verdict(report)


def short(report: Report, *, in_ascii: bool = False) -> Iterator[Text]:
    """Only what is wrong, and the verdict."""
    for entry in report.entries:
        if entry.is_bad or entry.outcome is Outcome.WARN:
            yield from _entry(entry, in_ascii=in_ascii)
    yield _verdict(report)


def summary(reports: Sequence[Report], *, in_ascii: bool = False) -> Iterator[Text]:
    """Several stacks, one line each."""
    rows: list[tuple[str, ...]] = [("STACK", "CONTEXT", "FAILED", "WARNINGS", "PASSED", "SKIPPED", "READY")]
    for report in reports:
        count = report.counts
        failed = count[Outcome.FAIL] + count[Outcome.ERROR]
        figures = (failed, count[Outcome.WARN], count[Outcome.PASS], count[Outcome.SKIP])
        rows.append((report.stack, report.context or "-", *map(str, figures), ""))
    marks = [Outcome.PASS if report.ready else Outcome.FAIL for report in reports]
    yield from _marked(columns(rows), marks, in_ascii=in_ascii)


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of cells, each column as wide as its widest cell; never cut, whatever the width of the screen."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))


def _marked(lines: Iterator[str], marks: Sequence[Outcome], *, in_ascii: bool) -> Iterator[Text]:
    yield Text(next(lines).rstrip(), "bold")
    for line, mark in zip(lines, marks, strict=True):
        yield Text.assemble(line, "  ", marked(mark, in_ascii=in_ascii))


def _blocks(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Entries by category; neighbouring categories that are skipped for one and the same reason stand together."""
    names: list[str] = []
    together: list[Entry] = []
    for name, found in groupby(entries, key=lambda entry: entry.check.category.name):
        category = list(found)
        if together and not _one_reason([*together, *category]):
            yield ", ".join(names), together
            names, together = [], []
        names, together = [*names, name], [*together, *category]
    if together:
        yield ", ".join(names), together


def _one_reason(entries: Sequence[Entry]) -> bool:
    reasons = {(entry.outcome, entry.results[0].fact) for entry in entries}
    return len(reasons) == 1 and entries[0].outcome is Outcome.SKIP


def _checks(entries: Sequence[Entry], *, in_ascii: bool) -> Iterator[Text]:
    if len(entries) > 1 and _one_reason(entries):
        yield _line(Outcome.SKIP, f"{len(entries)} checks: {entries[0].results[0].fact}", in_ascii=in_ascii)
        return
    for entry in entries:
        yield from _entry(entry, in_ascii=in_ascii)


def _entry(entry: Entry, *, in_ascii: bool) -> Iterator[Text]:
    yield _line(entry.outcome, headline(entry), in_ascii=in_ascii)
    if entry.outcome is Outcome.SKIP:
        yield from _remedy(entry.results[0].remedy)
    found = findings(entry)
    for facts, cause, remedy in with_remedies(found[:SHOWN]):
        for fact in facts:
            yield from (Text(_INDENT + line) for line in fact.splitlines())
        if cause:
            yield Text(f"{_INDENT}{cause}")
        yield from _remedy(remedy)
    if len(found) > SHOWN:
        yield Text(f"{_INDENT}and {len(found) - SHOWN} more: {ALL}")
    if entry.outcome not in (Outcome.PASS, Outcome.SKIP):
        yield Text(f"{_INDENT}see {entry.check.anchor}", "dim")


def _remedy(command: str) -> Iterator[Text]:
    if command:
        yield Text.assemble(_INDENT, "try: ", (command, "cyan"))


def _line(outcome: Outcome, text: str, *, in_ascii: bool) -> Text:
    return Text.assemble(marked(outcome, in_ascii=in_ascii), " ", text)


def _capacity(report: Report, *, in_ascii: bool) -> Iterator[Text]:
    if not report.capacity:
        return
    rows, left = shown_capacity(report.capacity)
    marks = [Outcome.PASS if row.allocatable == row.expected else Outcome.FAIL for row in rows]
    yield from _marked(columns([CAPACITY_HEADINGS, *map(capacity_cells, rows)]), marks, in_ascii=in_ascii)
    if left:
        yield Text(f"and {left} more nodes: {ALL}")


def _verdict(report: Report) -> Text:
    return Text(verdict(report), "bold green" if report.ready else "bold red")
