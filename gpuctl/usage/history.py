"""What each holder had and used of a node's GPUs over a time, added up from the samples of the usage watcher.

A sample holds until the next one; of a longer time without samples nothing is known. Energy goes to the processes by
their share of the multiprocessors' time. That share is no share of the watts, so each figure has a least and a most:
what the GPU drew while the holder computed alone is its own for certain, what it drew while others computed too may be
all its own or not at all.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from gpuctl.usage.holders import sm_of
from gpuctl.usage.log import Sample

_MIB_PER_GIB = 1024
_SECONDS = 3600


class Tenure(NamedTuple):
    """How long a pod holds its slices, as the cluster says."""

    gpus: float
    """Slices, divided by those of a GPU."""
    begin: datetime
    end: datetime


@dataclass(slots=True)
class Use:
    """What one holder had and used. None is what was never known."""

    held: float = 0
    """GPU hours: the time in which it had slices, or processes, times its part of a GPU."""
    used: float | None = None
    """GPU hours: its share of the multiprocessors' time, added up."""
    unknown: float = 0
    """Hours of its time on GPUs in which that share was not known."""
    memory: float | None = None
    """GiB hours."""
    energy: float | None = None
    """Watt-hours, by its share of the multiprocessors' time."""
    energy_least: float = 0
    """Watt-hours of the GPU while nobody else computed on it."""
    energy_most: float = 0
    """Watt-hours of the GPU while it computed, alone or not."""
    last: datetime | None = None
    """When it was last seen to compute."""
    parts: dict[int, float] = field(default_factory=dict[int, float])
    """GPU hours used in each equal part of the time, of those in which its share was known."""

    def add(self, other: "Use") -> None:
        """Takes another's figures to its own."""
        self.held += other.held
        self.used = added(self.used, other.used)
        self.unknown += other.unknown
        self.memory = added(self.memory, other.memory)
        self.energy = added(self.energy, other.energy)
        self.energy_least += other.energy_least
        self.energy_most += other.energy_most
        self.last = max(filter(None, (self.last, other.last)), default=None)
        for part, hours in other.parts.items():
            self.parts[part] = self.parts.get(part, 0) + hours


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """One node over a time."""

    uses: Mapping[str | None, Use]
    """UID of a pod -> its use; empty: programs of the node, None: processes of which it is not known whose they are."""
    hours: float
    """Of all its GPUs together, that are covered by samples."""
    energy: float | None
    """Watt-hours of its GPUs in that time; None where they do not tell their draw."""
    begin: datetime
    """The first sample."""


class _Step(NamedTuple):
    """A sample and the time for which it holds."""

    sample: Sample
    begin: datetime
    end: datetime

    @property
    def hours(self) -> float:
        return (self.end - self.begin).total_seconds() / _SECONDS


class Window(NamedTuple):
    """The time that is asked for, in equal parts."""

    begin: datetime
    end: datetime
    parts: int

    def part(self, time: datetime) -> int:
        """In which of the parts a time is."""
        return min(self.parts - 1, max(0, int((time - self.begin) / (self.end - self.begin) * self.parts)))


def history(
    samples: Iterable[Sample],
    tenures: Mapping[str, Tenure],
    parts_of: Mapping[str, float],
    gap: timedelta,
    window: Window,
) -> NodeHistory | None:
    """One node over a time; None without a sample in it.

    Args:
        samples: of the node, in any order; two watchers that hand over to each other both have some.
        tenures: UID -> how long the pod holds slices; of others their time with processes counts.
        parts_of: UUID of a GPU -> what a slice is of it.
        gap: time between two samples after which nothing is known of what was between them.
        window: the time.
    """
    by_gpu: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda each: each.time):
        if window.begin <= sample.time <= window.end:
            by_gpu.setdefault(sample.gpu, []).append(sample)
    if not by_gpu:
        return None
    steps = [step for seen in by_gpu.values() for step in _steps(seen, gap)]
    uses: dict[str | None, Use] = {}
    for step in steps:
        _add(uses, step, tenures, parts_of, window)
    covered = _merged((step.begin, step.end) for step in steps)
    for uid, tenure in tenures.items():
        if hours := sum(_overlap(tenure, *each) for each in covered) / _SECONDS:
            uses.setdefault(uid, Use(used=0, memory=0, energy=0)).held += hours * tenure.gpus
    draws = [step.hours * step.sample.draw for step in steps if step.sample.draw is not None]
    begin = min(seen[0].time for seen in by_gpu.values())
    return NodeHistory(uses, sum(step.hours for step in steps), sum(draws) if draws else None, begin)


def added(one: float | None, other: float | None) -> float | None:
    """The sum of what is known."""
    return other if one is None else one if other is None else one + other


def _steps(samples: Sequence[Sample], gap: timedelta) -> Iterator[_Step]:
    for sample, following in pairwise(samples):
        yield _Step(sample, sample.time, following.time if following.time - sample.time <= gap else sample.time)
    yield _Step(samples[-1], samples[-1].time, samples[-1].time)


def _add(
    uses: dict[str | None, Use],
    step: _Step,
    tenures: Mapping[str, Tenure],
    parts_of: Mapping[str, float],
    window: Window,
) -> None:
    sample, hours = step.sample, step.hours
    uids = {process.pod for process in sample.processes}
    shares = {uid: sm_of(sample, uid) for uid in uids}
    total = None if None in shares.values() else sum(share or 0 for share in shares.values())
    busy = sum(bool(share) for share in shares.values())
    for uid, share in shares.items():
        use = uses.setdefault(uid, Use())
        if uid and uid not in tenures:
            use.held += hours * parts_of.get(sample.gpu, 1)
        memory = [process.memory for process in sample.processes if process.pod == uid]
        if None not in memory:
            use.memory = added(use.memory, hours * sum(each or 0 for each in memory) / _MIB_PER_GIB)
        if share is None:
            use.unknown += hours
            continue
        worked = hours * share / 100
        use.used = added(use.used, worked)
        use.parts[window.part(sample.time)] = use.parts.get(window.part(sample.time), 0) + worked
        if share:
            use.last = max(filter(None, (use.last, sample.time)))
        if sample.draw is not None and total is not None:
            drawn = hours * sample.draw if share else 0
            use.energy = added(use.energy, drawn * share / (total or 1))
            use.energy_least += drawn if busy == 1 else 0
            use.energy_most += drawn


def _merged(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """The times that some of them cover, without overlaps."""
    found: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


def _overlap(tenure: Tenure, begin: datetime, end: datetime) -> float:
    """Seconds."""
    return max(0.0, (min(tenure.end, end) - max(tenure.begin, begin)).total_seconds())
