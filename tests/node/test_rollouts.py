"""Changes of the stack file on nodes that serve."""

import json

import pytest

from gpuctl.desired.names import CHECKSUM_ANNOTATION
from tests.node.bed import GPU, NAMESPACE, PLUGIN, Bed, gpu_pod, stack_file, wait_for

pytestmark = pytest.mark.node

PROFILE = ("gpu-1", "gpu-3")
"""The nodes of the default profile."""


def offers(bed: Bed, resource: str = GPU) -> dict[str, int]:
    return {node: bed.allocatable(node, resource) for node in ("gpu-1", "gpu-2", "gpu-3")}


def patch(bed: Bed, kind: str, name: str, change: object) -> None:
    bed.output("kubectl", "patch", "-n", NAMESPACE, kind, name, "--type=merge", "-p", json.dumps(change))


def crashing(bed: Bed) -> list[str]:
    """The nodes of the default profile on which the plugin exits again and again."""
    pods = [(node, bed.daemon_pod(PLUGIN, node)) for node in PROFILE]
    return [node for node, pod in pods if "CrashLoopBackOff" in json.dumps(pod)]


def test_one_slice_means_whole_gpus_and_another_profile_is_left_alone(deployed: Bed) -> None:
    other = deployed.name_of(PLUGIN, "gpu-2")
    deployed.deploy(stack_file(slices=1))
    wait_for({"gpu-1": 2, "gpu-2": 2, "gpu-3": 1}, lambda: offers(deployed))
    deployed.create(gpu_pod("whole", "gpu-3"))
    wait_for({"whole": deployed.gpus("gpu-3")[0].uuid}, deployed.devices)
    config_map = deployed.plugin_config()
    assert "sharing" not in config_map["data"]["config.yaml"]
    assert deployed.name_of(PLUGIN, "gpu-2") == other


def test_slices_under_the_name_gpu_shared(bed: Bed) -> None:
    bed.deploy(stack_file(renameByDefault=True))
    wait_for({"gpu-1": 8, "gpu-2": 2, "gpu-3": 4}, lambda: offers(bed, f"{GPU}.shared"))
    wait_for({"gpu-1": 0, "gpu-2": 0, "gpu-3": 0}, lambda: offers(bed))
    assert all(bed.is_ready(PLUGIN, node) for node in ("gpu-1", "gpu-2", "gpu-3"))


def test_a_configuration_on_which_the_plugin_exits_stops_at_the_first_node(deployed: Bed) -> None:
    """The settings refuse such a configuration, so it is made by hand here; `pulumi up --refresh` fixes it."""
    usual = {"gpu-1": 8, "gpu-2": 2, "gpu-3": 4}
    wait_for(usual, lambda: offers(deployed))
    before = {node: deployed.name_of(PLUGIN, node) for node in PROFILE}
    deployed.changed_by_hand()
    sharing = {"timeSlicing": {"resources": [{"name": GPU, "replicas": 1}]}}
    text = json.dumps({"version": "v1", "sharing": sharing})
    by_hand = {"name": "by-hand", "namespace": NAMESPACE}
    live = deployed.get("daemonset", "-n", NAMESPACE, PLUGIN)["spec"]["template"]["spec"]["volumes"]
    deployed.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": by_hand, "data": {"config.yaml": text}})
    volumes = [
        {"name": "config", "configMap": {"name": "by-hand"}},
        *(each for each in live if each["name"] != "config"),
    ]
    template = {"metadata": {"annotations": {CHECKSUM_ANNOTATION: "by hand"}}, "spec": {"volumes": volumes}}
    patch(deployed, "daemonset", PLUGIN, {"spec": {"template": template}})
    wait_for(1, lambda: len(crashing(deployed)))
    (crashed,) = crashing(deployed)
    spared = next(node for node in PROFILE if node != crashed)
    wait_for(usual | {crashed: 0}, lambda: offers(deployed))
    assert deployed.name_of(PLUGIN, spared) == before[spared]
    deployed.deploy(stack_file())
    wait_for(usual, lambda: offers(deployed))
