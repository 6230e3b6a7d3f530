"""`gpuctl init`: stack files as they are written, and the rules by which they come about."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuctl.cluster import Node, Pod
from gpuctl.cluster.decoding import page_of
from gpuctl.init.draft import Answers, draft, proposed_watts
from gpuctl.init.gpus import gpus_of, labelled
from gpuctl.init.look import View, look
from gpuctl.init.power import limits, proposed
from gpuctl.init.questions import about_gpus
from gpuctl.init.text import Entry, Item, stack_file
from gpuctl.settings.stack_file import parse_stack
from gpuctl.settings.yaml_document import load
from tests.fixtures import init_clusters
from tests.fixtures.init_clusters import HALF_DEAD, HALF_DEAD_PODS, HOMELAB, MIXED, OWN_IMAGE, gfd, node, pod

EXPECTED = Path(__file__).parents[1] / "fixtures" / "init"


def _view(nodes: list[dict[str, Any]], pods: list[dict[str, Any]] | None = None, **options: Any) -> View:
    """What is seen of a cluster with these objects, through the product's own decoder."""
    decoded = page_of(Node, json.dumps({"items": nodes}).encode()).items
    pods_decoded = page_of(Pod, json.dumps({"items": pods or []}).encode()).items
    return look(decoded, pods_decoded, "gpu/lab", "v1.36.4+vendor.1", **options)


def _answers(said: dict[str, Any] | None = None, watts: int = 300, circuit: int = 0, **options: Any) -> Answers:
    return Answers("admin@lab", said or {}, watts, circuit, 4, **options)


