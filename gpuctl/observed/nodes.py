"""What a node of the cluster offers and says of itself."""

import json
import re
from typing import Any, NamedTuple, cast

from gpuctl.cluster import Node

_VENDORS = ("nvidia.com/", "amd.com/", "gpu.intel.com/")
"""What the names of resources of GPU vendors begin with."""
_NVIDIA_GPU = re.compile(r"nvidia\.com/(gpu([.-].+)?|mig-.+|.+\.shared)")
"""Not memory and cores of a GPU, which HAMi has as `nvidia.com/gpumem` and `nvidia.com/gpucores`."""
DISCOVERED = tuple(f"feature.node.kubernetes.io/pci-{device}.present" for device in ("10de", "0300_10de", "0302_10de"))
"""Labels of Node Feature Discovery for a PCI device of NVIDIA: of any class, a graphics card, a 3D controller."""
SCHEMATIC = "schematic"
"""What Talos shows among the extensions of a node's image, and is none: the ID of the schematic it was made of."""
_EXTENSIONS = "extensions.talos.dev/"
_TALOS = "Talos ("
_OWNED_LABELS = "talos.dev/owned-labels"
"""The annotation in which Talos writes down, as a list in JSON, which labels of its node it set and will set again."""


class Amount(NamedTuple):
    """How many of a resource a node has."""

    capacity: int
    """Healthy or not."""
    allocatable: int
    """Offered to the scheduler."""


def gpu_resources(node: Node) -> dict[str, Amount]:
    """Resource of a GPU vendor -> what the node has of it; 0 of what nobody serves any more."""
    names = (name for name in node.status.capacity if name.startswith(_VENDORS))
    return {name: Amount(node.capacity(name), node.allocatable(name)) for name in names}


def is_nvidia_gpu(resource: str) -> bool:
    """Whether it is an NVIDIA GPU or a part of one: by the names that device plugins of NVIDIA give to them."""
    return _NVIDIA_GPU.fullmatch(resource) is not None


def is_phantom(node: Node) -> bool:
    """Whether no kubelet has ever reported it: an object that was made without a machine."""
    return not node.status.node_info.kubelet_version


def why_not_ready(node: Node) -> str:
    """What its Ready condition says; empty when it is Ready."""
    if node.ready:
        return ""
    said = next((each for each in node.status.conditions if each.type == "Ready"), None)
    return (said.message or said.reason) if said else "its kubelet has reported nothing"


def talos_release(node: Node) -> str | None:
    """The Talos release, such as `v1.13.9`, from `Talos (v1.13.9)`; None of another system."""
    image = node.status.node_info.os_image
    return image.removeprefix(_TALOS).removesuffix(")") if image.startswith(_TALOS) else None


def internal_address(node: Node) -> str:
    """Where other machines of its network reach it; empty where it does not say."""
    return next((each.address for each in node.status.addresses if each.type == "InternalIP"), "")


def extensions(node: Node) -> dict[str, str]:
    """Extension of the node's image -> version, and `schematic` -> its ID, as Talos labels and annotates the node.

    An annotation takes the place of a label whose value would not be valid, such as an ID of 64 digits.
    """
    found = node.metadata.annotations | node.labels
    return {key.removeprefix(_EXTENSIONS): found[key] for key in found if key.startswith(_EXTENSIONS)}


def labels_of_talos(node: Node) -> frozenset[str]:
    """The names of the labels that the node's Talos configuration sets, and puts back when others change them."""
    try:
        owned: Any = json.loads(node.metadata.annotations.get(_OWNED_LABELS, "[]"))
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(map(str, cast(list[Any], owned))) if isinstance(owned, list) else frozenset()
