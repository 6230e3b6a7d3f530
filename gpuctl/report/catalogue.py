"""Which checks there are."""

from collections.abc import Iterator, Sequence
from typing import Any

from gpuctl.checks.model import Check
from gpuctl.forms.line import Line
from gpuctl.forms.table import table

_HEADINGS = ("ID", "CATEGORY", "SEVERITY", "RETRY", "ASKED BY", "TITLE")


def catalogue(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """As plain data."""
    return [
        {
            "id": check.id,
            "category": check.category.name,
            "severity": check.severity,
            "fatal": check.fatal,
            "retry": check.retry,
            "askedBy": _asked_by(check),
            "title": check.title,
            "docs": check.anchor,
        }
        for check in checks
    ]


def catalogue_table(checks: Sequence[Check]) -> Iterator[Line]:
    """One line each."""
    rows = [
        (
            check.id,
            check.category.name,
            check.severity,
            "yes" if check.retry else "no",
            _asked_by(check),
            check.title,
        )
        for check in checks
    ]
    return table(_HEADINGS, rows)


def _asked_by(check: Check) -> str:
    """The least that asks it."""
    if check.makes_pods:
        return "verify --sharing"
    return "doctor" if check.deep else "verify"
