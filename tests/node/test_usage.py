"""Who uses a GPU, on real kubelets: the watcher finds the pod of each process by the node's own cgroups."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.node.bed import INTERVAL, Bed, gpu_pod, stack_file, wait_for

pytestmark = pytest.mark.node


def _pid_of(pod: dict[str, Any]) -> int:
    """The program of a pod, by its id on this machine; the pod's sandbox is another process."""
    uid = pod["metadata"]["uid"]
    [found] = [
        int(place.name)
        for place in Path("/proc").glob("[0-9]*")
        if _text(place / "comm") == "sleep\n" and uid in _text(place / "cgroup")
    ]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def _usage(bed: Bed) -> dict[str, tuple[Any, ...]]:
    """Pod -> what it has of the GPU of gpu-3, as status says it."""
    said = json.loads(bed.output(sys.executable, "-m", "gpuctl", "status", "--stack", "l2", "-o", "json"))
    rows = [row for row in said["usage"] if row["node"] == "gpu-3"]
    keys = ("holder", "memoryMiB", "shareMiB", "overShare", "smPercent", "processes")
    return {row["pod"]: tuple(row[key] for key in keys) for row in rows}


def test_status_says_what_each_pod_has_of_a_gpu_that_they_share(bed: Bed) -> None:
    """It sees the processes of others without a capability and without being root."""
    bed.deploy(stack_file(usage=True, usageInterval=INTERVAL))
    bed.create(gpu_pod("one", "gpu-3"), gpu_pod("two", "gpu-3"))
    wait_for({"one": "Running", "two": "Running"}, bed.phases)
    pids = {name: _pid_of(pod) for name, pod in bed.pods().items()}
    [gpu] = bed.gpus("gpu-3")
    try:
        gpu.set_processes([(pids["one"], 9000, 80), (pids["two"], 300, 0)])
        expected = {
            "default/one": ("pod", 9000, 6144, True, 80, ["sleep"]),
            "default/two": ("pod", 300, 6144, False, 0, ["sleep"]),
        }
        wait_for(expected, lambda: _usage(bed))
        said = bed.run(sys.executable, "-m", "gpuctl", "verify", "--stack", "l2", "--check", "gpu-usage").stdout
    finally:
        gpu.set_processes([])
    assert "the usage watcher reports on every node: gpu-1, gpu-2, gpu-3" in said
    assert "default/one holds 9000 MiB of GPU 0 of gpu-3, and its share is 6144 MiB" in said
