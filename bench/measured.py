"""Commands with their costs."""

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_START = """
import resource, subprocess, sys, time
begin = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
seconds, used = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss, code)
"""


class Cost(NamedTuple):
    """What a command took."""

    seconds: float
    cpu_seconds: float
    """Its own, and that of the commands that it waited for."""
    peak_mib: float
    """The most memory it held at once (resident set)."""
    exit_code: int


def cost(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Runs a command without its output.

    A small process starts it: on Linux a program's peak begins with the size of the process that started it.
    """
    starter = [sys.executable, "-IS", "-c", _START, *command]
    done = subprocess.run(starter, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, cpu_seconds, peak_kib, exit_code = done.stdout.split()
    return Cost(float(seconds), float(cpu_seconds), int(peak_kib) / 1024, int(exit_code))


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
