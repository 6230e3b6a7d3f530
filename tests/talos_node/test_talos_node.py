"""What the product shows of real Talos nodes: its stack from the first update to destroy, its checks, its doctor."""

import json
import sys
from collections.abc import Iterator

import pytest

from testbed.gpus import SimulatedGpu
from tests.node.bed import wait_for
from tests.talos_node.bed import NODES, STACK, TalosBed

pytestmark = [pytest.mark.talos_node, pytest.mark.timeout(900, func_only=True)]

NO_LABELS = dict.fromkeys(("nvidia.com/gpu.present", "nvidia.com/device-plugin.config"))


def offered(bed: TalosBed) -> list[int]:
    """How many GPUs each node offers."""
    return [bed.allocatable(node.name) for node in NODES]


def outcomes(bed: TalosBed, *flags: str) -> dict[str, str]:
    """Check -> outcome, of `gpuctl verify`."""
    done = bed.run(sys.executable, "-m", "gpuctl", "verify", "--stack", STACK, "-o", "json", *flags, seconds=300)
    categories = json.loads(done.stdout)["stacks"][0]["categories"]
    return {check["id"]: check["outcome"] for category in categories for check in category["checks"]}


@pytest.fixture
def sick(deployed: TalosBed) -> Iterator[SimulatedGpu]:
    """A GPU to make sick; healthy again after the test."""
    gpu = deployed.gpus("gpu-1")[0]
    yield gpu
    gpu.recover()
    gpu.fail_set(None)
    gpu.cap_elsewhere(None)
    deployed.restart_plugin("gpu-1")
    wait_for([8, 2], lambda: offered(deployed))


def test_the_nodes_run_talos_of_the_release(bed: TalosBed) -> None:
    for node in bed.cluster.api.nodes().values():
        info = node["status"]["nodeInfo"]
        assert info["osImage"] == f"Talos ({bed.release.version})"
        assert info["containerRuntimeVersion"] == "containerd://2.2.4"
        assert info["kubeletVersion"] == f"v{bed.release.kubernetes_version}"


def test_the_nodes_show_nvidias_extensions(bed: TalosBed) -> None:
    """Where `gpuctl verify` reads the driver's version: labels that Talos itself sets."""
    toolkit = "extensions.talos.dev/nvidia-container-toolkit-production"
    bed.wait_for_labels("gpu-1", {toolkit: f"{bed.release.driver}-v{bed.release.toolkit}"})
    assert "nvidia-open-gpu-kernel-modules-production" in bed.talosctl("gpu-1", "get", "extensions")


def test_the_stack_offers_slices_holds_limits_and_passes_every_check(deployed: TalosBed) -> None:
    wait_for([8, 2], lambda: offered(deployed))
    wait_for([300.0, 300.0, 250.0], lambda: [gpu.power_limit for node in NODES for gpu in deployed.gpus(node.name)])
    found = outcomes(deployed, "--wait", "2m")
    assert set(found.values()) <= {"pass", "skip"}
    of_talos = {id_: outcome for id_, outcome in found.items() if id_.startswith("TAL")}
    assert of_talos == dict.fromkeys(("TAL001", "TAL002", "TAL003", "TAL004", "TAL006"), "pass")


def test_what_is_deployed_stays_as_it_is_when_pulumi_looks_again(deployed: TalosBed) -> None:
    refresh = ("pulumi", "refresh", "--yes", "--skip-preview", "--expect-no-changes", "--stack", STACK)
    done = deployed.run(*refresh, seconds=300)
    assert done.returncode == 0, done.stdout


@pytest.mark.one_line
def test_slices_of_talos_nodes_are_shared_as_the_stack_says(deployed: TalosBed) -> None:
    deployed.gpuctl("verify", "--sharing", "--cuda-image", "", "--stack", STACK, "--wait", "2m", seconds=600)


@pytest.mark.parametrize(
    ("config", "check"),
    [
        ({"talosVersion": "v1.12.0", "driverChannel": "lts"}, "TAL001"),
        ({"driverChannel": "lts"}, "TAL002"),
        ({"systemExtensions": ["siderolabs/iscsi-tools"]}, "TAL004"),
    ],
)
def test_a_stack_file_that_says_other_than_the_nodes_is_found(
    deployed: TalosBed, config: dict[str, object], check: str
) -> None:
    """The doctor names where it begins; nothing is deployed."""
    keys = config | ({"kernelModules": "proprietary"} if config.get("driverChannel") == "lts" else {})
    assert check in deployed.begins(**keys)


@pytest.mark.one_line
def test_a_cordoned_node_is_found(deployed: TalosBed) -> None:
    deployed.output("kubectl", "cordon", "gpu-2")
    try:
        assert "NOD002" in deployed.begins()
    finally:
        deployed.output("kubectl", "uncordon", "gpu-2")


@pytest.mark.one_line
def test_a_lost_gpu_is_found(deployed: TalosBed, sick: SimulatedGpu) -> None:
    sick.lose()
    wait_for(True, lambda: "PWR002" in deployed.begins())


@pytest.mark.one_line
def test_a_gpu_that_fell_off_the_bus_is_found(deployed: TalosBed, sick: SimulatedGpu) -> None:
    sick.raise_xid(79)
    wait_for(True, lambda: "CAP003" in deployed.begins())


@pytest.mark.one_line
def test_a_gpu_that_takes_no_limit_is_found(deployed: TalosBed, sick: SimulatedGpu) -> None:
    sick.fail_set(3)
    sick.drift(350)
    wait_for(True, lambda: "PWR003" in deployed.begins())


@pytest.mark.one_line
def test_a_gpu_held_lower_by_something_else_is_found(deployed: TalosBed, sick: SimulatedGpu) -> None:
    sick.cap_elsewhere(200)
    wait_for(True, lambda: "PWR004" in deployed.begins())


def test_a_label_that_was_removed_by_hand_stays_away_until_the_next_update(deployed: TalosBed) -> None:
    """Talos puts back only what its configuration sets."""
    deployed.output("kubectl", "label", "node", "gpu-2", "nvidia.com/device-plugin.config-")
    deployed.changed_by_hand()
    wait_for(0, lambda: deployed.allocatable("gpu-2"))
    assert "NOD003" in deployed.begins()
    deployed.deploy(deployed.config())
    wait_for([8, 2], lambda: offered(deployed))


def test_slices_of_one_node_change_to_another_profile_and_back(deployed: TalosBed) -> None:
    """A label that Talos set as well would end the update in a field conflict."""
    deployed.deploy(deployed.config(nodes=deployed.nodes()))
    wait_for([8, 4], lambda: offered(deployed))
    deployed.deploy(deployed.config(nodes=deployed.nodes(slices=3)))
    wait_for([8, 3], lambda: offered(deployed))
    deployed.deploy(deployed.config())
    wait_for([8, 2], lambda: offered(deployed))


def test_destroy_takes_the_stack_away_and_its_labels_off_the_nodes(deployed: TalosBed) -> None:
    deployed.destroy()
    wait_for([0, 0], lambda: offered(deployed))
    assert [gpu.power_limit for node in NODES for gpu in deployed.gpus(node.name)] == [350.0, 350.0, 450.0]
    for node in NODES:
        assert {name: deployed.labels(node.name).get(name) for name in NO_LABELS} == NO_LABELS
