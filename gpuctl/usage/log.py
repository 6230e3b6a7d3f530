"""The lines of the usage watcher, as watch.sh of gpuctl/desired/usage_watcher writes them; see docs/usage.md.

A sample of a GPU is a line for each of its processes, and then one for the GPU, which closes them. What comes after the
last such line is still being written.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from gpuctl.forms.logfmt import fields_of_line, time_of


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a GPU. None is what could not be seen."""

    pid: int
    """In the node's own numbers; another process may have it later."""
    pod: str | None
    """UID of its pod, empty when it is of none."""
    container: str | None
    """ID of its container, empty when it is of none."""
    memory: int | None
    """MiB."""
    sm: int | None
    """Percent of the time of the GPU's multiprocessors."""
    bandwidth: int | None
    """Percent of the time in which its memory was read or written."""
    name: str
    """Of the program, in 15 characters; `unknown` where it could not be seen."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A GPU and its processes at one moment. None is what could not be seen."""

    time: datetime
    """In UTC, to the second."""
    gpu: str
    """UUID."""
    index: int | None
    memory_used: int | None
    """MiB, with what the driver takes for itself."""
    memory_total: int | None
    """MiB."""
    utilization: int | None
    """Percent."""
    draw: float | None
    """Watts."""
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that nvidia-smi did not answer."""

    time: datetime
    question: str
    """`gpus`, `processes` or `pmon`."""
    message: str


def parse_all(lines: Iterable[str]) -> Iterator[Sample | Failure]:
    """What the lines that are the watcher's say, in their order; of samples those that are whole."""
    waiting: dict[str, list[Process]] = {}
    began = ""
    for line in lines:
        if (said := fields_of_line(line)) is None:
            continue
        if said["time"] != began:  # what the one before did not close it never will
            waiting, began = {}, said["time"]
        try:
            if said["msg"] == "process":
                waiting.setdefault(said["gpu"], []).append(_process(said))
            elif said["msg"] == "gpu":
                yield _sample(said, waiting.pop(said["gpu"], []))
            elif said["msg"] == "query_failed":
                yield Failure(time_of(said["time"]), said["of"], said["message"])
        except (KeyError, ValueError):
            waiting = {}


def _process(said: dict[str, str]) -> Process:
    return Process(
        pid=int(said["pid"]),
        pod=_id(said["pod"]),
        container=_id(said["container"]),
        memory=_figure(said["memory_mib"]),
        sm=_figure(said["sm_pct"]),
        bandwidth=_figure(said["mem_pct"]),
        name=said["name"],
    )


def _sample(said: dict[str, str], processes: list[Process]) -> Sample:
    if len(processes) != int(said["processes"]):  # a line is lost, and a pod must not seem to hold nothing
        raise ValueError(said["processes"])
    return Sample(
        time=time_of(said["time"]),
        gpu=said["gpu"],
        index=_figure(said["index"]),
        memory_used=_figure(said["memory_mib"]),
        memory_total=_figure(said["memory_total_mib"]),
        utilization=_figure(said["util_pct"]),
        draw=None if (draw := said.get("draw_w", "unknown")) == "unknown" else float(draw),  # older watchers say none
        processes=tuple(processes),
    )


def _id(text: str) -> str | None:
    return None if text == "unknown" else "" if text == "none" else text


def _figure(text: str) -> int | None:
    return None if text == "unknown" else int(text)
