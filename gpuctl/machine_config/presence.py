"""What a node's configuration has already of what a GPU node needs."""

from typing import Any

from gpuctl.desired.talos import CRI_FILE, Form, Present
from gpuctl.machine_config.document import Document, MachineConfig, inside, mapping
from gpuctl.machine_config.images import extensions_in, images, is_reference, of_release
from gpuctl.settings.talos_rules import DOCUMENTS_FROM
from gpuctl.settings.talos_tables import Minor, minor_of

_ONLY_FROM_V1_14 = ("UnattendedInstallConfig", "KubeNodeConfig")
"""Kinds that every configuration has which Talos v1.14 wrote, and that exclude the fields they replace."""


def present(config: MachineConfig, talos_version: str) -> Present:
    """What a patch for a node of a Talos release must take into account of its configuration."""
    own = next((image for _, image in images(config) if is_reference(image) and extensions_in(image) is None), None)
    return Present(
        form=_form(config, minor_of(talos_version)),
        modules=frozenset(modules(config)),
        labels={name: label_text(value) for _, labels in node_labels(config) for name, value in labels.items()},
        cri_fragment=next((str(file.get("content", "")) for file in cri_files(config)), None),
        disk_selector=disk_selector(config),
        own_image=own and of_release(own, talos_version),
    )


def modules(config: MachineConfig) -> list[str]:
    """The kernel modules that it loads, as often as it names them in one place."""
    return [
        str(entry.get("name", ""))
        for entry in [*config.entries("kernel", "modules"), *config.of_kind("KernelModuleConfig")]
    ]


def node_labels(config: MachineConfig) -> list[tuple[str, Document]]:
    """Each place where it gives its node labels, with these."""
    fields = mapping(config.below("nodeLabels"))
    documents = [mapping(each.get("labels")) for each in config.of_kind("KubeNodeConfig")]
    places = [("machine.nodeLabels", fields)] if fields else []
    return places + [("KubeNodeConfig.labels", labels) for labels in documents]


def label_text(value: Any) -> str:
    """The value of a label as the node gets it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def cri_files(config: MachineConfig) -> list[dict[str, object]]:
    """The entries for the one file of containerd's configuration."""
    return [file for file in config.entries("files") if file.get("path") == CRI_FILE]


def disk_selector(config: MachineConfig) -> str | None:
    """The expression with which a configuration of v1.14 selects its install disk."""
    for document in config.of_kind("UnattendedInstallConfig"):
        match = inside(document, "provisioning", "diskSelector", "match")
        if match:
            return str(match)
    return None


def _form(config: MachineConfig, minor: Minor) -> Form:
    if minor < DOCUMENTS_FROM:
        return Form.FIELDS
    return Form.DOCUMENTS if any(config.of_kind(kind) for kind in _ONLY_FROM_V1_14) else Form.MIXED
