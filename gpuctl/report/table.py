"""A report for people: everything, or only what is wrong."""

from collections.abc import Iterator, Sequence

from gpuctl.checks.model import Outcome
from gpuctl.checks.report import Entry, Report
from gpuctl.forms.line import Line, line
from gpuctl.forms.table import table
from gpuctl.report import words
from gpuctl.report.symbols import marked

_INDENT = "    "


class Table:
    """Every check by category, the capacity of each node, and the verdict."""

    def __init__(self, *, in_ascii: bool = False) -> None:
        self._in_ascii = in_ascii
        self._block = list[Entry]()
        """Entries whose category may still go on."""

    def head(self, stack: str, context: str) -> Iterator[Line]:
        """Which stack is compared with which cluster."""
        yield line((f"gpuctl verify: {words.compared(stack, context)}", "bold"))

    def settled(self, entry: Entry) -> Iterator[Line]:
        """The categories that are whole. Those that are skipped for one and the same reason stand together."""
        block = self._block
        if block and entry.check.category is not block[-1].check.category and not _one_reason([*block, entry]):
            yield from self._block_lines()
        elif block and _one_reason(block) and not _one_reason([*block, entry]):
            last = block[-1].check.category
            self._block = [each for each in block if each.check.category is not last]
            if self._block:
                yield from self._block_lines()
            self._block = [each for each in block if each.check.category is last]
        self._block.append(entry)

    def end(self, report: Report) -> Iterator[Line]:
        """The last category, the capacity and the verdict."""
        if self._block:
            yield from self._block_lines()
        yield line()
        yield from _capacity(report, in_ascii=self._in_ascii)
        yield verdict_line(report)

    def _block_lines(self) -> Iterator[Line]:
        heading = ", ".join(dict.fromkeys(entry.check.category.name for entry in self._block))
        yield line()
        yield line((heading, "bold"))
        yield line(("-" * len(heading), "dim"))
        yield from _checks(self._block, in_ascii=self._in_ascii)
        self._block = []


class Short:
    """Only what is wrong, and the verdict."""

    def __init__(self, *, in_ascii: bool = False) -> None:
        self._in_ascii = in_ascii

    def head(self, stack: str, context: str) -> Iterator[Line]:
        """Nothing: the verdict names the stack."""
        del stack, context
        return iter(())

    def settled(self, entry: Entry) -> Iterator[Line]:
        """The check, when it is wrong."""
        if entry.is_bad or entry.outcome is Outcome.WARN:
            yield from _entry(entry, in_ascii=self._in_ascii)

    def end(self, report: Report) -> Iterator[Line]:
        """The verdict."""
        yield verdict_line(report)


def summary(reports: Sequence[Report], *, in_ascii: bool = False) -> Iterator[Line]:
    """Several stacks, one line each."""
    headings = ("STACK", "CONTEXT", "FAILED", "WARNINGS", "PASSED", "SKIPPED", "READY")
    rows = list[tuple[str | Line, ...]]()
    for report in reports:
        count = report.counts
        failed = count[Outcome.FAIL] + count[Outcome.ERROR]
        figures = (failed, count[Outcome.WARN], count[Outcome.PASS], count[Outcome.SKIP])
        mark = line(marked(Outcome.PASS if report.ready else Outcome.FAIL, in_ascii=in_ascii))
        rows.append((report.stack, report.context or "-", *map(str, figures), mark))
    return table(headings, rows)


def verdict_line(report: Report) -> Line:
    """Whether the cluster is ready, in colour."""
    return line((words.verdict(report), "bold green" if report.ready else "bold red"))


def _one_reason(entries: Sequence[Entry]) -> bool:
    reasons = {(entry.outcome, entry.results[0].fact) for entry in entries}
    return len(reasons) == 1 and entries[0].outcome is Outcome.SKIP


def _checks(entries: Sequence[Entry], *, in_ascii: bool) -> Iterator[Line]:
    if len(entries) > 1 and _one_reason(entries):
        yield _line(Outcome.SKIP, f"{len(entries)} checks: {entries[0].results[0].fact}", in_ascii=in_ascii)
        return
    for entry in entries:
        yield from _entry(entry, in_ascii=in_ascii)


def _entry(entry: Entry, *, in_ascii: bool) -> Iterator[Line]:
    yield _line(entry.outcome, words.headline(entry), in_ascii=in_ascii)
    if entry.outcome is Outcome.SKIP:
        yield from _remedy(entry.results[0].remedy)
    found = words.findings(entry)
    for facts, cause, remedy in words.with_remedies(found[: words.SHOWN]):
        for fact in facts:
            yield from (line(_INDENT, each) for each in fact.splitlines())
        if cause:
            yield line(_INDENT, cause)
        yield from _remedy(remedy)
    if len(found) > words.SHOWN:
        yield line(f"{_INDENT}and {len(found) - words.SHOWN} more: {words.ALL}")
    if entry.outcome not in (Outcome.PASS, Outcome.SKIP):
        yield line((f"{_INDENT}see {entry.check.anchor}", "dim"))


def _remedy(command: str) -> Iterator[Line]:
    if command:
        yield line(_INDENT, "try: ", (command, "cyan"))


def _line(outcome: Outcome, text: str, *, in_ascii: bool) -> Line:
    return line(marked(outcome, in_ascii=in_ascii), " ", text)


def _capacity(report: Report, *, in_ascii: bool) -> Iterator[Line]:
    if not report.capacity:
        return
    rows, left = words.shown_capacity(report.capacity)
    marks = [Outcome.PASS if row.allocatable == row.expected else Outcome.FAIL for row in rows]
    cells = [
        (*words.capacity_cells(row), line(marked(mark, in_ascii=in_ascii)))
        for row, mark in zip(rows, marks, strict=True)
    ]
    yield from table((*words.CAPACITY_HEADINGS, ""), cells)
    if left:
        yield line(f"and {left} more nodes: {words.ALL}")
