"""The settings of this machine's GPUs: only ever read, and compared, so that a change by anyone shows."""

import subprocess
from collections.abc import Mapping

from testbed.errors import BedError

FIELDS = (
    "driver_version",
    "power.limit",
    "compute_mode",
    "persistence_mode",
    "mig.mode.current",
    "mig.mode.pending",
    "ecc.mode.current",
    "ecc.mode.pending",
    "accounting.mode",
    "clocks.applications.graphics",
    "clocks.applications.memory",
    "clocks.max.graphics",
    "clocks.max.memory",
)
"""What can be set on a GPU, and the driver; names of `nvidia-smi --help-query-gpu`."""
UNKNOWN = "not known to this nvidia-smi"

Settings = Mapping[str, Mapping[str, str]]
"""UUID of a GPU -> field -> value."""


def read() -> dict[str, dict[str, str]]:
    """The settings of each GPU, in the driver's order.

    Raises:
        BedError: nvidia-smi does not list the GPUs.
    """
    uuids = _ask("uuid")
    if not uuids:
        raise BedError("nvidia-smi lists no GPU here, so there is nothing to prove. See what it says: nvidia-smi -L")
    columns = {field: _ask(field) or [UNKNOWN] * len(uuids) for field in ("name", "memory.total", *FIELDS)}
    return {uuid: {field: column[index] for field, column in columns.items()} for index, uuid in enumerate(uuids)}


def differences(before: Settings, after: Settings) -> list[str]:
    """What is not as it was: one sentence for each setting, and for each GPU that came or went."""
    found = [f"GPU {uuid} {'is gone' if uuid in before else 'is new'}" for uuid in sorted({*before} ^ {*after})]
    for uuid in before:
        for field, was in before[uuid].items():
            if (value := after.get(uuid, before[uuid])[field]) != was:
                found.append(f"GPU {uuid}: {field} was {was} and is {value}")
    return found


def _ask(field: str) -> list[str]:
    """One value for each GPU; none when this nvidia-smi does not know the field."""
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BedError(
            "nvidia-smi is not on PATH: it comes with NVIDIA's driver, often in /usr/local/nvidia/bin"
        ) from error
    return done.stdout.splitlines() if done.returncode == 0 else []
