"""A report for the summary of a CI job, in GitHub's Markdown: the verdict first, what passed folded away."""

from collections.abc import Iterator, Sequence

from gpuctl.checks.model import Outcome
from gpuctl.checks.report import CapacityRow, Entry, Report
from gpuctl.forms.markdown import escaped, fenced, fold, paragraph, table
from gpuctl.report import words

_GOOD, _BAD, _ADVICE = ":white_check_mark:", ":x:", ":warning:"


def markdown(reports: Sequence[Report]) -> str:
    """One section for each stack."""
    return "\n".join(line for report in reports for line in _section(report))


def _section(report: Report) -> Iterator[str]:
    yield f"### {_GOOD if report.ready else _BAD} {escaped(words.verdict(report))}"
    yield f"\n{escaped(words.compared(report.stack, report.context))}\n"
    yield from _capacity(report.capacity)
    told = [entry for entry in report.entries if entry.is_bad or entry.outcome is Outcome.WARN]
    for entry in told:
        yield from _finding(entry)
    yield from _folded([entry for entry in report.entries if entry not in told])


def _capacity(capacity: Sequence[CapacityRow]) -> Iterator[str]:
    if not capacity:
        return
    rows, left = words.shown_capacity(capacity)
    cells = [
        (*map(escaped, words.capacity_cells(row)), _GOOD if row.allocatable == row.expected else _BAD) for row in rows
    ]
    yield from table((*words.CAPACITY_HEADINGS, ""), cells, right=range(1, len(words.CAPACITY_HEADINGS)))
    if left:
        yield f"\nand {left} more nodes: `{words.ALL}`"
    yield ""


def _finding(entry: Entry) -> Iterator[str]:
    check = entry.check
    yield f"#### {_BAD if entry.is_bad else _ADVICE} {check.id}: {escaped(check.title)}\n"
    found = words.findings(entry)
    for facts, cause, remedy in words.with_remedies(found[: words.SHOWN]):
        yield from (f"- {paragraph(fact)}" for fact in facts)
        if cause:
            yield f"\n{paragraph(cause)}"
        if remedy:
            yield f"\n{fenced(remedy, 'sh')}"
    if len(found) > words.SHOWN:
        yield f"\nand {len(found) - words.SHOWN} more: `{words.ALL}`"
    yield f"\nSee `{check.anchor}`.\n"


def _folded(entries: Sequence[Entry]) -> Iterator[str]:
    if not entries:
        return
    lines = [
        f"- {entry.check.id}: {'skipped, ' if entry.outcome is Outcome.SKIP else ''}{escaped(words.headline(entry))}"
        for entry in entries
    ]
    yield fold(f"{len(entries)} checks passed or skipped", "\n".join(lines)) + "\n"
