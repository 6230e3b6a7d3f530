"""A status for people and for machines."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from gpuctl.forms.line import Line, line
from gpuctl.forms.table import table
from gpuctl.status.rows import Row, Status

_HEADINGS = (
    "NODE", "GPU", "MODEL", "UUID", "SLICES", "LIMIT W", "ENFORCED", "DRAW W", "UTIL", "TEMP", "MEMORY MiB", "USED BY",
)  # fmt: skip
_UUID = len("GPU-") + 8
"""Characters of a UUID that a person needs; machines get all."""
UNKNOWN, NONE = "?", "-"


def lines(found: Status) -> Iterator[Line]:
    """A table and its notes."""
    yield from table(_HEADINGS, [*map(_cells, found.rows)])
    yield from map(line, found.notes)


def document(found: Status) -> dict[str, Any]:
    """Plain data; null is what is not known."""
    return {"gpus": [_row(row) for row in found.rows], "notes": list(found.notes)}


def _cells(row: Row) -> tuple[str, ...]:
    slices = f"{UNKNOWN if row.used is None else row.used}/{row.slices}"
    users = ", ".join(row.users) or (UNKNOWN if row.used is None else NONE)
    if (gpu := row.gpu) is None:
        return (row.node, "all", *[NONE] * 2, slices, *[NONE] * 6, users)
    limit = figure(gpu.limit) if gpu.at_limit or gpu.desired is None else f"{figure(gpu.limit)}, not {gpu.desired:.0f}"
    return (
        row.node,
        figure(gpu.index),
        gpu.name.removeprefix("NVIDIA "),
        gpu.gpu[:_UUID],
        slices,
        limit,
        figure(gpu.enforced),
        figure(gpu.draw),
        figure(gpu.utilization, "%"),
        figure(gpu.temperature, " C"),
        f"{figure(gpu.memory_used)}/{figure(gpu.memory_total)}",
        users,
    )


def figure(value: float | None, unit: str = "") -> str:
    """A figure without decimals."""
    return UNKNOWN if value is None else f"{value:.0f}{unit}"


def moment(time: datetime) -> str:
    """A time in UTC for machines."""
    return time.isoformat().replace("+00:00", "Z")


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
        "seen": moment(gpu.time),
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
