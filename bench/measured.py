"""Commands with their costs."""

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Cost(NamedTuple):
    """What a command took."""

    seconds: float
    cpu_seconds: float
    """Its own, and that of the commands that it waited for."""
    peak_mib: float
    """The most memory it held at once (resident set)."""
    exit_code: int


def cost(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Runs a command without its output."""
    begin = time.monotonic()
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Cost(time.monotonic() - begin, cpu_seconds, usage.ru_maxrss / 1024, running.returncode)


def in_turns(
    commands: Mapping[str, Sequence[str]], rounds: int, environment: Mapping[str, str] = os.environ
) -> dict[str, Cost]:
    """The median costs of several commands, which take turns so that a busy moment of the machine meets them all."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            costs[name].append(cost(command, environment))
    return {
        name: Cost(
            statistics.median(one.seconds for one in found),
            statistics.median(one.cpu_seconds for one in found),
            statistics.median(one.peak_mib for one in found),
            max(one.exit_code for one in found),
        )
        for name, found in costs.items()
    }
