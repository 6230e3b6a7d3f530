"""`gpuctl init` knows GPUs by their PCI ids, before there is any driver."""

import json
from typing import Any

import pytest

from gpuctl.cluster import Node
from gpuctl.cluster.decoding import page_of
from gpuctl.cluster.programs import Ran
from gpuctl.init.draft import Answers, draft
from gpuctl.init.look import View, is_silent, look
from gpuctl.init.pci import labelled_model, listed_by_talos
from gpuctl.init.questions import about_gpus
from gpuctl.settings.catalogue import CATALOGUE
from tests.fixtures.checks import FakePrograms
from tests.fixtures.init_clusters import HOMELAB, gfd, node

TALOSCTL = ("talosctl", "--context", "lab", "--nodes", "10.0.0.11,10.0.0.12")
COMMAND = (*TALOSCTL, "get", "pcidevices", "-o", "json")


def _nodes(*objects: dict[str, Any]) -> list[Node]:
    return page_of(Node, json.dumps({"items": objects}).encode()).items


NEW = _nodes(node("cp-1", address="10.0.0.11"), node("gpu-1", address="10.0.0.12"))
"""Two nodes that show nothing: no driver in the image, and nobody has labelled them."""


def _device(address: str, product: str, kind: str = "0x03", vendor: str = "0x10de") -> str:
    """As talosctl prints one."""
    ids = {"class_id": kind, "subclass_id": "0x00", "vendor_id": vendor, "product_id": product}
    metadata = {"namespace": "hardware", "type": "PCIDevices.hardware.talos.dev", "id": "0000:01:00.0"}
    return json.dumps({"metadata": metadata, "node": address, "spec": {"class": "x", **ids}}, indent=4) + "\n"


def _talosctl(*devices: str, exit_code: int = 0) -> FakePrograms:
    return FakePrograms(talosctl=Ran("".join(devices), "error: 1 error occurred: no such context", exit_code))


def _view(programs: FakePrograms) -> View:
    pci, remarks = listed_by_talos("admin@lab", NEW, programs)
    return look(NEW, [], "gpu/lab", pci=pci, remarks=remarks)


def test_gpus_of_a_node_without_driver_and_labels_are_those_that_talos_lists() -> None:
    gpus = [_device("10.0.0.12", "0x2204"), _device("10.0.0.12", "0x2204"), _device("10.0.0.12", "0x27b8")]
    others = [
        _device("10.0.0.12", "0x1aef", kind="0x04"),
        _device("10.0.0.12", "0x2204", vendor="0x1002"),
        _device("10.0.0.11", "0x1237", vendor="0x8086"),
        _device("10.0.0.99", "0x2204"),
    ]
    programs = _talosctl(*gpus, *others)
    view = _view(programs)
    assert programs.commands == [COMMAND]
    (seen,) = view.nodes
    assert (seen.name, seen.gpus) == ("gpu-1", {"rtx-3090": 2, "l4": 1})
    assert about_gpus(view, {}) == []
    text = draft("lab", view, Answers("admin@lab", {}, 300, 0, 4)).text
    assert "# gpu-1: Talos lists 2 x PCI 10de:2204, 1 x PCI 10de:27b8\n" in text
    assert "gpus: {rtx-3090: 2, l4: 1}" in text


def test_a_device_that_the_catalogue_does_not_have_is_named_and_the_node_asked_for() -> None:
    view = _view(_talosctl(_device("10.0.0.12", "0x2204"), _device("10.0.0.12", "0x9999")))
    ((name, question),) = about_gpus(view, {})
    assert name == "gpu-1"
    assert "1 x PCI 10de:9999; the catalogue does not have 9999" in question.text


@pytest.mark.parametrize(
    ("programs", "remarks"),
    [
        (FakePrograms(), ()),
        (_talosctl(exit_code=1), ("Talos did not say which PCI devices the nodes have: 1 error occurred: no such",)),
        (_talosctl("{"), ("Talos' list of PCI devices could not be read",)),
        (_talosctl('{"node": "10.0.0.12"}'), ("Talos' list of PCI devices could not be read",)),
        (_talosctl('{"node": "10.0.0.12", "spec": {"vendor_id": 4318}}'), ("Talos' list of PCI devices could",)),
    ],
)
def test_without_an_answer_of_talos_nothing_is_made_up(programs: FakePrograms, remarks: tuple[str, ...]) -> None:
    view = _view(programs)
    assert view.nodes == ()
    assert len(view.remarks) == len(remarks)
    assert all(found.startswith(begin) for found, begin in zip(view.remarks, remarks, strict=True))


