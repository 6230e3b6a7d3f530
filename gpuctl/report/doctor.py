"""A report for someone who wants it fixed: what is wrong in the order to look at it, why, and where to begin."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from gpuctl.checks.diagnosis import Finding, diagnose
from gpuctl.checks.model import Outcome
from gpuctl.checks.report import Entry, Report
from gpuctl.forms.line import Line, line
from gpuctl.forms.text import visible
from gpuctl.report.document import document
from gpuctl.report.symbols import marked
from gpuctl.report.table import verdict_line
from gpuctl.report.words import ALL, COUNTED, SHOWN, compared, cut, said

_INDENT = "   "
_WORST_FIRST = (Outcome.ERROR, Outcome.FAIL, Outcome.WARN, Outcome.PASS, Outcome.SKIP)
_REMEDIES = 3
"""How many of the commands of one finding a person is shown."""


class Doctor:
    """How each category stands; then every finding with its cause, what fixes it and what follows; where to begin."""

    def __init__(self, *, in_ascii: bool = False) -> None:
        self._in_ascii = in_ascii
        self._category = list[Entry]()
        """Entries of the category that may still go on."""

    def head(self, stack: str, context: str) -> Iterator[Line]:
        """Which stack is compared with which cluster."""
        yield line((f"gpuctl doctor: {compared(stack, context)}", "bold"))

    def settled(self, entry: Entry) -> Iterator[Line]:
        """One line for each category that is whole."""
        if self._category and entry.check.category is not self._category[0].check.category:
            yield from self._stands()
        self._category.append(entry)

    def end(self, report: Report) -> Iterator[Line]:
        """The findings, and what could not be determined."""
        yield from self._stands()
        findings = diagnose(report)
        for number, finding in enumerate(findings, 1):
            yield line()
            yield line(f"{number}. ", marked(finding.outcome, in_ascii=self._in_ascii), f" {finding.check.title}")
            yield from (line(_INDENT, each) for each in _finding(finding))
            yield line((f"{_INDENT}see {finding.check.anchor}", "dim"))
        yield from _undetermined(report)
        yield line()
        yield from _likely(report, findings)
        yield verdict_line(report)

    def _stands(self) -> Iterator[Line]:
        found = Counter(entry.outcome for entry in self._category)
        for outcome in _WORST_FIRST:
            if count := found[outcome]:
                name = self._category[0].check.category.name
                of = f"{count} of {len(self._category)}" if count < len(self._category) else str(count)
                yield line(marked(outcome, in_ascii=self._in_ascii), f" {name}: {of} {COUNTED[outcome]}")
                break
        self._category = []


def doctor_document(reports: Sequence[Report]) -> dict[str, Any]:
    """The same for machines: all that `gpuctl verify` tells, and the findings of each stack in their order."""
    whole = document(reports)
    for stack, report in zip(whole["stacks"], reports, strict=True):
        stack["findings"] = [_described(finding) for finding in diagnose(report)]
    return whole


def _described(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.check.id,
        "outcome": finding.outcome.value,
        "cause": finding.cause,
        "facts": [said(result) for result in finding.results],
        "remedies": list(finding.remedies),
        "explains": [{"id": told.check.id, "fact": said(told.result)} for told in finding.consequences],
        "docs": finding.check.anchor,
    }


def _finding(finding: Finding) -> Iterator[str]:
    for result in finding.results[:SHOWN]:
        yield from said(result).splitlines()
    if len(finding.results) > SHOWN:
        yield f"and {len(finding.results) - SHOWN} more: {ALL}"
    if finding.cause:
        yield f"why: {visible(finding.cause)}"
    yield from (f"try: {visible(remedy)}" for remedy in finding.remedies[:_REMEDIES])
    explained = list(dict.fromkeys(f"{told.check.id}, {told.check.title}" for told in finding.consequences))
    yield from (f"explains: {statement}" for statement in explained[:SHOWN])
    if len(explained) > SHOWN:
        yield f"and {len(explained) - SHOWN} more: {ALL}"


def _undetermined(report: Report) -> Iterator[Line]:
    """Reasons for what was skipped, each once."""
    reasons: dict[str, list[str]] = {}
    for entry in report.entries:
        if entry.outcome is Outcome.SKIP:
            reasons.setdefault(said(entry.results[0]), []).append(entry.check.id)
    if reasons:
        yield line()
        yield line(("Could not be determined:", "bold"))
    for reason, ids in reasons.items():
        yield line(f"- {cut(ids)}: {reason}")


def _likely(report: Report, findings: Sequence[Finding]) -> Iterator[Line]:
    if report.ready:
        yield line("Nothing must be fixed.")
        return
    first = next((finding for finding in findings if finding.outcome is Outcome.FAIL), findings[0])
    yield line(("Most likely: ", "bold"), f"{first.cause or said(first.results[0])} ({first.check.id}).")
    if first.remedies:
        yield line(("Begin with: ", "bold"), (first.remedies[0], "cyan"))
