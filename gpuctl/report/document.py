"""A report for machines: everything, as plain data."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from gpuctl.checks.model import Outcome, Result
from gpuctl.checks.report import Entry, Report

SCHEMA_VERSION = 1
"""Grows when a key goes or changes its meaning; keys may come silently."""


def document(reports: Sequence[Report]) -> dict[str, Any]:
    """What runs against one or several stacks found; nothing is cut."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "ready": all(report.ready for report in reports),
        "stacks": [_stack(report) for report in reports],
    }


def _stack(report: Report) -> dict[str, Any]:
    return {
        "stack": report.stack,
        "context": report.context,
        "ready": report.ready,
        "timedOut": report.timed_out,
        "unreachable": report.unreachable,
        "started": report.started.isoformat(timespec="seconds"),
        "seconds": round(report.seconds, 3),
        "counts": {outcome.value: report.counts[outcome] for outcome in Outcome},
        "categories": [
            {"name": category.name, "title": category.title, "checks": [_check(entry) for entry in entries]}
            for category, entries in groupby(report.entries, key=lambda entry: entry.check.category)
        ],
        "capacity": [asdict(row) for row in report.capacity],
    }


def _check(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.check.id,
        "title": entry.check.title,
        "severity": entry.check.severity,
        "outcome": entry.outcome.value,
        "seconds": round(entry.seconds, 3),
        "docs": entry.check.anchor,
        "results": [_result(result) for result in entry.results],
    }


def _result(result: Result) -> dict[str, str]:
    told = {"subject": result.subject, "remedy": result.remedy, "cause": result.cause}
    return {"outcome": result.outcome.value, "fact": result.fact} | {key: text for key, text in told.items() if text}
