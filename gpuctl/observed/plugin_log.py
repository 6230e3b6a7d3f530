"""What the device plugin's log says about GPUs, and about the configuration it has loaded.

The plugin keeps the health of its GPUs in memory: a restart of its process, or of what it serves after a restart of the
kubelet, forgets it. So only what was written since the last start counts. Texts are those of v0.17 to v0.20
(internal/rm/health.go and cmd/nvidia-device-plugin/main.go).
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

_LOADED = "Running with config:"
"""What the plugin writes before the configuration it has loaded, as JSON of several lines."""
_START = "Starting Plugins."
_NOTHING_FOUND = "No devices found. Waiting indefinitely."
_XID = re.compile(r"XidCriticalError: Xid=(\d+) on Device=(GPU-[-0-9a-f]+)\S*; marking device as unhealthy")
_MARKED = re.compile(r"Marking device (GPU-[-0-9a-f]+)\S* as unhealthy: (.*)")
_ALL_MARKED = re.compile(r"(Error waiting for event: .*|Failed to determine uuid for event .*); Marking all devices")

RESET_XIDS = {
    48: "a double-bit ECC error",
    62: "an internal micro-controller halt",
    64: "a failure to retire memory",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    95: "an uncontained ECC error",
    119: "the GPU's system processor does not answer",
    120: "an error of the GPU's system processor",
}
"""Xids after which a GPU needs a reset or its node a reboot, and what they mean; NVIDIA's Xid catalogue."""


class UnhealthyGpu(NamedTuple):
    """A GPU that the plugin took out of service."""

    uuid: str
    """Empty when all of the node's GPUs are meant."""
    reason: str
    needs_reset: bool
    """Whether a restart of the plugin alone brings it back as bad as it was."""


def unhealthy_gpus(lines: Sequence[str]) -> list[UnhealthyGpu]:
    """The GPUs that the plugin has marked unhealthy, each with the first reason."""
    found: dict[str, UnhealthyGpu] = {}
    for line in _since_the_start(lines):
        if match := _XID.search(line):
            xid = int(match[1])
            meaning = f" ({RESET_XIDS[xid]})" if xid in RESET_XIDS else ""
            found.setdefault(match[2], UnhealthyGpu(match[2], f"Xid {xid}{meaning}", xid in RESET_XIDS))
        elif match := _MARKED.search(line):
            found.setdefault(match[1], UnhealthyGpu(match[1], match[2], needs_reset=False))
        elif match := _ALL_MARKED.search(line):
            found.setdefault("", UnhealthyGpu("", match[1], needs_reset=True))
    return list(found.values())


def waits_without_a_gpu(lines: Sequence[str]) -> bool:
    """Whether it found no GPU when it started, and will never look again."""
    return any(_NOTHING_FOUND in line for line in _since_the_start(lines))


def loaded_config(lines: Sequence[str]) -> dict[str, Any] | None:
    """The configuration that the plugin loaded last; None when its log does not say."""
    starts = [index for index, line in enumerate(lines) if line.endswith(_LOADED)]
    if not starts:
        return None
    try:
        return json.JSONDecoder().raw_decode("\n".join(lines[starts[-1] + 1 :]))[0]
    except json.JSONDecodeError:
        return None


def replicas(config: dict[str, Any]) -> dict[str, int]:
    """Resource -> slices per GPU, by a configuration of the plugin; empty where GPUs are whole."""
    sharing: dict[str, Any] = config.get("sharing") or {}
    slicing: dict[str, Any] = sharing.get("mps") or sharing.get("timeSlicing") or {}
    return {each["name"]: each["replicas"] for each in slicing.get("resources") or ()}


def _since_the_start(lines: Sequence[str]) -> Sequence[str]:
    starts = [index for index, line in enumerate(lines) if _START in line]
    return lines[starts[-1] :] if starts else lines
