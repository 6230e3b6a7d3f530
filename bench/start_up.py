"""How long gpuctl takes to start, against the libraries it cannot do without."""

import os
import sys
from pathlib import Path

from bench.measured import in_turns

_ROUNDS = 11
_LIBRARIES = "import typer, pydantic, yaml"
_MODEL = "pydantic.create_model('One', key=int)(key=1)"
"""Importing pydantic loads hardly any of it: this is what the first model of a program costs."""


def run() -> None:
    """Medians of runs in turns."""
    python, gpuctl = sys.executable, str(Path(sys.executable).with_name("gpuctl"))
    commands = {
        f'python -c "{_LIBRARIES}"': [python, "-c", _LIBRARIES],
        "the same, and one model of one key": [python, "-c", f"{_LIBRARIES}; {_MODEL}"],
        "gpuctl --version": [gpuctl, "--version"],
        "gpuctl capacity --stack lab": [gpuctl, "capacity", "--stack", "lab"],
    }
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    costs = in_turns(commands, _ROUNDS, environment)  # users have byte code
    base = next(iter(costs.values()))
    for name, one in costs.items():
        wall, cpu = one.seconds / base.seconds, one.cpu_seconds / base.cpu_seconds
        print(f"{name:43} {one.seconds * 1000:6.0f} ms   {wall:4.2f} x", end="")
        print(f"   {one.cpu_seconds * 1000:6.0f} ms of CPU   {cpu:4.2f} x   {one.peak_mib:4.0f} MiB")
