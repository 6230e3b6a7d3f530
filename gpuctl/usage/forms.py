"""An account for people, for reports, for spreadsheets and for programs."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from gpuctl.forms import markdown as md
from gpuctl.forms.line import Line, line
from gpuctl.forms.sparkline import sparkline
from gpuctl.forms.table import table
from gpuctl.forms.text import span
from gpuctl.usage.account import Account, Level, Row
from gpuctl.usage.history import Use
from gpuctl.usage.holders import Kind

_COLUMNS = {
    Level.namespace: ("NAMESPACE",),
    Level.workload: ("NAMESPACE", "WORKLOAD"),
    Level.pod: ("NAMESPACE", "WORKLOAD", "POD"),
}
_FIGURES = ("HELD GPU h", "USED GPU h", "GiB h", "Wh")
_OTHERS = {Kind.HOST: "no pod: a program of the node", Kind.UNKNOWN: "not known", Kind.GONE: "pods that are gone"}
_UID = 8
"""Characters of a UID that a person needs."""
METHOD = (
    "Wh are what a GPU drew, by each one's share of its multiprocessors' time; in parentheses what is its own for "
    "certain, and the most that it can be."
)


def lines(found: Account, encoding: str | None) -> Iterator[Line]:
    """A table with a picture of the use, its sum and its notes.

    Args:
        found: the account.
        encoding: of the screen.
    """
    if found.rows:
        most = max((max(each.use.parts.values(), default=0) for each in found.rows), default=0)
        cells = [
            (*_cells(each, found), _picture(each.use, found.parts, most, encoding).rstrip()) for each in found.rows
        ]
        yield from table((*_COLUMNS[found.level], *_FIGURES, "LAST COMPUTED", "USE"), cells, right=_FIGURES)
        yield line()
    yield from map(line, _words(found))


def markdown(found: Account) -> str:
    """A table and its notes."""
    headings = (*_COLUMNS[found.level], *_FIGURES, "LAST COMPUTED")
    first = len(_COLUMNS[found.level])
    cells = ([md.escaped(cell) for cell in _cells(each, found)] for each in found.rows)
    shown = [*md.table(headings, cells, right=range(first, first + len(_FIGURES))), ""] if found.rows else []
    return "\n".join([*shown, *(f"{md.paragraph(each)}\n" for each in _words(found))])


def spreadsheet(found: Account) -> Iterator[Line]:
    """Comma-separated values, with a heading; what is not known is empty."""
    keys = ("kind", "namespace", "workload", "pod", *_figures(Use()), "lastComputed")
    yield line(_csv(keys))
    for each in found.rows:
        values = _row(each)
        yield line(_csv(["" if values[key] is None else str(values[key]) for key in keys]))


def document(found: Account) -> dict[str, Any]:
    """Plain data; null is what is not known, or does not apply."""
    return {
        "asked": {"begin": _clock(found.begin), "end": _clock(found.end)},
        "source": found.source,
        "by": found.level.value,
        "coveredGpuHours": round(found.hours, 3),
        "wattHours": _rounded(found.energy),
        "method": METHOD,
        "notes": list(found.notes),
        "usage": [
            _row(each) | {"usedGpuHoursByPart": [_rounded(each.use.parts.get(part)) for part in range(found.parts)]}
            for each in found.rows
        ],
    }


def _row(each: Row) -> dict[str, Any]:
    name, use = each.name, each.use
    return {
        "kind": name.kind.value,
        "namespace": name.namespace or None,
        "workload": name.workload or None,
        "pod": name.pod or None,
        **_figures(use),
        "lastComputed": use.last and _clock(use.last),
    }


def _figures(use: Use) -> dict[str, float | None]:
    known = use.energy is not None
    return {
        "heldGpuHours": _rounded(use.held),
        "usedGpuHours": _rounded(use.used),
        "unknownHours": _rounded(use.unknown),
        "gibHours": _rounded(use.memory),
        "wattHours": _rounded(use.energy),
        "wattHoursLeast": _rounded(use.energy_least) if known else None,
        "wattHoursMost": _rounded(use.energy_most) if known else None,
    }


def _cells(each: Row, found: Account) -> tuple[str, ...]:
    use = each.use
    return (
        *_who(each, found.level),
        f"{use.held:.2f}",
        _figure(use.used, ".2f"),
        _figure(use.memory, ".1f"),
        _energy(use),
        _last(use, found.end),
    )


def _who(each: Row, level: Level) -> tuple[str, ...]:
    name = each.name
    if name.kind is Kind.POD:
        return (name.namespace, name.workload, name.pod)[: len(_COLUMNS[level])]
    pod = f"UID {name.pod[:_UID]}" if name.kind is Kind.GONE else name.pod
    return (_OTHERS[name.kind], "-", pod or "-")[: len(_COLUMNS[level])]


def _energy(use: Use) -> str:
    if use.energy is None:
        return "?"
    least, most = f"{use.energy_least:.0f}", f"{use.energy_most:.0f}"
    return f"{use.energy:.0f}" if least == most else f"{use.energy:.0f} ({least} to {most})"


def _last(use: Use, end: datetime) -> str:
    if use.last:
        return f"{span(end - use.last)} ago"
    return "?" if use.used is None else "never"


def _picture(use: Use, parts: int, most: float, encoding: str | None) -> str:
    return sparkline([use.parts.get(part) for part in range(parts)], most, encoding)


def _words(found: Account) -> Iterator[str]:
    used = sum(each.use.used or 0 for each in found.rows)
    yield (
        f"{used:.2f} of {found.hours:.2f} GPU hours that are covered were used, between {_clock(found.begin)} and "
        f"{_clock(found.end)}, as seen by {found.source}."
    )
    if found.energy is not None:
        own = sum(each.use.energy or 0 for each in found.rows)
        yield (
            f"The GPUs drew {found.energy:.0f} Wh, {max(0, found.energy - own):.0f} of them while nobody was seen to "
            f"compute. {METHOD}"
        )
    yield from found.notes


def _figure(value: float | None, form: str) -> str:
    return "?" if value is None else format(value, form)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _clock(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _csv(values: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
