"""The lines of the power-limit agent, as agent.sh of gpuctl/desired/power_limit_agent writes them; see docs/power.md.

Each is logfmt: `time=... level=... msg=...` and then `key=value`, with double quotes around a value that has blanks.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

_PAIR = r'([a-z_]+)=("[^"]*"|[^\s"]+)'
_LINE = re.compile(rf"time=\S+ level=(info|warn|error) msg=[a-z_]+( {_PAIR})*")
_SAMPLE = ("sample", "look")
"""What a line about one GPU is called; the latter by agents of before, which run on until they are updated."""
_FAULT = re.compile(rf"(?:^|(?<=; ))([a-z_]+)((?: {_PAIR})+)(?=; |$)")


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
    if not _LINE.fullmatch(line.rstrip("\n")):
        return None
    fields = _fields(line)
    try:
        time = datetime.fromisoformat(fields.pop("time"))
        if time.tzinfo is None:
            return None
        level, name = fields.pop("level"), fields.pop("msg")
        if name not in _SAMPLE:
            return Event(time, level, name, fields.pop("gpu", None), fields)
        return _sample(time, fields)
    except (KeyError, ValueError):
        return None


def parse_all(lines: Iterable[str]) -> Iterator[Sample | Event]:
    """What the lines that are the agent's say, in their order."""
    return (said for line in lines if (said := parse(line)) is not None)


def faults(status: str) -> list[Event]:
    """What the agent says of why it is not ready, one by one: its status joins them with `; `."""
    return [
        Event(None, "error", match[1], fields.pop("gpu", None), fields)
        for match in _FAULT.finditer(status)
        for fields in [_fields(match[2])]
    ]


def _fields(text: str) -> dict[str, str]:
    return {key: value.strip('"') for key, value in re.findall(_PAIR, text)}


def _sample(time: datetime, fields: Mapping[str, str]) -> Sample:
    throttle = fields["throttle"]
    return Sample(
        time=time,
        gpu=fields["gpu"],
        index=None if fields["index"] == "unknown" else int(fields["index"]),
        name=fields["name"],
        desired=None if fields["desired_w"] == "none" else float(fields["desired_w"]),
        limit=_number(fields["limit_w"]),
        enforced=_number(fields["enforced_w"]),
        draw=_number(fields["draw_w"]),
        default=_number(fields["default_w"]),
        minimum=_number(fields["min_w"]),
        maximum=_number(fields["max_w"]),
        utilization=_number(fields["util_pct"]),
        temperature=_number(fields["temp_c"]),
        memory_used=_number(fields["mem_used_mib"]),
        memory_total=_number(fields["mem_total_mib"]),
        throttle=None if throttle == "unknown" else frozenset(throttle.split(",")) - {"none"},
        persistence={"Enabled": True, "Disabled": False}.get(fields["persistence"]),
        at_limit=fields["at_limit"] == "true",
    )


def _number(text: str) -> float | None:
    return None if text == "unknown" else float(text)
