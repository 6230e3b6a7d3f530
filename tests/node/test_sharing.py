"""Slices: what nodes offer, what pods get of it, and what is refused."""

import json
from collections import Counter

import pytest
import yaml

from tests.node.bed import PLUGIN, Bed, gpu_pod, wait_for

pytestmark = pytest.mark.node

OFFER = {"gpu-1": 8, "gpu-2": 2, "gpu-3": 4}


def offers(bed: Bed) -> dict[str, int]:
    return {node: bed.allocatable(node) for node in OFFER}


def message(bed: Bed, pod: str) -> str:
    """Why a pod is where it is: the kubelet's words, or the scheduler's."""
    status = bed.pods()[pod]["status"]
    return status.get("message") or " ".join(entry.get("message", "") for entry in status.get("conditions", []))


def test_each_node_offers_its_gpus_times_the_slices_of_its_profile(deployed: Bed) -> None:
    wait_for(OFFER, lambda: offers(deployed))


def test_fourteen_pods_share_four_gpus_and_the_fifteenth_waits(deployed: Bed) -> None:
    wait_for(OFFER, lambda: offers(deployed))
    deployed.create(*(gpu_pod(f"share-{number}") for number in range(15)))
    wait_for({"Running": 14, "Pending": 1}, lambda: dict(Counter(deployed.phases().values())))
    first, second = deployed.gpus("gpu-1")
    (third,), (fourth,) = deployed.gpus("gpu-2"), deployed.gpus("gpu-3")
    expected = {first.uuid: 4, second.uuid: 4, third.uuid: 2, fourth.uuid: 4}
    wait_for(expected, lambda: Counter(device.partition("::")[0] for device in deployed.devices().values()))
    (waiting,) = (name for name, phase in deployed.phases().items() if phase == "Pending")
    assert f"{len(deployed.cluster.nodes)} Insufficient nvidia.com/gpu" in message(deployed, waiting)


def test_a_pod_sees_its_own_gpu_and_no_other(deployed: Bed) -> None:
    deployed.create(gpu_pod("one", "gpu-1"))
    wait_for({"one": "Running"}, deployed.phases)
    listing = deployed.output("kubectl", "exec", "one", "--", "nvidia-smi", "-L").splitlines()
    wait_for(True, lambda: "one" in deployed.devices())
    assert len(listing) == 1
    assert deployed.devices()["one"].partition("::")[0] in listing[0]


def test_a_pod_that_asks_for_no_gpu_sees_none(deployed: Bed) -> None:
    deployed.create(gpu_pod("none", "gpu-1", gpus=None))
    wait_for({"none": "Running"}, deployed.phases)
    assert deployed.run("kubectl", "exec", "none", "--", "nvidia-smi", "-L").returncode != 0
    assert "NVIDIA_VISIBLE_DEVICES" not in deployed.output("kubectl", "exec", "none", "--", "env")


def test_a_pod_that_asks_for_two_slices_is_refused(deployed: Bed) -> None:
    wait_for(OFFER, lambda: offers(deployed))
    deployed.create(gpu_pod("two", "gpu-1", gpus=2))
    wait_for({"two": "Failed"}, deployed.phases)
    assert deployed.pods()["two"]["status"]["reason"] == "UnexpectedAdmissionError"
    assert "maximum request size for shared resources is 1" in message(deployed, "two")


@pytest.mark.parametrize(("node", "daemon_set"), [("gpu-1", PLUGIN), ("gpu-2", f"{PLUGIN}-gpu-2")])
def test_the_plugin_runs_with_what_the_config_map_of_its_profile_says(
    deployed: Bed, node: str, daemon_set: str
) -> None:
    config_map = deployed.plugin_config(daemon_set)
    wanted = yaml.safe_load(config_map["data"]["config.yaml"])
    begin = deployed.log(PLUGIN, node).partition("Running with config:")[2].lstrip()
    running, _ = json.JSONDecoder().raw_decode(begin)
    slicing = running["sharing"]["timeSlicing"]
    for resource in slicing["resources"]:
        assert resource.pop("devices") == "all", "the plugin's own default"
    unsaid_when_false = {"renameByDefault": False, "failRequestsGreaterThanOne": False}
    assert unsaid_when_false | slicing == wanted["sharing"]["timeSlicing"]
    assert running["version"] == wanted["version"]
