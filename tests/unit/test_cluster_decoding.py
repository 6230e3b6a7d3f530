"""What cannot be read in an object is named, and costs nothing but itself: not the object, the list or the run."""

import copy
import json
import time
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest

from gpuctl.cluster import Node, Pod
from gpuctl.cluster.decoding import Unreadable, page_of, page_of_manifests
from gpuctl.settings import Settings, read_config
from tests.fixtures.fake_cluster import healthy

Object = dict[str, Any]
Path = tuple[str | int, ...]

GPU = "nvidia.com/gpu"
POD: Object = {
    "metadata": {
        "name": "train-7d9f",
        "namespace": "vision",
        "uid": "2f9f5a3e-7f0a-4c0e-9a55-0f4d8ad1b001",
        "labels": {"app": "train", "pod-template-hash": "7d9f"},
        "annotations": {"kubernetes.io/config.source": "api"},
        "creationTimestamp": "2026-11-01T08:00:00Z",
        "deletionTimestamp": "2026-11-02T08:00:00Z",
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "train-7d9f", "controller": True}],
    },
    "spec": {
        "nodeName": "gpu-1",
        "runtimeClassName": "nvidia",
        "containers": [
            {
                "name": "main",
                "image": "registry.example/train:3",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec"}}}],
                "resources": {"limits": {GPU: "2", "memory": "8Gi", "cpu": "1500m"}, "requests": {GPU: "2"}},
            }
        ],
        "initContainers": [{"name": "fetch", "image": "registry.example/fetch:1"}],
    },
    "status": {
        "phase": "Failed",
        "reason": "Evicted",
        "message": "The node was low on resource: ephemeral-storage.",
        "conditions": [{"type": "Ready", "status": "False", "reason": "PodFailed", "message": ""}],
        "containerStatuses": [
            {
                "name": "main",
                "ready": False,
                "restartCount": 3,
                "image": "registry.example/train:3",
                "state": {"terminated": {"reason": "Error", "exitCode": 137, "message": "", "startedAt": "x"}},
                "lastState": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}, "running": {}},
                "allocatedResourcesStatus": [
                    {"name": GPU, "resources": [{"resourceID": "GPU-1::0", "health": "Healthy"}]}
                ],
            }
        ],
    },
}
NODE: Object = {
    "metadata": {"name": "gpu-9", "labels": {"kubernetes.io/hostname": "gpu-9"}, "annotations": {"a": "b"}},
    "spec": {"unschedulable": True, "taints": [{"key": "gpu", "value": "true", "effect": "NoSchedule"}]},
    "status": {
        "capacity": {GPU: "8", "memory": "263856612Ki", "cpu": "64", "pods": "110"},
        "allocatable": {GPU: "8", "memory": "263754212Ki", "cpu": "63950m"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
        "nodeInfo": {"kubeletVersion": "v1.34.2", "osImage": "Talos (v1.13.9)", "kernelVersion": "6.18.5-talos"},
    },
}
WRONG: tuple[Any, ...] = (
    None,
    7,
    -1,
    1.5,
    True,
    "",
    "Unheard-Of",
    "1Ki",
    "8e0",
    "1e999999999",
    "9223372036854775808",
    "-8",
    "x" * 5_000,
    2**63,
    [],
    [None],
    {},
    {"name": None},
    [[[[]]]],
)
"""Null, of another type, unheard of, huge, negative, empty."""
MISSING = object()


def _page(*objects: Object) -> bytes:
    return msgspec.json.encode({"kind": "List", "metadata": {"continue": "next"}, "items": objects})


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Of all that is in an object."""
    entries: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()  # pyright: ignore
    for key, each in entries:
        yield (*path, key)
        yield from _paths(each, (*path, key))


def _mutated(value: Object, path: Path, to: Any) -> Object:
    changed = copy.deepcopy(value)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    if to is MISSING:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return changed


def _of_a_stack() -> Settings:
    nodes = [{"name": "gpu-1", "gpu": "rtx-4090", "count": 2}]
    return read_config("lab", {"gpu:context": "admin@lab", "gpu:nodes": nodes, "gpu:slices": 4})


def _objects(kind: type[Node] | type[Pod]) -> list[Object]:
    cluster = healthy(_of_a_stack())
    if kind is Node:
        return [NODE, *cluster.node_objects.values()]
    return [POD, next(iter(cluster.pod_objects.values()))]


def _read_everything(found: Node | Pod) -> None:
    """What checks ask of an object."""
    assert isinstance(found.labels, dict)
    assert found.ready in (True, False)
    if isinstance(found, Node):
        assert found.capacity(GPU) >= 0
        assert found.allocatable("memory") >= 0
    else:
        assert found.asks_for(GPU) >= 0
        assert found.active in (True, False)
        assert all(device.resource_id is not None for device in found.devices(GPU))


@pytest.mark.parametrize("kind", [Node, Pod])
def test_whatever_one_field_is_costs_no_other_object_and_no_other_field(kind: type[Node] | type[Pod]) -> None:
    """Every path of every object is made null, missing, unheard of, of another type and huge, one at a time."""
    tried = 0
    for original in _objects(kind):
        [whole] = page_of(kind, _page(original)).items
        for path in _paths(original):
            for to in (MISSING, *WRONG):
                tried += 1
                changed = _mutated(original, path, to)
                page = page_of(kind, _page(original, changed, original))
                assert (page.items[0], page.items[-1], page.rest) == (whole, whole, "next"), (path, to)
                kept = page.items[1:-1]
                named = bool(changed.get("metadata") and isinstance(changed["metadata"], dict))
                name = named and isinstance(cast(Object, changed["metadata"]).get("name"), str)
                assert len(kept) == (1 if name else 0), (path, to)
                for found in kept:
                    _read_everything(found)
                    for part in ("metadata", "spec", "status"):
                        if path[0] != part:
                            assert getattr(found, part) == getattr(whole, part), (path, to)
                assert {(each.kind, each.name) for each in page.unreadable} <= {
                    (kind.__name__, changed["metadata"]["name"] if name else "items[1]")
                }
    assert tried > 1000


def test_a_null_is_what_is_not_set_and_nothing_to_report() -> None:
    """The kubelet itself writes times of year 1 as null, after an eviction or a hard reboot."""
    terminated = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
    path = ("status", "containerStatuses", 0, "state", "terminated")
    page = page_of(Pod, _page(POD, _mutated(POD, path, terminated)))
    assert page.unreadable == []
    ended = page.items[1].status.container_statuses[0].state.terminated
    assert ended
    assert (ended.exit_code, ended.started_at, ended.finished_at) == (137, "", "")


@pytest.mark.parametrize(
    ("path", "to", "reason"),
    [
        (("status", "phase"), 7, "status.phase is not a text"),
        (
            ("status", "containerStatuses", 0, "restartCount"),
            "3",
            "status.containerStatuses[0].restartCount is not a whole number",
        ),
        (("status", "containerStatuses", 0, "ready"), "yes", "status.containerStatuses[0].ready is not true or false"),
        (("spec", "containers", 0), None, "spec.containers[0] is no object"),
        (("spec", "containers"), {}, "spec.containers is no list"),
        (("metadata", "labels", "app"), 1, "metadata.labels.app is not a text"),
        (
            ("spec", "containers", 0, "resources", "limits", GPU),
            "-8",
            f"spec.containers[0].resources.limits.{GPU} is not an amount: '-8'",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_object_and_its_field(path: Path, to: Any, reason: str) -> None:
    page = page_of(Pod, _page(_mutated(POD, path, to)))
    assert page.unreadable == [Unreadable("Pod", "vision", "train-7d9f", reason)]
    assert str(page.unreadable[0]) == f"Pod vision/train-7d9f: {reason}"
    assert page.items[0].name == "train-7d9f"


def test_an_object_without_a_name_is_left_out_and_named_by_its_place() -> None:
    page = page_of(Node, _page(NODE, {"metadata": {"labels": {}}}, NODE))
    assert [node.name for node in page.items] == ["gpu-9", "gpu-9"]
    assert [str(each) for each in page.unreadable] == [
        "Node items[1]: it has no readable metadata; the object is left out"
    ]


@pytest.mark.parametrize("number", ["1e999", "9" * 6000])
def test_a_number_beyond_all_types_costs_its_object_at_most(number: str) -> None:
    broken = _page(POD, {"metadata": {"name": "odd"}, "spec": {"priority": "N"}}, POD).replace(b'"N"', number.encode())
    assert [pod.name for pod in page_of(Pod, broken).items if pod.name != "odd"] == ["train-7d9f", "train-7d9f"]


def test_what_is_nested_too_deeply_costs_its_object_at_most() -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    page = page_of(Pod, _page(POD, {"metadata": {"name": "odd"}, "status": {"phase": deep}}, POD))
    assert [pod.name for pod in page.items if pod.name != "odd"] == ["train-7d9f", "train-7d9f"]
    assert [each.name for each in page.unreadable] == ["odd"]


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [("8", 8), ("8e0", 8), ("1Ki", 1024), ("1500m", 2), ("2k", 2000), (".5", 1), ("9223372036854775808", 2**63)],
)
def test_an_amount_has_every_form_that_kubernetes_gives_it(quantity: str, amount: int) -> None:
    [node] = page_of(Node, _page(_mutated(NODE, ("status", "capacity", GPU), quantity))).items
    assert node.capacity(GPU) == amount


@pytest.mark.parametrize(
    ("containers", "init_containers", "amount"),
    [
        (["1", "1"], [], 2),
        (["1"], [("2", "")], 2),
        (["2"], [("1", "")], 2),
        (["1"], [("1", "Always")], 2),
        (["0"], [("1", "Always"), ("3", "")], 4),
        (["1"], [("3", ""), ("1", "Always")], 3),
    ],
)
def test_a_pod_holds_what_the_scheduler_counts(
    containers: list[str], init_containers: list[tuple[str, str]], amount: int
) -> None:
    """Containers and sidecars at once, and init containers before them; KEP-753."""
    spec = {
        "containers": [{"resources": {"limits": {GPU: each}}} for each in containers],
        "initContainers": [
            {"resources": {"limits": {GPU: each}}, "restartPolicy": policy} for each, policy in init_containers
        ],
    }
    [pod] = page_of(Pod, _page(POD | {"spec": spec})).items
    assert pod.asks_for(GPU) == amount


def test_a_list_of_nothing_is_written_as_null() -> None:
    assert page_of(Pod, b'{"items": null}').items == []
    assert page_of_manifests("Lease", b'{"items": null}').items == []


@pytest.mark.parametrize("answer", [b"[]", b'{"kind": "Status"}', b'{"items": 3}', b"null", b"<html>", b""])
def test_an_answer_that_is_no_list_is_an_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        page_of(Pod, answer)


@pytest.mark.parametrize("path", [("metadata", "labels"), ("metadata", "annotations"), ("spec",), ("status",)])
def test_a_null_in_a_plain_object_is_what_is_not_set_and_nothing_to_report(path: Path) -> None:
    original: Object = {"metadata": {"name": "gpu", "labels": {}, "annotations": {}}, "spec": {}, "status": {}}
    page = page_of_manifests("DaemonSet", _page(_mutated(original, path, None)))
    assert page.items == [_mutated(original, path, MISSING)]
    assert page.unreadable == []


@pytest.mark.parametrize("to", [MISSING, *WRONG], ids=lambda to: repr(to)[:20])
def test_plain_objects_have_no_nulls_and_labels_that_are_texts(to: Any) -> None:
    """Checks read them as dictionaries all the way down."""
    original = next(each for each in healthy(_of_a_stack()).objects.values() if each["kind"] == "DaemonSet")
    for path in [path for path in _paths(original) if len(path) <= 3]:
        page = page_of_manifests("DaemonSet", _page(original, _mutated(original, path, to), original))
        assert (page.items[0], page.items[-1]) == (original, original)
        for found in page.items:
            assert found["metadata"]["name"] != ""
            assert all(isinstance(text, str) for text in found["metadata"].get("labels", {}).values())
            assert None not in [found.get(part, {}) for part in ("metadata", "spec", "status")]


def test_a_page_of_pods_is_decoded_fast_although_some_cannot_be_read() -> None:
    """500 pods, 50 of them evicted; a second is fifty times what it takes."""
    evicted = _mutated(POD, ("status", "containerStatuses", 0, "state", "terminated", "startedAt"), None)
    page = _page(*[POD] * 450, *[evicted] * 50)
    begin = time.process_time()
    assert len(page_of(Pod, page).items) == 500
    assert time.process_time() - begin < 1


def test_an_event_about_nothing_readable_is_left_out_and_costs_no_other() -> None:
    events = [
        {"metadata": {"name": "broken"}, "involvedObject": "gpu-1"},
        {"metadata": {"name": "whole"}, "involvedObject": None, "lastTimestamp": None},
    ]
    page = page_of_manifests("Event", json.dumps({"items": events}).encode())
    assert [found["metadata"]["name"] for found in page.items] == ["whole"]
    assert [str(each) for each in page.unreadable] == [
        "Event broken: involvedObject is no object; the object is left out"
    ]
