"""What the power-limit agent costs, and how fast it fixes a limit: on this machine's GPUs where there are any.

A look is compared with one bare query of the same fields by nvidia-smi, in turns. Setting a limit is only ever tried on
simulated GPUs; for these the time to correction is measured, from a moment between two looks that is not chosen.
"""

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.measured import in_turns
from gpuctl.desired.power_limit import AGENT
from testbed import driver
from testbed.gpus import NodeSpec, SimulatedGpu

_ROUNDS = 40
_DRIFTS = 8
_INTERVAL = 5
"""Seconds between two samples: the least that the settings allow."""
_SPEC = NodeSpec.parse("bench=rtx-3090x2")


def run() -> None:
    """Prints the figures."""
    script, its_shell = AGENT / "agent.sh", shell()
    print(f"shell: {' '.join(its_shell)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated = _simulated(folder)
        if shutil.which("nvidia-smi"):
            _print_look([*its_shell, str(script)], os.environ | _settings(folder), "this machine's GPUs")
        if simulated is None:
            print("gcc is missing: there are no simulated GPUs to set a limit of")
            return
        environment, gpus = simulated
        _print_look(
            [*its_shell, str(script)],
            environment,
            f"{len(gpus)} simulated GPUs, whose query costs next to nothing, so look at the difference",
        )
        if os.geteuid() == 0:
            _print_corrections([*its_shell, str(script), "run"], environment, gpus[0])
        else:
            print("not root: no limit can be set, so no correction is measured")


def shell() -> list[str]:
    """That of the device plugin's image, where this machine has it."""
    return ["busybox", "sh"] if shutil.which("busybox") else ["sh"]


def _settings(folder: Path) -> dict[str, str]:
    return {
        "POWER_LIMIT_WATTS": "300",
        "POWER_LIMIT_INTERVAL": str(_INTERVAL),
        "POWER_LIMIT_STATE": str(folder / "state"),
        "POWER_LIMIT_NODE": str(folder / "node"),
        "POWER_LIMIT_PATIENCE": "0",
        "POD_UID": "bench",
    }


def _simulated(folder: Path) -> tuple[dict[str, str], list[SimulatedGpu]] | None:
    """Environment with a simulated nvidia-smi before any other, and its GPUs; None without a compiler."""
    if not shutil.which("gcc"):
        return None
    driver.build(folder)
    driver.simulated(folder, _SPEC, folder, folder)
    found = {"GPUSIM_CONFIG": str(folder / "gpus.conf"), "GPUSIM_STATE": str(folder / "gpu")}
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return {**os.environ, **_settings(folder), **found, **path}, driver.simulated_gpus(folder, _SPEC)


def _print_look(agent: Sequence[str], environment: Mapping[str, str], of: str) -> None:
    """In turns, so that a busy moment of the machine meets both."""
    smi = shutil.which("nvidia-smi", path=environment["PATH"]) or "nvidia-smi"
    commands = {
        "query": [smi, f"--query-gpu={_fields()}", "--format=csv,noheader,nounits"],
        "look": [*agent, "report"],
    }
    query, look = in_turns(commands, _ROUNDS, environment).values()
    print(f"{of}, medians of {_ROUNDS}:")
    print(f"  bare query  {query.seconds * 1000:6.1f} ms, {query.cpu_seconds * 1000:6.1f} ms of CPU")
    print(
        f"  one look    {look.seconds * 1000:6.1f} ms, {look.cpu_seconds * 1000:6.1f} ms of CPU, with its shell's start"
    )
    print(f"  ratio       {look.seconds / query.seconds:6.2f}   , {look.cpu_seconds / query.cpu_seconds:6.2f}")


def _fields() -> str:
    """What the agent asks for, from its own text."""
    text = (AGENT / "agent.sh").read_text()
    parts = re.findall(r"^(?:fields|reasons_field)=(?:\$fields,)?(\S+)$", text, re.MULTILINE)
    return ",".join(parts)


def _print_corrections(agent: Sequence[str], environment: Mapping[str, str], gpu: SimulatedGpu) -> None:
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        running = subprocess.Popen(agent, env=environment, stdout=log, stderr=log)
        stack.callback(running.wait)
        stack.callback(running.terminate)
        _seconds_until(gpu, 300)
        taken: list[float] = []
        for number in range(_DRIFTS):
            time.sleep(_INTERVAL * (number + 1) / (_DRIFTS + 1))
            gpu.drift(350)
            taken.append(_seconds_until(gpu, 300))
        status = Path(f"/proc/{running.pid}/status").read_text()
        peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024
    print(f"from drift to correction, {_DRIFTS} times, a look every {_INTERVAL} s:")
    for what, seconds in (("median", statistics.median(taken)), ("longest", max(taken))):
        print(f"  {what:8}    {seconds:6.2f} s = {seconds / _INTERVAL:.2f} intervals")
    print(f"memory of the agent: {peak:.1f} MiB at most (resident set)")


def _seconds_until(gpu: SimulatedGpu, watts: float) -> float:
    begin = time.monotonic()
    while gpu.power_limit != watts:
        time.sleep(0.01)
    return time.monotonic() - begin
