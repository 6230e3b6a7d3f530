"""What each GPU drew over a time, added up from the samples of the power-limit agent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from gpuctl.power.log import Sample

_MISSED_SAMPLES = 3
"""Two samples that are further apart than so many intervals have a gap between them, of which nothing is known."""


@dataclass(frozen=True)
class History:
    """One GPU over a time. None is what the GPU did not tell at any sample."""

    node: str
    gpu: str
    """UUID."""
    index: int | None
    name: str
    limit: float | None
    """Watts that the stack wants, at the last sample; None where it leaves the GPU alone."""
    energy: float | None
    """Watt-hours, over the time that is covered."""
    mean: float | None
    """Watts, over the time that is covered."""
    peak: float | None
    """The highest draw of any sample, in watts."""
    at_cap: float | None
    """Share of the time, 0 to 1, in which the power limit slowed the GPU."""
    utilization: float | None
    """Mean, in percent."""
    covered: timedelta
    """Time between samples that follow each other; gaps are not counted."""
    begin: datetime
    end: datetime
    """First and last sample."""
    samples: tuple[Sample, ...]

    def draws(self, begin: datetime, end: datetime, parts: int) -> list[float | None]:
        """The mean draw in each of so many equal parts of a time, in watts; None where there was no sample."""
        found: list[list[float]] = [[] for _ in range(parts)]
        for sample in self.samples:
            if sample.draw is not None and begin <= sample.time <= end:
                found[min(parts - 1, int((sample.time - begin) / (end - begin) * parts))].append(sample.draw)
        return [sum(part) / len(part) if part else None for part in found]


class _Step(NamedTuple):
    """The time from one sample to the next."""

    seconds: float
    sample: Sample
    following: Sample


def histories(node: str, samples: Iterable[Sample], interval: timedelta) -> list[History]:
    """The history of each GPU of a node, by index.

    Args:
        node: its name.
        samples: in any order; two agents that hand over to each other both have some.
        interval: from one round of the agent to the next.
    """
    by_gpu: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda each: each.time):
        by_gpu.setdefault(sample.gpu, []).append(sample)
    found = [_history(node, seen, interval) for seen in by_gpu.values()]
    return sorted(found, key=lambda each: (each.index is None, each.index, each.gpu))


def _history(node: str, samples: Sequence[Sample], interval: timedelta) -> History:
    steps = [
        _Step((following.time - sample.time).total_seconds(), sample, following)
        for sample, following in pairwise(samples)
        if following.time - sample.time <= _MISSED_SAMPLES * interval
    ]
    draws = [sample.draw for sample in samples if sample.draw is not None]
    joules, seconds = _energy(steps)
    last = samples[-1]
    return History(
        node=node,
        gpu=last.gpu,
        index=last.index,
        name=last.name,
        limit=last.desired,
        energy=joules / 3600 if draws else None,
        mean=(joules / seconds if seconds else draws[-1]) if draws else None,
        peak=max(draws, default=None),
        at_cap=_mean((step.seconds, step.sample.capped) for step in steps),
        utilization=_mean((step.seconds, step.sample.utilization) for step in steps),
        covered=timedelta(seconds=sum(step.seconds for step in steps)),
        begin=samples[0].time,
        end=last.time,
        samples=tuple(samples),
    )


def _energy(steps: Sequence[_Step]) -> tuple[float, float]:
    """Joules, and the seconds in which they were drawn: between two samples the draw changes evenly."""
    known = [
        (step.seconds, (step.sample.draw + step.following.draw) / 2)
        for step in steps
        if step.sample.draw is not None and step.following.draw is not None
    ]
    return sum(seconds * watts for seconds, watts in known), sum(seconds for seconds, _ in known)


def _mean(values: Iterable[tuple[float, float | None]]) -> float | None:
    """The mean of values that held for so many seconds each."""
    known = [(seconds, value) for seconds, value in values if value is not None]
    total = sum(seconds for seconds, _ in known)
    return sum(seconds * value for seconds, value in known) / total if total else None