@pytest.mark.parametrize("context", ["admin@", ""])
def test_the_current_context_of_talosctl_is_never_used(context: str) -> None:
    programs = _talosctl(_device("10.0.0.12", "0x2204"))
    assert listed_by_talos(context, NEW, programs) == ({}, [])
    assert programs.commands == []


def test_talos_is_asked_for_no_address_that_is_none() -> None:
    hostile = _nodes(node("a", address="10.0.0.11,evil.example"), node("b"), node("c", address="--x"))
    programs = _talosctl()
    assert listed_by_talos("admin@lab", hostile, programs) == ({}, [])
    assert programs.commands == []


@pytest.mark.parametrize(
    ("each", "is_asked"),
    [
        (node("new", address="10.0.0.12"), True),
        (HOMELAB[1], False),
        (node("mig", gfd("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 7, 4864)), False),
        (node("other", os="Ubuntu 24.04.3 LTS"), False),
    ],
)
def test_talos_is_asked_of_its_nodes_whose_labels_say_nothing_of_gpus(each: dict[str, Any], is_asked: bool) -> None:
    (found,) = _nodes(each)
    assert is_silent(found) is is_asked


@pytest.mark.parametrize(
    ("labels", "model"),
    [
        (["pci-0300_10de_2204.present"], "rtx-3090"),
        (["pci-10de_27b8.present"], "l4"),
        (["pci-0302_10de_2335_10de_18be.present"], "h200"),
        (["pci-0300_10de_2204.present", "pci-0300_10de_2684.present"], ""),
        (["pci-0300_10de_2204.sriov.capable"], ""),
        (["pci-0300_1002_2204.present"], ""),
        (["pci-0403_10de_2204.present"], ""),
        (["pci-0300_10de_9999.present"], ""),
        (["pci-0300_10de.present"], ""),
    ],
)
def test_a_label_of_node_feature_discovery_names_the_model(labels: list[str], model: str) -> None:
    (found,) = _nodes(node("gpu-1", {f"feature.node.kubernetes.io/{label}": "true" for label in labels}))
    assert labelled_model(found) == model


def test_where_a_label_has_the_model_only_the_number_is_asked_for() -> None:
    nodes = _nodes(node("gpu-1", {"feature.node.kubernetes.io/pci-0302_10de_27b8.present": "true"}))
    ((_, question),) = about_gpus(look(nodes, [], "gpu/lab"), {})
    assert question.example == "gpu-1=l4x1"
    assert "a label has the PCI id of l4" in question.text


KNOWN = {
    "2204": "rtx-3090",
    "2503": "rtx-3060",
    "24c7": "rtx-3060-8gb",
    "2803": "rtx-4060-ti",
    "2805": "rtx-4060-ti-16gb",
    "2684": "rtx-4090",
    "2b85": "rtx-5090",
    "1b06": "gtx-1080-ti",
    "1eb8": "t4",
    "20b0": "a100-sxm-40gb",
    "20b5": "a100-pcie-80gb",
    "2330": "h100-sxm",
    "2335": "h200",
    "233b": "h200-nvl",
}


@pytest.mark.parametrize("pci_id", KNOWN)
def test_the_catalogue_has_the_ids_of_well_known_gpus(pci_id: str) -> None:
    assert [key for key, model in CATALOGUE.items() if pci_id in model.pci_ids] == [KNOWN[pci_id]]


def test_each_id_of_the_catalogue_has_four_digits_and_one_model() -> None:
    ids = [each for model in CATALOGUE.values() for each in model.pci_ids]
    assert len(ids) == len(set(ids)) == 143
    assert all(len(each) == 4 and set(each) <= set("0123456789abcdef") for each in ids)
