"""What all forms of a report for people say in the same words."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from gpuctl.checks.model import Outcome, Result
from gpuctl.checks.report import CapacityRow, Entry, Report
from gpuctl.desired.sharing import RESOURCE
from gpuctl.forms.text import visible

SHOWN = 10
"""How many subjects of one check, or nodes of one table, a person is shown; machines get all."""
ALL = "-o json"
COUNTED = {
    Outcome.ERROR: "broken",
    Outcome.FAIL: "failed",
    Outcome.WARN: "warning",
    Outcome.PASS: "passed",
    Outcome.SKIP: "skipped",
}
CAPACITY_HEADINGS = ("NODE", "GPUS", "SLICES", "EXPECTED", "ALLOCATABLE")


def counts(report: Report) -> str:
    """Such as `1 failed, 14 passed, 2 skipped`."""
    return ", ".join(
        f"{count} {word}{'s' if outcome is Outcome.WARN and count > 1 else ''}"
        for outcome, word in COUNTED.items()
        if (count := report.counts[outcome])
    )


def verdict(report: Report) -> str:
    """Whether the cluster is ready, in one line."""
    late = ", when the wait was over" if report.timed_out else ""
    state = "ready" if report.ready else "NOT ready"
    return f'{counts(report)} in {report.seconds:.1f} s: cluster "{report.stack}" is {state}{late}'


def compared(stack: str, context: str) -> str:
    """Which stack is compared with which cluster."""
    return f"stack {stack}, " + (f"context {context}" if context else "no context")


def headline(entry: Entry) -> str:
    """A check in one line: what was observed where that is one thing, else the statement and what it is about."""
    first = entry.results[0]
    if entry.outcome is Outcome.SKIP:
        return f"{entry.check.title}: {said(first)}"
    if entry.outcome is not Outcome.PASS:
        return entry.check.title
    if len(entry.results) == 1:
        return said(first)
    subjects = [result.subject for result in entry.results if result.outcome is Outcome.PASS and result.subject]
    return f"{entry.check.title}: {cut(subjects)}" if subjects else entry.check.title


def findings(entry: Entry) -> list[Result]:
    """The results of a check that a headline does not tell."""
    if entry.outcome is Outcome.SKIP:
        return list(entry.results[1:])
    return [result for result in entry.results if result.outcome is not Outcome.PASS]


def said(result: Result) -> str:
    """The fact, with its subject where it does not name it itself."""
    named = not result.subject or result.subject in result.fact
    return visible(result.fact if named else f"{result.subject}: {result.fact}")


def with_remedies(results: Sequence[Result]) -> Iterator[tuple[list[str], str, str]]:
    """Facts, cause and remedy: neighbours with the same cause and remedy stand together."""
    for (cause, remedy), alike in groupby(results, key=lambda result: (result.cause, result.remedy)):
        yield [said(result) for result in alike], visible(cause), visible(remedy)


def capacity_cells(row: CapacityRow) -> tuple[str, ...]:
    """A row under CAPACITY_HEADINGS."""
    offered = "unknown" if row.allocatable is None else str(row.allocatable)
    expected = str(row.expected) if row.resource == RESOURCE else f"{row.expected} {row.resource}"
    return row.node, str(row.gpus), str(row.slices), expected, offered


def shown_capacity(rows: Sequence[CapacityRow]) -> tuple[Sequence[CapacityRow], int]:
    """The rows a person is shown, those that are not as expected first where not all can be; and how many are left."""
    ordered = rows if len(rows) <= SHOWN else sorted(rows, key=lambda row: row.allocatable == row.expected)
    return ordered[:SHOWN], len(rows) - len(ordered[:SHOWN])


def cut(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    left = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {left} more" if left > 0 else "")
