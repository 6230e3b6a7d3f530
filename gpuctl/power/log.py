"""The lines of the power-limit agent, as agent.sh of gpuctl/desired/power_limit_agent writes them: docs/power.md."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from gpuctl.forms.logfmt import PAIR, fields, fields_of_line, time_of

_SAMPLE = ("sample", "look")
"""What a line about one GPU is called; the latter by agents of before, which run on until they are updated."""
_FAULT = re.compile(rf"(?:^|(?<=; ))([a-z_]+)((?: {PAIR})+)(?=; |$)")


@dataclass(frozen=True)
class Sample:
    """One GPU at one moment, seen by the agent that holds its limit. None is what the GPU does not tell."""

    time: datetime
    """In UTC, to the second."""
    gpu: str
    """UUID."""
    index: int | None
    name: str
    """Of the model, as the driver says it."""
    desired: float | None
    """Watts that the stack wants, None where it leaves the GPU alone; the other powers are in watts as well."""
    limit: float | None
    """Requested of the GPU."""
    enforced: float | None
    """The lowest of all limiters, so it may be less than what was requested."""
    draw: float | None
    default: float | None
    minimum: float | None
    maximum: float | None
    utilization: float | None
    """Percent."""
    temperature: float | None
    """Degrees Celsius."""
    memory_used: float | None
    """MiB."""
    memory_total: float | None
    """MiB."""
    throttle: frozenset[str] | None
    """What holds the clocks down, in the words of nvidia-smi's `clocks_event_reasons`, such as `sw_power_cap`."""
    persistence: bool | None
    """Whether the driver stays loaded without a user; if not, it forgets the limit with its last one."""
    at_limit: bool
    """Whether the GPU is held: the limit is as desired, to 1 W, and enforced, or cannot be set and a lower one is in
    force. True of a GPU that is left alone."""

    @property
    def capped(self) -> bool | None:
        """Whether the power limit holds the clocks down."""
        return None if self.throttle is None else "sw_power_cap" in self.throttle


@dataclass(frozen=True)
class Event:
    """Anything else that the agent says: what it changed, and what is wrong."""

    time: datetime | None
    """None of a fault in the agent's status, which holds at this moment."""
    level: str
    """`info`, `warn` or `error`; an error is a reason for the pod not to be ready."""
    name: str
    """Such as `drift` or `unattainable`."""
    gpu: str | None
    """UUID; None where it is not about one GPU."""
    fields: Mapping[str, str]
    """The rest of the line."""


def parse(line: str) -> Sample | Event | None:
    """What a line says; None for a line that is not the agent's, such as one that was cut off."""
    said = fields_of_line(line)
    if said is None:
        return None
    try:
        time = time_of(said.pop("time"))
        level, name = said.pop("level"), said.pop("msg")
        if name not in _SAMPLE:
            return Event(time, level, name, said.pop("gpu", None), said)
        return _sample(time, said)
    except (KeyError, ValueError):
        return None


def parse_all(lines: Iterable[str]) -> Iterator[Sample | Event]:
    """What the lines that are the agent's say, in their order."""
    return (said for line in lines if (said := parse(line)) is not None)


def faults(status: str) -> list[Event]:
    """What the agent says of why it is not ready, one by one: its status joins them with `; `."""
    return [
        Event(None, "error", match[1], said.pop("gpu", None), said)
        for match in _FAULT.finditer(status)
        for said in [fields(match[2])]
    ]


def _sample(time: datetime, said: Mapping[str, str]) -> Sample:
    throttle = said["throttle"]
    return Sample(
        time=time,
        gpu=said["gpu"],
        index=None if said["index"] == "unknown" else int(said["index"]),
        name=said["name"],
        desired=None if said["desired_w"] == "none" else float(said["desired_w"]),
        limit=_number(said["limit_w"]),
        enforced=_number(said["enforced_w"]),
        draw=_number(said["draw_w"]),
        default=_number(said["default_w"]),
        minimum=_number(said["min_w"]),
        maximum=_number(said["max_w"]),
        utilization=_number(said["util_pct"]),
        temperature=_number(said["temp_c"]),
        memory_used=_number(said["mem_used_mib"]),
        memory_total=_number(said["mem_total_mib"]),
        throttle=None if throttle == "unknown" else frozenset(throttle.split(",")) - {"none"},
        persistence={"Enabled": True, "Disabled": False}.get(said["persistence"]),
        at_limit=said["at_limit"] == "true",
    )


def _number(text: str) -> float | None:
    return None if text == "unknown" else float(text)
