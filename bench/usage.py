"""What one sample of the usage watcher costs with 1, 10 and 100 processes on a simulated GPU."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.agent import shell
from bench.measured import cost
from testbed import driver
from testbed.gpus import NodeSpec

_ROUNDS = 5
_COUNTS = (1, 10, 100)
_SPEC = NodeSpec.parse("bench=rtx-3090x1")
_WATCHER = Path(__file__).parents[1] / "gpuctl" / "desired" / "usage_watcher" / "watch.sh"


def run() -> None:
    """Prints the figures."""
    if not shutil.which("gcc"):
        print("gcc is missing: there is no simulated GPU to have processes on")
        return
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        driver.build(folder)
        driver.simulated(folder, _SPEC, folder, folder)
        [gpu] = driver.simulated_gpus(folder, _SPEC)
        found = {"GPUSIM_CONFIG": str(folder / "gpus.conf"), "GPUSIM_STATE": str(folder / "gpu")}
        environment = {**os.environ, **found, "PATH": f"{folder}:{os.environ['PATH']}"}
        pids = [stack.enter_context(_process()) for _ in range(max(_COUNTS))]
        print(f"shell: {' '.join(shell())}; the least of {_ROUNDS} samples, with the shell's start:")
        for count in _COUNTS:
            gpu.set_processes([(pid, 10, 1) for pid in pids[:count]])
            costs = [cost([*shell(), str(_WATCHER), "report"], environment) for _ in range(_ROUNDS)]
            least = min(costs, key=lambda each: each.cpu_seconds)
            print(
                f"  {count:3} processes  {least.seconds * 1000:7.1f} ms, {least.cpu_seconds * 1000:7.1f} ms of CPU, "
                f"{max(each.peak_mib for each in costs):5.1f} MiB"
            )


@contextmanager
def _process() -> Generator[int]:
    """A program that is there; its id."""
    with subprocess.Popen(["sleep", "600"]) as running:
        yield running.pid
        running.kill()
