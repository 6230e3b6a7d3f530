"""Who holds what of each GPU, for people and for machines."""

from collections.abc import Iterator, Mapping
from typing import Any

from gpuctl.checks.usage_reports import UsageReport
from gpuctl.forms.line import Line, line
from gpuctl.forms.table import table
from gpuctl.forms.text import span
from gpuctl.status.forms import NONE, UNKNOWN, figure, moment
from gpuctl.usage.holders import Holder, Kind

_HEADINGS = ("NODE", "GPU", "POD", "MEMORY MiB", "SHARE MiB", "SM %", "IDLE")
_WITHOUT_POD = {Kind.HOST: "no pod: a program of the node", Kind.UNKNOWN: "not known: it just began or ended"}
_UID = 8
"""Characters of a UID that a person needs."""


def lines(reports: Mapping[str, UsageReport]) -> Iterator[Line]:
    """A table, and why a node is not in it."""
    rows = [_cells(node, each) for node, report in reports.items() for each in report.holders]
    if rows:
        yield from table(_HEADINGS, rows, right=("MEMORY MiB", "SHARE MiB", "SM %"))
    elif not any(report.silence for report in reports.values()):
        yield line("no pod holds a GPU")
    yield from (line(report.silence) for report in reports.values() if report.silence)


def document(reports: Mapping[str, UsageReport]) -> dict[str, Any]:
    """Plain data; null is what is not known."""
    return {
        "usage": [
            {
                "node": node,
                "uuid": each.gpu,
                "index": each.index,
                "holder": each.kind.value,
                "pod": each.pod or None,
                "memoryMiB": each.memory,
                "shareMiB": each.share,
                "overShare": each.over,
                "smPercent": each.sm,
                "memoryBandwidthPercent": each.bandwidth,
                "processes": list(each.processes),
                "idleSeconds": each.idle and int(each.idle.time.total_seconds()),
                "idleAtLeast": each.idle and each.idle.at_least,
                "seen": report.seen and moment(report.seen),
            }
            for node, report in reports.items()
            for each in report.holders
        ],
        "usageNotes": [report.silence for report in reports.values() if report.silence],
    }


def _cells(node: str, each: Holder) -> tuple[str, ...]:
    return (
        node,
        figure(each.index),
        _who(each),
        f"{figure(each.memory)}{', over' if each.over else ''}",
        NONE if each.share is None and each.kind is not Kind.POD else figure(each.share),
        figure(each.sm),
        _idle(each),
    )


def _who(each: Holder) -> str:
    if each.kind is Kind.GONE:
        return f"a pod that is gone, UID {each.pod[:_UID]}"
    return _WITHOUT_POD.get(each.kind, each.pod)


def _idle(each: Holder) -> str:
    if each.idle:
        return f"{'> ' if each.idle.at_least else ''}{span(each.idle.time)}"
    if not each.processes:
        return "no process"
    return NONE if each.sm else UNKNOWN
