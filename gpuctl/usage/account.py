"""An account of a time: what namespaces, workloads or pods had and used of the GPUs, idle holders first."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from math import inf
from typing import NamedTuple

from gpuctl.usage.history import Use
from gpuctl.usage.holders import Kind


class Level(StrEnum):
    """Of what an account has its rows."""

    namespace = "namespace"
    workload = "workload"
    pod = "pod"


class Name(NamedTuple):
    """Who a row is about; what is empty does not apply, or is not known."""

    kind: Kind
    namespace: str = ""
    workload: str = ""
    """Such as `Deployment/trainer`."""
    pod: str = ""
    """Of one that is gone its UID; of programs of a node the node's name."""

    def at(self, level: Level) -> "Name":
        """The row that it is part of."""
        return self._replace(
            workload="" if level is Level.namespace else self.workload, pod=self.pod if level is Level.pod else ""
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an account."""

    name: Name
    use: Use


@dataclass(frozen=True, slots=True)
class Account:
    """What was had and used of a stack's GPUs over a time."""

    level: Level
    rows: tuple[Row, ...]
    begin: datetime
    end: datetime
    parts: int
    """In how many equal parts the use of each row is."""
    source: str
    """What the figures are from, for people."""
    hours: float
    """GPU hours of all GPUs that the source covers."""
    energy: float | None
    """Watt-hours of these GPUs in these hours, whoever caused them; None where it is not known."""
    notes: tuple[str, ...] = field(default=())
    """What is not in it, and why."""


def rows(uses: Iterable[tuple[Name, Use]], level: Level) -> tuple[Row, ...]:
    """Added up; who held most and used none of it stands first, and last of whom it is not known."""
    found: dict[Name, Use] = {}
    for name, use in uses:
        found.setdefault(name.at(level), Use()).add(use)
    ordered = sorted(found.items(), key=lambda each: (*_idleness(each[1]), each[0]))
    return tuple(Row(name, use) for name, use in ordered)


def _idleness(use: Use) -> tuple[bool, float, float]:
    return use.used is None, (use.used or 0) / use.held if use.held else inf, -use.held