CASES = {
    "homelab": (_view(HOMELAB), _answers(circuit=1500)),
    "mixed-generations": (_view(MIXED), _answers(watts=170)),
    "half-dead": (_view(HALF_DEAD, HALF_DEAD_PODS, remarks=["Could not be read: Node gpu-9"]), _answers(watts=70)),
    "image-of-its-own": (_view(OWN_IMAGE), _answers()),
    "offline": (View(), _answers({"gpu-1": {"rtx-3090": 2}, "gpu-2": {"l4": 4, "t4": 1}}, talos="v1.14.0")),
    "said-against-the-labels": (
        _view(HALF_DEAD, HALF_DEAD_PODS, said=["gpu-3"]),
        _answers({"gpu-3": {"t4": 2}, "gpu-1": {}, "cp-1": {}, "gpu-5": {}}, watts=70),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_cluster_gives_this_stack_file(case: str) -> None:
    assert draft("lab", *CASES[case]).text == (EXPECTED / f"{case}.yaml").read_text()


@pytest.mark.parametrize("case", CASES)
def test_the_products_own_reader_takes_each_file_and_finds_in_it_what_was_meant(case: str) -> None:
    made = draft("lab", *CASES[case])
    nodes: Any = made.values["nodes"]
    settings = parse_stack("lab", made.text, f"{case}.yaml")
    assert load(made.text) == {"config": {f"gpu:{key}": value for key, value in made.values.items()}}
    assert [node.name for node in settings.nodes] == [node["name"] for node in nodes]


@pytest.mark.parametrize(
    ("labels", "gpus"),
    [
        (gfd("NVIDIA-GeForce-RTX-3060", 1, 12288), {"rtx-3060": 1}),
        (gfd("NVIDIA-GeForce-RTX-3060", 1, 8192), {"rtx-3060-8gb": 1}),
        (gfd("NVIDIA-A100-SXM4-40GB", 8, 40960), {"a100-sxm-40gb": 8}),
        (gfd("Tesla-T4-SHARED", 2, 15360), {"t4": 2}),
        (gfd("NVIDIA-GeForce-RTX-9090", 1, 65536), {"NVIDIA-GeForce-RTX-9090": 1}),
        (gfd("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 7, 4864), None),
        (gfd("NVIDIA-A100-SXM4-40GB-MIG-INVALID", 0, 0), None),
        (gfd("Tesla-T4", 17, 15360), None),
        (gfd("Tesla-T4", 1, 15360) | {"nvidia.com/gpu.count": "two"}, None),
        ({"nvidia.com/gpu.present": "true"}, None),
    ],
)
def test_labels_say_which_gpus_a_node_has_or_nothing(labels: dict[str, str], gpus: dict[str, int] | None) -> None:
    [found] = page_of(Node, json.dumps({"items": [node("gpu-1", labels)]}).encode()).items
    assert labelled(found).gpus == gpus


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("rtx-3090x2", {"rtx-3090": 2}),
        ("l4x1, t4x2", {"l4": 1, "t4": 2}),
        ("NVIDIA GeForce RTX 3090x2", {"rtx-3090": 2}),
        ("l4x1,l4x2", {"l4": 3}),
        ("none", {}),
        ("rtx-3090", None),
        ("rtx-3090x0", None),
        ("x2", None),
        ("", None),
    ],
)
def test_gpus_are_read_as_people_write_them(text: str, gpus: dict[str, int] | None) -> None:
    assert gpus_of(text) == gpus


@pytest.mark.parametrize(
    ("models", "watts"),
    [
        (["rtx-3090"], 300),
        (["l4"], 72),
        (["l4", "t4"], 72),
        (["rtx-3060"], 170),
        (["gtx-1070"], 150),
        (["rtx-5090"], 400),
        (["rtx-3090", "l4"], 300),
        (["a-model-of-tomorrow"], 300),
    ],
)
def test_no_more_watts_are_proposed_than_a_gpu_has_by_default(models: list[str], watts: int) -> None:
    assert proposed(models) == watts


@pytest.mark.parametrize(
    ("models", "watts", "found"),
    [
        (["rtx-3090", "l4"], 250, {"rtx-3090": 250, "l4": 72}),
        (["rtx-3060", "l4"], 180, {"rtx-3060": 180, "l4": 72}),
        (["rtx-3090", "l4"], 900, {"rtx-3090": 900, "l4": 900}),
        (["rtx-3090"], 50, {"rtx-3090": 50}),
    ],
)
def test_one_number_is_the_nearest_limit_of_each_model_unless_none_takes_it(
    models: list[str], watts: int, found: dict[str, int]
) -> None:
    assert limits(models, watts) == found


def test_a_circuit_lowers_what_is_proposed() -> None:
    assert proposed_watts("lab", _view(HOMELAB), _answers(circuit=700)) == 275
    assert proposed_watts("lab", _view(HOMELAB), _answers(circuit=2000)) == 300


def test_gpus_that_no_label_names_are_asked_for_and_no_others() -> None:
    silent = node("gpu-2", {"feature.node.kubernetes.io/pci-0302_10de.present": "true"})
    asked = about_gpus(_view([*HOMELAB, silent]), {})
    assert [(name, question.option, question.example) for name, question in asked] == [
        ("gpu-2", "--node", "gpu-2=rtx-3090x2")
    ]
    assert about_gpus(_view([*HOMELAB, silent]), {"gpu-2": {"l4": 1}}) == []
    assert about_gpus(_view([*HOMELAB, silent]), {"gpu-2": {}}) == []


def test_a_cluster_without_a_sign_of_gpus_names_its_nodes() -> None:
    [(name, question)] = about_gpus(_view([node("cp-1"), node("worker-1")]), {})
    assert name == ""
    assert "the nodes are cp-1, worker-1" in question.text


def test_a_cluster_whose_gpu_nodes_are_all_served_says_by_whom() -> None:
    plugin = pod("plugin-x", "gpu-1", "nvcr.io/nvidia/k8s-device-plugin:v0.17.0")
    [(_, question)] = about_gpus(_view(HOMELAB, [plugin]), {})
    assert "gpu-1 is served by another NVIDIA device plugin (nvidia/plugin-x)" in question.text


def test_a_plugin_that_has_ended_serves_nothing() -> None:
    plugin = pod("plugin-x", "gpu-1", "nvcr.io/nvidia/k8s-device-plugin:v0.17.0")
    plugin["status"]["phase"] = "Failed"
    assert [seen.name for seen in _view(HOMELAB, [plugin]).nodes] == ["gpu-1"]


@pytest.mark.parametrize(
    ("labels", "is_gpu_node"),
    [
        ({"feature.node.kubernetes.io/pci-10de.present": "true"}, True),
        ({"feature.node.kubernetes.io/pci-0302_10de.present": "false"}, False),
        ({"feature.node.kubernetes.io/pci-0300_1002.present": "true"}, False),
        ({"extensions.talos.dev/nonfree-kmod-nvidia-lts": "580.159.04-v1.13.9"}, True),
        ({"extensions.talos.dev/iscsi-tools": "v0.2.0"}, False),
    ],
)
def test_a_gpu_node_is_one_that_shows_it(labels: dict[str, str], is_gpu_node: bool) -> None:
    assert bool(_view([node("a", labels)]).nodes) is is_gpu_node


HOSTILE = st.text(max_size=40) | st.sampled_from(
    [
        "# }",
        "a: b",
        "- x",
        "'",
        '"',
        "&a",
        "*a",
        "!!str",
        "true",
        "0x10",
        "1e3",
        "~",
        "2026-11-29",
        "a\nb: c",
        "\u2028",
        "${x}",
    ]
)


@given(text=HOSTILE, comment=HOSTILE)
def test_no_text_of_others_becomes_another_value_or_leaves_its_comment(text: str, comment: str) -> None:
    written = stack_file(
        [comment],
        [
            Entry("context", text, [comment]),
            Entry("nodes", [Item({"name": text, "gpus": {text: 1}}, [comment])]),
            Entry("schematic", text, [comment], is_set=False),
        ],
    )
    found: Any = load(written)
    shown = text if text.isprintable() else found["config"]["gpu:context"]
    assert found == {"config": {"gpu:context": shown, "gpu:nodes": [{"name": shown, "gpus": {shown: 1}}]}}


def test_hostile_labels_and_names_are_data_in_the_file() -> None:
    labels = gfd('x"}\n  gpu:slices: 64 # ', 1, 1) | {"extensions.talos.dev/nvidia\nx: y": "1"}
    made = draft("lab", _view([node("gpu-1", labels, os="Talos (v1.13.9)", address="1}\n{")]), _answers())
    written: Any = load(made.text)
    assert written["config"]["gpu:slices"] == 4
    assert [each["name"] for each in written["config"]["gpu:nodes"]] == ["gpu-1"]


def test_every_cluster_of_the_fixtures_is_used() -> None:
    lists = {name for name in dir(init_clusters) if name.isupper() and isinstance(getattr(init_clusters, name), list)}
    assert lists == {"HALF_DEAD", "HALF_DEAD_PODS", "HOMELAB", "MIXED", "OWN_IMAGE"}
