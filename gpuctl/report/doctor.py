"""A report for someone who wants it fixed: what is wrong in the order to look at it, why, and where to begin."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from gpuctl.checks.diagnosis import Finding, diagnose
from gpuctl.checks.model import Outcome
from gpuctl.checks.report import Report
from gpuctl.report.document import document
from gpuctl.report.symbols import marked
from gpuctl.report.words import ALL, SHOWN, cut, plain, said, seen, verdict

_INDENT = "   "
_REMEDIES = 3
"""How many of the commands of one finding a person is shown."""


def doctor(report: Report, *, in_ascii: bool = False) -> Iterator[Text]:
    """Every finding with its cause, what fixes it and what follows from it; what could not be told; where to begin."""
    yield Text(f"gpuctl doctor: {seen(report)}", "bold")
    findings = diagnose(report)
    for number, finding in enumerate(findings, 1):
        yield Text()
        yield Text.assemble(f"{number}. ", marked(finding.outcome, in_ascii=in_ascii), f" {finding.check.title}")
        yield from (Text(_INDENT + line) for line in _finding(finding))
        yield Text(f"{_INDENT}see {finding.check.anchor}", "dim")
    yield from _untold(report)
    yield Text()
    yield from _likely(report, findings)
    yield Text(verdict(report), "bold green" if report.ready else "bold red")


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
        yield f"why: {plain(finding.cause)}"
    yield from (f"try: {plain(remedy)}" for remedy in finding.remedies[:_REMEDIES])
    explained = list(dict.fromkeys(f"{told.check.id}, {told.check.title}" for told in finding.consequences))
    yield from (f"explains: {statement}" for statement in explained[:SHOWN])
    if len(explained) > SHOWN:
        yield f"and {len(explained) - SHOWN} more: {ALL}"


def _untold(report: Report) -> Iterator[Text]:
    """Reasons for what was skipped, each once."""
    reasons: dict[str, list[str]] = {}
    for entry in report.entries:
        if entry.outcome is Outcome.SKIP:
            reasons.setdefault(said(entry.results[0]), []).append(entry.check.id)
    if reasons:
        yield Text()
        yield Text("Not told:", "bold")
    for reason, ids in reasons.items():
        yield Text(f"- {cut(ids)}: {reason}")


def _likely(report: Report, findings: Sequence[Finding]) -> Iterator[Text]:
    if report.ready:
        yield Text("Nothing must be fixed.")
        return
    first = next((finding for finding in findings if finding.outcome is Outcome.FAIL), findings[0])
    yield Text.assemble(
        ("Most likely: ", "bold"), f"{plain(first.cause) or said(first.results[0])} ({first.check.id})."
    )
    if first.remedies:
        yield Text.assemble(("Begin with: ", "bold"), (plain(first.remedies[0]), "cyan"))
