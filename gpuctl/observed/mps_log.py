"""What the MPS daemon's log says: the lines of its own script, and those of NVIDIA's control daemon and server.

NVIDIA's texts are those of driver 580, and of the reports in NVIDIA/k8s-device-plugin issues 762, 1094, 1595 and 1614.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gpuctl.forms.logfmt import fields_of_line

_SERVER_ENDED = re.compile(r"Server (\d+) exited with status (\d+)")
_READY = re.compile(r"NEW SERVER \d+: Ready")
_MARKS = (
    (
        re.compile(r"init 250 result=11|result=11\b"),
        "it does not find the driver's libraries (k8s-device-plugin #1614; Talos v1.12 is known for it)",
    ),
    (
        re.compile(r"instance of this daemon is already running", re.IGNORECASE),
        "another MPS daemon runs on the node (k8s-device-plugin #1595)",
    ),
)
_NEVER_READY = "its server ends as it starts, for each client again (k8s-device-plugin #762, #1094)"


@dataclass(frozen=True, slots=True)
class Serving:
    """One GPU as the daemon serves it."""

    gpu: str
    """UUID."""
    total_mib: int
    memory_mib: int
    """Of one slice."""
    threads_percent: int
    clients: int
    """Programs that are connected, by their contexts on this GPU."""


def serving(lines: Sequence[str]) -> list[Serving]:
    """What the daemon said last of each GPU."""
    found: dict[str, Serving] = {}
    for line in lines:
        said = fields_of_line(line) or {}
        if said.get("msg") != "serving":
            continue
        figures = [said.get(key, "") for key in ("memory_total_mib", "memory_mib", "threads_pct", "clients")]
        if said.get("gpu") and all(figure.isdecimal() for figure in figures):
            found[said["gpu"]] = Serving(said["gpu"], *map(int, figures))
    return list(found.values())


def has_one_user(lines: Sequence[str]) -> bool:
    """Whether its driver does not let users share a server."""
    return any((fields_of_line(line) or {}).get("msg") == "single_user" for line in lines)


def trouble(lines: Sequence[str]) -> str:
    """Why clients get no server, by the marks of known failures; empty where none shows."""
    for pattern, meaning in _MARKS:
        if any(pattern.search(line) for line in lines):
            return meaning
    ended = [index for index, line in enumerate(lines) if _SERVER_ENDED.search(line)]
    ready = [index for index, line in enumerate(lines) if _READY.search(line)]
    return _NEVER_READY if ended and not (ready and ready[-1] > ended[-1]) else ""
