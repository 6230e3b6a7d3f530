"""Which GPUs a node has by the ids of its PCI devices: those show before there is any driver.

Talos lists the devices of a node (resource `pcidevices`), each with its ids. Node Feature Discovery labels a node with
the device id where its `deviceLabelFields` say so, once for all devices of that id, so that their number does not show.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address

from gpuctl.cluster import Node
from gpuctl.cluster.programs import Programs, json_documents
from gpuctl.init.gpus import Labelled
from gpuctl.observed.nodes import internal_address
from gpuctl.settings.catalogue import CATALOGUE

_MODELS = {each: key for key, model in CATALOGUE.items() for each in model.pci_ids}
_NVIDIA, _DISPLAY = "10de", "03"
"""Vendor, and class of graphics cards and 3D controllers; the sound of a graphics card is a device of another class."""
_LABEL = re.compile(
    r"feature\.node\.kubernetes\.io/pci-(?:03[0-9a-f]{2}_)?10de_([0-9a-f]{4})(?:_[0-9a-f]{4}){0,2}\.present"
)
_SECONDS = 20


def labelled_model(node: Node) -> str:
    """The model whose PCI id a label of Node Feature Discovery has; empty where none has, or several."""
    found = (_LABEL.fullmatch(label) for label, value in node.labels.items() if value == "true")
    models = {_MODELS[match[1]] for match in found if match and match[1] in _MODELS}
    return models.pop() if len(models) == 1 else ""


def listed_by_talos(
    context: str, nodes: Iterable[Node], programs: Programs
) -> tuple[Mapping[str, Labelled], list[str]]:
    """What Talos says of the GPUs of nodes, by node, and what is to be said where it did not answer.

    It is asked with the context of the talosconfig that has the cluster's name, as `talosctl kubeconfig` gives that to
    contexts of the kubeconfig (`admin@CLUSTER`): never with the current one, which may be of another cluster.

    Args:
        context: of the kubeconfig.
        nodes: that run Talos.
        programs: of this machine; without talosctl nothing is known, and nothing said.
    """
    by_address = {address: node.name for node in nodes if _is_address(address := internal_address(node))}
    cluster = context.rpartition("@")[2]
    if not by_address or not cluster:  # talosctl takes an empty name for the current context
        return {}, []
    asked = ("talosctl", "--context", cluster, "--nodes", ",".join(by_address), "get", "pcidevices", "-o", "json")
    ran = programs.run(*asked, seconds=_SECONDS)
    if ran is None:
        return {}, []
    if ran.exit_code:
        return {}, [f"Talos did not say which PCI devices the nodes have: {ran.reason}"]
    found: dict[str, Counter[str]] = {}
    try:
        for device in json_documents(ran.stdout):
            address, spec = device["node"], device["spec"]
            vendor, kind, product = (spec[key].removeprefix("0x") for key in ("vendor_id", "class_id", "product_id"))
            if address in by_address and (vendor, kind) == (_NVIDIA, _DISPLAY):
                found.setdefault(by_address[address], Counter())[product] += 1
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}, ["Talos' list of PCI devices could not be read"]
    return {name: _known(ids) for name, ids in found.items()}, []


def _is_address(text: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(text))
    return False


def _known(ids: Counter[str]) -> Labelled:
    said = "Talos lists " + ", ".join(f"{count} x PCI {_NVIDIA}:{each}" for each, count in ids.items())
    if strange := [each for each in ids if each not in _MODELS]:
        return Labelled(None, f"{said}; the catalogue does not have {', '.join(strange)}")
    gpus = Counter[str]()
    for each, count in ids.items():
        gpus[_MODELS[each]] += count
    return Labelled(gpus, said)
