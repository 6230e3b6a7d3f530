"""What nodes go through: restarts are over in seconds and touch no pod; a sick GPU is taken out of service."""

from collections.abc import Iterator

import pytest

from testbed.gpus import SimulatedGpu
from tests.node.bed import PLUGIN, Bed, gpu_pod, wait_for

pytestmark = pytest.mark.node


def containers(bed: Bed) -> dict[str, tuple[str, int]]:
    """Pod -> its container and how often that was restarted: the same as long as nothing touched it."""
    states = {name: pod["status"]["containerStatuses"][0] for name, pod in bed.pods().items() if name != "later"}
    return {name: (state["containerID"], state["restartCount"]) for name, state in states.items()}


@pytest.fixture
def occupied(deployed: Bed) -> Bed:
    """The cluster with two pods at work on gpu-1, which offers its eight slices."""
    wait_for(8, lambda: deployed.allocatable("gpu-1"))
    deployed.create(gpu_pod("work-1", "gpu-1"), gpu_pod("work-2", "gpu-1"))
    wait_for({"work-1": "Running", "work-2": "Running"}, deployed.phases)
    return deployed


@pytest.fixture
def sick(deployed: Bed, gpu: SimulatedGpu) -> Iterator[SimulatedGpu]:
    """A GPU to make sick; healthy again after the test."""
    yield gpu
    deployed.restart_plugin("gpu-1")
    wait_for(8, lambda: deployed.allocatable("gpu-1"))


def starts(bed: Bed) -> str:
    """The phase of a pod on gpu-1 that another one replaces when it fails, as a Deployment would do.

    The kubelet refuses a pod that arrives before the device plugin has registered again.
    """
    phase = bed.phases().get("later")
    if phase in (None, "Failed"):
        bed.output("kubectl", "delete", "pod", "later", "--ignore-not-found")
        bed.create(gpu_pod("later", "gpu-1"))
    return phase or ""


def assert_serves(bed: Bed) -> None:
    """gpu-1 offers all of its slices and starts another pod on one of them."""
    wait_for(8, lambda: bed.allocatable("gpu-1"))
    wait_for("Running", lambda: starts(bed))


def test_a_killed_plugin_pod_is_replaced_and_running_pods_go_on(occupied: Bed) -> None:
    before, killed = containers(occupied), occupied.name_of(PLUGIN, "gpu-1")
    occupied.restart_plugin("gpu-1")
    wait_for(True, lambda: occupied.is_ready(PLUGIN, "gpu-1"))
    assert occupied.name_of(PLUGIN, "gpu-1") != killed
    assert_serves(occupied)
    assert containers(occupied) == before


def test_a_restarted_kubelet_offers_the_gpus_again_and_running_pods_go_on(occupied: Bed) -> None:
    before = containers(occupied)
    occupied.cluster.nodes["gpu-1"].restart_kubelet()
    assert_serves(occupied)
    assert containers(occupied) == before


def test_xid_79_takes_one_slice_away_until_the_plugin_restarts(deployed: Bed, sick: SimulatedGpu) -> None:
    """Device plugin v0.18.2 keeps one slice per GPU in its health map, so 8 becomes 7 and not 4."""

    def offered_after_an_xid() -> int:
        sick.raise_xid(79)  # again at every look: the plugin begins to watch a moment after it has registered
        return deployed.allocatable("gpu-1")

    wait_for(8, lambda: deployed.allocatable("gpu-1"))
    wait_for(7, offered_after_an_xid)
    deployed.restart_plugin("gpu-1")
    wait_for(8, lambda: deployed.allocatable("gpu-1"))
