"""What real Talos nodes make of the product: its patches, its stack, its checks."""

import json
import sys

import pytest

from tests.node.bed import wait_for
from tests.talos_node.bed import NODES, TalosBed

pytestmark = [pytest.mark.talos_node, pytest.mark.timeout(900, func_only=True)]

PRESENT = "nvidia.com/gpu.present"
MODULES = {"nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset"}


def test_the_nodes_run_talos_of_the_release(bed: TalosBed) -> None:
    for node in bed.cluster.api.nodes().values():
        info = node["status"]["nodeInfo"]
        assert info["osImage"] == f"Talos ({bed.release.version})"
        assert info["containerRuntimeVersion"] == "containerd://2.2.4"
        assert info["kubeletVersion"] == f"v{bed.release.kubernetes_version}"


def test_the_nodes_show_nvidias_extensions(bed: TalosBed) -> None:
    """Where `gpuctl verify` reads the driver's version: labels that Talos itself sets."""
    labels = bed.labels("gpu-1")
    toolkit = labels["extensions.talos.dev/nvidia-container-toolkit-production"]
    assert toolkit == f"{bed.release.driver}-v{bed.release.toolkit}"
    assert "nvidia-open-gpu-kernel-modules-production" in bed.talosctl("gpu-1", "get", "extensions")


def test_a_patch_takes_effect_on_a_running_node_without_a_reboot(bed: TalosBed) -> None:
    bed.write_stack_file(bed.config())
    said = bed.talosctl("gpu-1", "patch", "machineconfig", "--patch", f"@{bed.patch_file('gpu-1')}")
    assert "without a reboot" in said
    bed.wait_for_labels("gpu-1", {PRESENT: "true"})
    specs = bed.talosctl("gpu-1", "get", "kernelmodulespecs", "-o", "jsonpath={.metadata.id}")
    assert set(specs.split()) >= MODULES


def test_a_patch_computed_from_the_live_configuration_adds_nothing_the_second_time(patched: TalosBed) -> None:
    before = patched.machine("gpu-1")
    patched.patch("gpu-1")
    assert patched.machine("gpu-1") == before


def test_a_node_is_reset_and_joined_again_from_maintenance_mode_with_its_patch(bed: TalosBed) -> None:
    """docs/talos.md, step 2: `talosctl apply-config --insecure ... --config-patch`."""
    bed.write_stack_file(bed.config())
    patch = bed.patch_file("gpu-2")
    node = bed.cluster.talos_nodes["gpu-2"]
    bed.talosctl("gpu-2", "reset", "--graceful=false", "--reboot", "--wait=false")
    wait_for(True, lambda: in_maintenance_mode(bed))
    bed.output("kubectl", "delete", "node", "gpu-2")
    bed.cluster.talos.apply(node, "--config-patch", f"@{patch}")
    wait_for("True", lambda: ready(bed, "gpu-2"))
    bed.wait_for_labels("gpu-2", {PRESENT: "true"})


def in_maintenance_mode(bed: TalosBed) -> bool:
    """Whether gpu-2 answers without a client certificate, as a node without configuration does."""
    done = bed.run("talosctl", "--nodes", bed.address("gpu-2"), "get", "machinestatus", "--insecure")
    return done.returncode == 0


def ready(bed: TalosBed, node: str) -> str:
    """The status of the condition Ready."""
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return bed.run("kubectl", "get", "node", node, "-o", path).stdout


def test_the_stack_offers_slices_holds_limits_and_passes_every_check(deployed: TalosBed) -> None:
    wait_for([8, 2], lambda: [deployed.allocatable(node.name) for node in NODES])
    wait_for([300.0, 300.0, 250.0], lambda: [gpu.power_limit for node in NODES for gpu in deployed.gpus(node.name)])
    done = deployed.run(sys.executable, "-m", "gpuctl", "verify", "--stack", "l2", "--wait", "2m", "-o", "json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    checks = [check for stack in report["stacks"] for category in stack["categories"] for check in category["checks"]]
    assert {check["outcome"] for check in checks} <= {"pass", "skip"}


def test_slices_of_talos_nodes_are_shared_as_the_stack_says(deployed: TalosBed) -> None:
    deployed.gpuctl("verify", "--sharing", "--cuda-image", "", "--stack", "l2", "--wait", "2m", seconds=600)


def test_a_reboot_takes_nothing_away(deployed: TalosBed) -> None:
    deployed.gpus("gpu-2")[0].drift(450)
    deployed.talosctl("gpu-2", "reboot", "--wait=false")
    wait_for("Unknown", lambda: ready(deployed, "gpu-2"))
    wait_for("True", lambda: ready(deployed, "gpu-2"))
    wait_for(2, lambda: deployed.allocatable("gpu-2"))
    wait_for(250.0, lambda: deployed.gpus("gpu-2")[0].power_limit)
