"""The Talos patches of a stack in the files of the tools that write nodes' configuration: talhelper, Omni, Terraform.

What these tools make of them is theirs; the forms are those of their own references.
"""

import re
from enum import StrEnum
from typing import Any

import yaml

from gpuctl.desired.names import yaml_text
from gpuctl.desired.schematic import extensions, installer_image, schematic
from gpuctl.desired.talos import Document, provider_patches, talos_patches
from gpuctl.settings import GpuNode, Settings


class Tool(StrEnum):
    """Who writes the nodes' configuration."""

    TALHELPER = "talhelper"
    OMNI = "omni"
    TERRAFORM = "terraform"


FILES = {Tool.TALHELPER: "talhelper.yaml", Tool.OMNI: "omni.yaml", Tool.TERRAFORM: "gpu.tf"}
"""What the file of each is called."""


def tool_file(tool: Tool, settings: Settings) -> str:
    """What the tool's file must say of the GPU nodes.

    Args:
        tool: whose form it is.
        settings: of the cluster.
    """
    return {Tool.TALHELPER: _talhelper, Tool.OMNI: _omni, Tool.TERRAFORM: _terraform}[tool](settings)


def _talhelper(settings: Settings) -> str:
    """Talhelper makes the image of the schematic and of the cluster's `talosVersion`."""
    patches = talos_patches(settings)
    nodes = [
        {"hostname": node.name, **_image(settings.on(node)), "patches": [patches[node.name]]} for node in settings.nodes
    ]
    return "# Belongs to the entries of these nodes in talconfig.yaml.\n" + yaml_text({"nodes": nodes})


def _image(settings: Settings) -> Document:
    text = schematic(settings)
    return {"schematic": yaml.safe_load(text)} if text else {"talosImageURL": _without_version(settings)}


def _without_version(settings: Settings) -> str:
    """The installer image as talhelper wants it, which adds the cluster's Talos release."""
    return re.sub(r":[^/:]+$", "", installer_image(settings).partition("@")[0])


def _omni(settings: Settings) -> str:
    """Omni makes the image of the extensions and kernel arguments itself, so no patch names one."""
    patches = talos_patches(settings)
    return "".join(_machine(settings.on(node), node, patches[node.name]) for node in settings.nodes)


def _machine(settings: Settings, node: GpuNode, patch: str) -> str:
    documents = [left for each in yaml.safe_load_all(patch) if (left := _without_image(each))]
    document: dict[str, Any] = {
        "kind": "Machine",
        "name": f"UUID-OF-{node.name}",
        "systemExtensions": extensions(settings),
        **({"kernelArgs": [*settings.kernel_arguments]} if settings.kernel_arguments else {}),
        "patches": [{"name": f"gpu-sharing-{index}", "inline": each} for index, each in enumerate(documents)],
    }
    return f"---\n# {node.name}: the name of its machine is its UUID, see: omnictl get machines\n{yaml_text(document)}"


def _without_image(document: Document) -> Document:
    if document.get("kind") == "UnattendedInstallConfig":
        return {}
    machine = {key: value for key, value in document.get("machine", {}).items() if key != "install"}
    return {**document, "machine": machine} if "machine" in document else document


def _terraform(settings: Settings) -> str:
    """For `config_patches` and an upgrade; the provider's library knows the form of Talos up to v1.13."""
    patches = provider_patches(settings)
    images = "".join(f'    "{node.name}" = "{installer_image(settings.on(node))}"\n' for node in settings.nodes)
    texts = "".join(f'    "{name}" = <<-EOT\n{_indented(text)}    EOT\n' for name, text in patches.items())
    return f"""\
# For each node: config_patches = [local.gpu_patches[NODE]] of talos_machine_configuration_apply.
locals {{
  gpu_patches = {{
{texts}  }}
  gpu_installer_images = {{
{images}  }}
}}
"""


def _indented(text: str) -> str:
    escaped = text.replace("${", "$${").replace("%{", "%%{")
    return "".join(f"      {line}" if line.strip() else line for line in escaped.splitlines(keepends=True))
