"""The Talos patches in the files of other tools: what gpuctl reads in such files finds nothing missing."""

import pytest
import yaml

from gpuctl.desired.talos_tools import Tool, tool_file
from gpuctl.machine_config.wrappers import parts_of
from gpuctl.settings import Settings
from tests.fixtures.stack_files import settings

NODES = [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2}, {"name": "gpu-2", "gpu": "rtx-4090", "count": 1}]
EXTENSIONS = [
    "siderolabs/nvidia-open-gpu-kernel-modules-production",
    "siderolabs/nvidia-container-toolkit-production",
]


def _stack(**keys: object) -> Settings:
    return settings(**({"nodes": NODES, "talosVersion": "v1.13.9"} | keys))


def test_talhelper_gets_schematic_and_patch_of_each_node() -> None:
    nodes = yaml.safe_load(tool_file(Tool.TALHELPER, _stack(labelNodes=False)))["nodes"]
    assert [node["hostname"] for node in nodes] == ["gpu-1", "gpu-2"]
    assert nodes[0]["schematic"] == {"customization": {"systemExtensions": {"officialExtensions": EXTENSIONS}}}
    (patch,) = nodes[0]["patches"]
    assert yaml.safe_load(patch)["machine"]["nodeLabels"]["nvidia.com/gpu.present"] == "true"


def test_talhelper_gets_an_image_of_ones_own_without_the_version_that_it_adds() -> None:
    own = tool_file(Tool.TALHELPER, _stack(installerImage="registry.example:5000/installer:v1.13.9"))
    assert yaml.safe_load(own)["nodes"][0]["talosImageURL"] == "registry.example:5000/installer"


@pytest.mark.parametrize("talos", ["v1.13.9", "v1.14.0"])
def test_omni_gets_extensions_and_one_patch_for_each_document_and_no_image(talos: str) -> None:
    """It makes the image itself; an inline patch is one document."""
    text = tool_file(Tool.OMNI, _stack(talosVersion=talos, kernelArguments=["intel_iommu=on"]))
    machines = list(yaml.safe_load_all(text))
    assert [machine["name"] for machine in machines] == ["UUID-OF-gpu-1", "UUID-OF-gpu-2"]
    assert machines[0]["systemExtensions"] == EXTENSIONS
    assert machines[0]["kernelArgs"] == ["intel_iommu=on"]
    assert "image" not in str(machines[0]["patches"])
    assert "nvidia_uvm" in str(machines[0]["patches"])
    assert all(isinstance(patch["inline"], dict) for patch in machines[0]["patches"])


def test_what_omni_gets_is_read_back_as_machine_configuration() -> None:
    parts = parts_of(tool_file(Tool.OMNI, _stack()))
    assert [part.where for part in parts] == ["Machine UUID-OF-gpu-1", "Machine UUID-OF-gpu-2"]
    assert all(part.is_about_gpus for part in parts)


def test_terraform_gets_a_patch_and_an_image_for_each_node() -> None:
    """In the form of Talos v1.13, which the provider's library knows; nothing in it is a template."""
    text = tool_file(Tool.TERRAFORM, _stack(talosVersion="v1.14.0", criCustomization='[plugins]\n  a = "${b}"\n'))
    assert '    "gpu-1" = <<-EOT\n      machine:\n        install:\n          image: ' in text
    assert '"gpu-2" = "factory.talos.dev/metal-installer/' in text
    assert "KernelModuleConfig" not in text
    assert "$${b}" in text
