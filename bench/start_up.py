"""How long gpuctl takes to start, against the libraries it cannot do without."""

import sys
from pathlib import Path

from bench.measured import in_turns

_ROUNDS = 11
_LIBRARIES = "import typer, pydantic, yaml"


def run() -> None:
    """Medians of runs in turns."""
    python, gpuctl = sys.executable, str(Path(sys.executable).with_name("gpuctl"))
    commands = {
        f'python -c "{_LIBRARIES}"': [python, "-c", _LIBRARIES],
        "gpuctl --version": [gpuctl, "--version"],
        "gpuctl capacity --stack lab": [gpuctl, "capacity", "--stack", "lab"],
    }
    costs = in_turns(commands, _ROUNDS)
    base = next(iter(costs.values()))
    for name, one in costs.items():
        print(f"{name:36} {one.seconds * 1000:6.0f} ms   {one.seconds / base.seconds:4.2f} x   {one.peak_mib:4.0f} MiB")
