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
    toolkit = "extensions.talos.dev/nvidia-container-toolkit-production"
    bed.wait_for_labels("gpu-1", {toolkit: f"{bed.release.driver}-v{bed.release.toolkit}"})
    assert "nvidia-open-gpu-kernel-modules-production" in bed.talosctl("gpu-1", "get", "extensions")


def test_a_patch_takes_effect_on_a_running_node_without_a_reboot(bed: TalosBed) -> None:
    bed.write_stack_file(bed.config())
    patch = f"@{bed.patch_file('gpu-1')}"
    done = bed.run("talosctl", "--nodes", bed.address("gpu-1"), "patch", "machineconfig", "--patch", patch)
    assert "Applied configuration without a reboot" in done.stderr
    bed.wait_for_labels("gpu-1", {PRESENT: "true"})
    specs = bed.talosctl("gpu-1", "get", "kernelmodulespecs", "-o", "jsonpath={.metadata.id}")
    assert set(specs.split()) >= MODULES


def test_a_patch_computed_from_the_live_configuration_adds_nothing_the_second_time(patched: TalosBed) -> None:
    before = patched.machine("gpu-1")
    patched.patch("gpu-1")
    assert patched.machine("gpu-1") == before


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


def test_destroy_takes_the_stack_away(deployed: TalosBed) -> None:
    deployed.destroy()
    wait_for([0, 0], lambda: [deployed.allocatable(node.name) for node in NODES])
    assert [gpu.power_limit for node in NODES for gpu in deployed.gpus(node.name)] == [350.0, 350.0, 450.0]
