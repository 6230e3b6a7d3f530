"""Who holds what of each GPU: the processes of the watcher's samples, joined with pods by their UIDs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from gpuctl.usage.log import Process, Sample

_BUSY = 10
"""Percent of utilisation that some process must have caused: where none did, the GPU does not tell."""

Share = Callable[[Sample, int], int | None]
"""MiB of so many slices of the GPU of a sample; None where its memory is not known."""


class Kind(StrEnum):
    """Who holds memory of a GPU."""

    POD = "pod"
    GONE = "gone"
    """A pod that the cluster does not have any more, or not yet."""
    HOST = "host"
    """A process of no pod: a program of the node itself, or of another container runtime."""
    UNKNOWN = "unknown"
    """A process that ended, or began, while the sample was taken."""


@dataclass(frozen=True, slots=True)
class Idle:
    """How long a holder has computed nothing."""

    time: timedelta
    at_least: bool
    """Whether it may be longer: the samples reach no further back, or say nothing of a time before."""


@dataclass(frozen=True, slots=True)
class Holder:
    """What one pod has of one GPU. None is what could not be determined."""

    gpu: str
    """UUID."""
    index: int | None
    """Of the GPU."""
    kind: Kind
    pod: str
    """`namespace/name`; of one that is gone its UID, of others empty."""
    memory: int | None
    """MiB of all its processes."""
    share: int | None
    """MiB of its slices: with MPS what each of its processes may have, else an average; None of what holds no slice."""
    sm: int | None
    """Percent of the time of the GPU's multiprocessors; programs that take turns add up to about 100."""
    bandwidth: int | None
    """Percent of the time in which memory was read or written."""
    processes: tuple[str, ...]
    """Names of the programs, each once."""
    idle: Idle | None
    """None of one that computes, that has no process, and where it is not known."""

    @property
    def over(self) -> bool | None:
        """Whether it has more memory than its share."""
        return None if self.memory is None or self.share is None else self.memory > self.share


def holders(
    samples: Iterable[Sample],
    names: Mapping[str, str],
    held: Mapping[str, Mapping[str, int]],
    share: Share,
    gap: timedelta,
) -> list[Holder]:
    """Who holds the GPUs of one node at the time of its newest sample.

    Args:
        samples: of the node, in their order.
        names: UID of a pod -> `namespace/name`, of all pods there are.
        held: UUID of a GPU -> UID of a pod -> how many slices of it the pod has; where a kubelet does not report it, a
            pod with a process there is taken to have one.
        share: what slices have of the memory of their GPU.
        gap: time between two samples after which nothing is known of what was between them.
    """
    by_gpu: dict[str, list[Sample]] = {}
    for sample in samples:
        by_gpu.setdefault(sample.gpu, []).append(sample)
    newest = max((each[-1].time for each in by_gpu.values()), default=None)
    there = [each for each in by_gpu.values() if each[-1].time == newest]  # others do not answer any more
    return [
        _holder(history, uid, names, held.get(history[-1].gpu, {}), share, gap)
        for history in sorted(there, key=lambda each: (each[-1].index is None, each[-1].index, each[-1].gpu))
        for uid in _uids(history[-1], names, held.get(history[-1].gpu, {}))
    ]


def _uids(sample: Sample, names: Mapping[str, str], held: Mapping[str, int]) -> list[str | None]:
    """Those with processes, and those with a slice; pods by their names, and then the others."""
    found = {process.pod for process in sample.processes} | set(held)
    return sorted(found, key=lambda uid: (uid not in names, names.get(uid or "", ""), uid or ""))


def _holder(
    history: Sequence[Sample],
    uid: str | None,
    names: Mapping[str, str],
    held: Mapping[str, int],
    share: Share,
    gap: timedelta,
) -> Holder:
    last = history[-1]
    own = _of(last, uid)
    kind = Kind.UNKNOWN if uid is None else Kind.HOST if not uid else Kind.POD if uid in names else Kind.GONE
    return Holder(
        gpu=last.gpu,
        index=last.index,
        kind=kind,
        pod=names.get(uid or "", uid or ""),
        memory=_sum(process.memory for process in own),
        share=share(last, held.get(uid or "", 1)) if kind is Kind.POD else None,
        sm=sm_of(last, uid),
        bandwidth=_sum(process.bandwidth for process in own),
        processes=tuple(sorted({process.name for process in own})),
        idle=None if uid is None else _idle(history, uid, gap),
    )


def _of(sample: Sample, uid: str | None) -> list[Process]:
    return [process for process in sample.processes if process.pod == uid]


def sm_of(sample: Sample, uid: str | None) -> int | None:
    """Percent of the multiprocessors' time that a pod had; None where the GPU does not tell."""
    every = [process.sm for process in sample.processes]
    if (sample.utilization or 0) >= _BUSY and every and not any(every):
        return None
    return _sum(process.sm for process in _of(sample, uid))


def _idle(history: Sequence[Sample], uid: str, gap: timedelta) -> Idle | None:
    """Back to the last sample in which it computed, to the first of its processes, or to where nothing is known."""
    last = later = history[-1]
    first: Sample | None = None
    for sample in reversed(history):
        share = sm_of(sample, uid)
        if share is None or later.time - sample.time > gap:
            return Idle(last.time - first.time, at_least=True) if first else None
        if share:
            return None if sample is last else Idle(last.time - sample.time, at_least=False)
        first, later = sample if _of(sample, uid) else first, sample
    return Idle(last.time - first.time, at_least=first is history[0]) if first else None


def _sum(figures: Iterable[int | None]) -> int | None:
    known = list(figures)
    return None if None in known else sum(figure for figure in known if figure is not None)
