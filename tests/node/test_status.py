"""gpuctl status on real kubelets: who is on which GPU, and a limit that someone else moved."""

import json
import sys
from typing import Any

import pytest

from testbed.gpus import SimulatedGpu
from tests.node.bed import Bed, gpu_pod, wait_for

pytestmark = pytest.mark.node


def _rows(bed: Bed) -> dict[str, dict[str, Any]]:
    """UUID -> what is told of the GPU."""
    said = json.loads(bed.output(sys.executable, "-m", "gpuctl", "status", "--stack", "l2", "-o", "json"))
    return {row["uuid"]: row for row in said["gpus"] if "uuid" in row}


def test_every_gpu_has_a_row_with_its_users(deployed: Bed) -> None:
    deployed.create(gpu_pod("one", "gpu-1"), gpu_pod("two", "gpu-2"))
    wait_for({"one", "two"}, lambda: set(deployed.devices()))
    on = {pod: device.partition("::")[0] for pod, device in deployed.devices().items()}
    wait_for(4, lambda: len(_rows(deployed)))
    rows = _rows(deployed)
    assert {uuid: row["users"] for uuid, row in rows.items() if row["users"]} == {
        on["one"]: ["default/one"],
        on["two"]: ["default/two"],
    }
    assert {(row["node"], row["slices"]) for row in rows.values()} == {("gpu-1", 4), ("gpu-2", 2), ("gpu-3", 4)}


def test_a_limit_that_was_moved_is_seen_before_it_is_put_back(deployed: Bed, gpu: SimulatedGpu) -> None:
    wait_for(4, lambda: len(_rows(deployed)))
    gpu.fail_set(4)
    gpu.drift(350)
    row = _rows(deployed)[gpu.uuid]
    assert (row["desiredWatts"], row["limitWatts"], row["atLimit"]) == (300, 350, False)
