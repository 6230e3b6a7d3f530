"""A report for someone who wants it mended: what is wrong in the order to look at it, why, and where to begin."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.text import Text

from gpuctl.checks.model import Outcome, Result
from gpuctl.checks.report import Entry, Report
from gpuctl.report.document import document
from gpuctl.report.symbols import marked
from gpuctl.report.words import ALL, SHOWN, findings, plain, said, seen, verdict

_INDENT = "   "
_REMEDIES = 3
"""How many of the commands for one cause a person is shown."""


def doctor(report: Report, *, in_ascii: bool = False) -> Iterator[Text]:
    """Every finding with its cause and what mends it, what could not be told, and the most likely cause of all."""
    yield Text(f"gpuctl doctor: {seen(report)}", "bold")
    found = _in_order(report)
    for number, entry in enumerate(found, 1):
        yield Text()
        yield from _finding(number, entry, in_ascii=in_ascii)
    yield from _untold(report)
    yield Text()
    yield from _likely(report)
    yield Text(verdict(report), "bold green" if report.ready else "bold red")


def doctor_document(reports: Sequence[Report]) -> dict[str, Any]:
    """The same for machines: all that `gpuctl verify` tells, and the findings of each stack in their order."""
    whole = document(reports)
    for stack, report in zip(whole["stacks"], reports, strict=True):
        found = _in_order(report)
        stack["findings"] = [
            {"id": entry.check.id, "fact": said(result), "cause": _cause(entry, result), "remedy": plain(result.remedy)}
            for entry in found
            for result in _found(entry)
        ]
    return whole


def _in_order(report: Report) -> list[Entry]:
    """What is wrong, then what is advice: within each, what comes first is the likely cause of what comes later."""
    return [*report.bad, *(entry for entry in report.entries if entry.outcome is Outcome.WARN)]


def _found(entry: Entry) -> list[Result]:
    return [result for result in findings(entry) if result.outcome is not Outcome.SKIP]


def _cause(entry: Entry, result: Result) -> str:
    """Of a check that broke nothing is known but what it said."""
    return plain(result.cause) or (entry.check.guide.cause if result.outcome is not Outcome.ERROR else "")


def _finding(number: int, entry: Entry, *, in_ascii: bool) -> Iterator[Text]:
    yield Text.assemble(f"{number}. ", marked(entry.outcome, in_ascii=in_ascii), f" {entry.check.title}")
    found = _found(entry)
    for cause, results in groupby(found[:SHOWN], key=lambda result: _cause(entry, result)):
        alike = list(results)
        yield from (Text(_INDENT + line) for result in alike for line in said(result).splitlines())
        yield from [Text(f"{_INDENT}why: {cause}")] if cause else []
        remedies = dict.fromkeys(plain(result.remedy) for result in alike if result.remedy)
        yield from (Text.assemble(_INDENT, "try: ", (remedy, "cyan")) for remedy in list(remedies)[:_REMEDIES])
    if len(found) > SHOWN:
        yield Text(f"{_INDENT}and {len(found) - SHOWN} more: {ALL}")
    yield Text(f"{_INDENT}see {entry.check.anchor}", "dim")


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
        more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        yield Text(f"- {', '.join(ids[:SHOWN])}{more}: {reason}")


def _likely(report: Report) -> Iterator[Text]:
    if report.ready:
        yield Text("Nothing must be mended.")
        return
    entry = report.bad[0]
    result = _found(entry)[0]
    yield Text.assemble(("Most likely: ", "bold"), f"{_cause(entry, result) or said(result)} ({entry.check.id}).")
    if result.remedy:
        yield Text.assemble(("Begin with: ", "bold"), (plain(result.remedy), "cyan"))
