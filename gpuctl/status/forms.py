"""A status for people and for machines."""

from collections.abc import Iterator
from typing import Any

from gpuctl.forms.line import Line, line
from gpuctl.forms.table import table
from gpuctl.status.rows import Row, Status

_HEADINGS = (
    "NODE", "GPU", "MODEL", "UUID", "SLICES", "LIMIT W", "ENFORCED", "DRAW W", "UTIL", "TEMP", "MEMORY MiB", "USED BY",
)  # fmt: skip
_UUID = len("GPU-") + 8
"""Characters of a UUID that a person needs; machines get all."""
_UNKNOWN, _NONE = "?", "-"


def lines(found: Status) -> Iterator[Line]:
    """A table and its notes."""
    yield from table(_HEADINGS, [*map(_cells, found.rows)])
    yield from map(line, found.notes)


def document(found: Status) -> dict[str, Any]:
    """Plain data; null is what is not known."""
    return {"gpus": [_row(row) for row in found.rows], "notes": list(found.notes)}


def _cells(row: Row) -> tuple[str, ...]:
    slices = f"{_UNKNOWN if row.used is None else row.used}/{row.slices}"
    users = ", ".join(row.users) or (_UNKNOWN if row.used is None else _NONE)
    if (gpu := row.gpu) is None:
        return (row.node, "all", *[_NONE] * 2, slices, *[_NONE] * 6, users)
    limit = (
        _figure(gpu.limit) if gpu.at_limit or gpu.desired is None else f"{_figure(gpu.limit)}, not {gpu.desired:.0f}"
    )
    return (
        row.node,
        _UNKNOWN if gpu.index is None else str(gpu.index),
        gpu.name.removeprefix("NVIDIA "),
        gpu.gpu[:_UUID],
        slices,
        limit,
        _figure(gpu.enforced),
        _figure(gpu.draw),
        _figure(gpu.utilization, "%"),
        _figure(gpu.temperature, " C"),
        f"{_figure(gpu.memory_used)}/{_figure(gpu.memory_total)}",
        users,
    )


def _figure(value: float | None, unit: str = "") -> str:
    return _UNKNOWN if value is None else f"{value:.0f}{unit}"


def _row(row: Row) -> dict[str, Any]:
    common: dict[str, Any] = {
        "node": row.node,
        "slicesUsed": row.used,
        "slices": row.slices,
        "users": list(row.users),
    }
    if (gpu := row.gpu) is None:
        return common
    return common | {
        "seen": gpu.time.isoformat().replace("+00:00", "Z"),
        "index": gpu.index,
        "name": gpu.name,
        "uuid": gpu.gpu,
        "desiredWatts": gpu.desired,
        "limitWatts": gpu.limit,
        "enforcedWatts": gpu.enforced,
        "drawWatts": gpu.draw,
        "atLimit": gpu.at_limit,
        "utilizationPercent": gpu.utilization,
        "temperatureCelsius": gpu.temperature,
        "memoryUsedMiB": gpu.memory_used,
        "memoryTotalMiB": gpu.memory_total,
    }
