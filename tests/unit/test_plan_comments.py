"""What a pull request's comment says about a change: whole comments, as people read them."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from gpuctl.cluster import Cluster, UnreachableError
from gpuctl.plan.differences import differences
from gpuctl.plan.markdown import MARKER, markdown
from gpuctl.plan.side import side
from gpuctl.plan.stack_plan import StackPlan, plan
from gpuctl.settings import Settings
from tests.fixtures.checks import settings_of
from tests.fixtures.fake_cluster import FakeCluster
from tests.fixtures.snapshots import MarkdownSnapshot

Config = dict[str, Any]
LAB: Config = {
    "gpu:context": "admin@lab",
    "gpu:talosVersion": "v1.13.9",
    "gpu:slices": 4,
    "gpu:powerLimit": 300,
    "gpu:nodes": [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2}, {"name": "gpu-2", "gpu": "rtx-4090", "count": 1}],
}
HOMELAB: Config = {"gpu:context": "admin@homelab", "gpu:nodes": [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2}]}


def _keys(**keys: object) -> Callable[[Config], Config]:
    return lambda config: config | {f"gpu:{key}": value for key, value in keys.items()}


def _node(index: int, **fields: object) -> Callable[[Config], Config]:
    def change(config: Config) -> Config:
        config["gpu:nodes"][index] |= fields
        return config

    return change


def _nodes(change: Callable[[list[Config]], list[Config]]) -> Callable[[Config], Config]:
    return lambda config: config | {"gpu:nodes": change(config["gpu:nodes"])}


CHANGES: dict[str, Callable[[Config], Config | None]] = {
    "more slices": _keys(slices=6),
    "fewer slices": _keys(slices=2),
    "a node more": _nodes(lambda nodes: [*nodes, {"name": "gpu-3", "gpu": "rtx-3090", "count": 4}]),
    "a node less": _nodes(lambda nodes: nodes[:1]),
    "a node renamed": _node(1, name="gpu-9"),
    "a GPU more": _node(1, count=2),
    "a lower limit": _keys(powerLimit=250),
    "a limit of one model": _keys(powerLimits={"rtx-4090": 400}),
    "limits no longer held": _keys(powerManagement=False),
    "a circuit": _keys(circuitWatts=2000),
    "another Talos": _keys(talosVersion="v1.13.8"),
    "a profile split": _node(1, slices=8),
    "another name of the slices": _keys(renameByDefault=True),
    "another namespace": _keys(namespace="gpus"),
    "another cluster": _keys(context="admin@elsewhere"),
    "another plugin": _keys(devicePluginVersion="v0.17.4"),
    "nothing": lambda config: config,
    "the stack gone": lambda _: None,
    "a mistake": _keys(slices=0, powerLimit=90),
}


def _text(config: Config | None) -> str | None:
    return None if config is None else yaml.safe_dump({"config": config}, sort_keys=False)


def _unreachable(settings: Settings) -> Cluster:
    raise UnreachableError(f"kubeconfig ~/.kube/config cannot be used: it has no context {settings.context}")


def _plan(
    before: Config | None, after: Config | None, connect: Callable[[Settings], Cluster] = _unreachable
) -> StackPlan:
    return plan("lab", side("lab", _text(before)), side("lab", _text(after)), connect)


def _without_folds(comment: str) -> str:
    """The objects themselves are snapshots of their own tests."""
    lines, depth = list[str](), 0
    for line in comment.splitlines():
        depth += line.startswith("<details>")
        if not depth or line.startswith("<details>"):
            lines.append(line)
        depth -= line.startswith("</details>")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_told_in_one_sentence_with_all_that_follows(change: str, snapshot: SnapshotAssertion) -> None:
    homelab = plan("homelab", side("homelab", _text(HOMELAB)), side("homelab", _text(HOMELAB)), _unreachable)
    comment = markdown([homelab, _plan(LAB, CHANGES[change](copy.deepcopy(LAB)))], "origin/main", "pull request")
    assert _without_folds(comment) == snapshot(extension_class=MarkdownSnapshot)


def test_a_fold_shows_how_every_object_differs(snapshot: SnapshotAssertion) -> None:
    comment = markdown([_plan(LAB, LAB | {"gpu:slices": 6})], "origin/main", "pull request")
    assert comment == snapshot(extension_class=MarkdownSnapshot)


def test_a_new_stack_is_told_with_its_whole_capacity() -> None:
    assert "0 → 12 schedulable nvidia.com/gpu on lab (+12)" in markdown([_plan(None, LAB)], "main", "HEAD")


def test_a_stack_that_had_mistakes_is_told_without_a_comparison() -> None:
    comment = markdown([_plan(LAB | {"gpu:slices": 0}, LAB)], "main", "HEAD")
    assert "12 schedulable nvidia.com/gpu on lab, whose base cannot be read" in comment
    assert "gpu:slices" in comment
    assert "<details>" not in comment


def test_the_load_of_a_circuit_is_told_with_what_it_carries() -> None:
    before = LAB | {"gpu:circuitWatts": 2000}
    comment = markdown([_plan(before, before | {"gpu:powerLimit": 250})], "main", "HEAD")
    assert "The circuit of gpu-1, gpu-2 carries 1200 → 1050 W of its 2000 W." in comment


def test_several_stacks_share_one_comment() -> None:
    more = LAB | {"gpu:slices": 6}
    comment = markdown([_plan(LAB, more), _plan(HOMELAB, HOMELAB | {"gpu:slices": 2})], "main", "HEAD")
    assert "12 → 18 schedulable nvidia.com/gpu on lab (+6); 8 → 4" in comment
    assert comment.count(MARKER) == 1


@pytest.mark.parametrize("change", [{"gpu:namespace": "gpus"}, {"gpu:slices": 2}, {"gpu:context": "admin@elsewhere"}])
def test_a_comment_never_grows_beyond_what_github_takes(change: Config) -> None:
    """A thousand nodes in sixty profiles."""
    nodes = [{"name": f"gpu-{i}", "gpu": "rtx-3090", "count": 1, "slices": 4 + i % 60} for i in range(60)]
    nodes += [{"name": f"gpu-{i}", "gpu": "rtx-3090", "count": 1} for i in range(60, 1000)]
    before = LAB | {"gpu:nodes": nodes}
    comment = markdown([_plan(before, before | change)], "main", "HEAD")
    assert len(comment) <= 65_536


def test_a_comment_about_a_hundred_new_stacks_is_bounded_too() -> None:
    new = [plan(f"lab-{number}", side("lab", None), side("lab", _text(LAB)), _unreachable) for number in range(120)]
    comment = markdown(new, "main", "HEAD")
    assert len(comment) <= 65_536
    assert "There is more than a comment holds: `gpuctl plan -o json`" in comment


def test_a_comment_about_hundreds_of_mistakes_is_bounded_too() -> None:
    nodes = [{"name": f"gpu-{number}", "gpu": "rtx-3090", "count": 0, "slices": 0} for number in range(300)]
    comment = markdown([_plan(LAB, LAB | {"gpu:nodes": nodes})], "main", "HEAD")
    assert len(comment) < 10_000


def test_a_name_of_thousands_of_characters_is_shortened() -> None:
    found = _plan(LAB, LAB | {"gpu:slices": 6})
    long = replace(found.nodes[0], name="@" * 14_000)
    comment = _without_folds(markdown([replace(found, nodes=(long,))], "main", "HEAD"))
    assert len(comment) < 20_000
    assert "(14000 characters)" in comment


def test_what_finds_no_room_is_named_and_counted() -> None:
    nodes = [{"name": f"gpu-{i}", "gpu": "rtx-3090", "count": 1, "slices": 4 + i} for i in range(60)]
    before = LAB | {"gpu:nodes": nodes}
    comment = markdown([_plan(before, None)], "main", "HEAD")
    assert "Too long for a comment: `gpuctl plan --stack lab -o markdown`" in comment
    assert "- delete DaemonSet nvidia-device-plugin-gpu-59" in comment


def test_a_thousand_nodes_are_counted_where_a_hundred_are_named() -> None:
    nodes = [{"name": f"gpu-{i}", "gpu": "rtx-3090", "count": 1} for i in range(1000)]
    before = LAB | {"gpu:nodes": nodes}
    comment = markdown([_plan(before, before | {"gpu:slices": 2})], "main", "HEAD")
    assert comment.count("and 900 more: `gpuctl plan -o json`") == 2
    assert "gpu-8, gpu-9 and 990 more nodes" in comment


@pytest.mark.parametrize(
    "hostile",
    ["<img src=x>", "@everyone", "[free GPUs](https://example.org)", "a | b", "**bold**", "<!-- gpuctl plan -->"],
)
def test_nothing_in_a_stack_file_becomes_markup_or_calls_a_person(hostile: str) -> None:
    """A comment may be about a stranger's fork."""
    nodes = [{"name": "gpu-1", "gpu": f"card {hostile}", "count": 2}]
    comment = _without_folds(markdown([_plan(LAB, LAB | {"gpu:nodes": nodes, "gpu:context": hostile})], "main", "HEAD"))
    assert hostile not in comment.removeprefix(MARKER)


def test_a_mistake_cannot_end_its_own_code_block() -> None:
    comment = markdown([_plan(LAB, LAB | {"gpu:```": "free GPUs"})], "main", "HEAD")
    fence = "````"
    assert comment.count(f"\n{fence}") == 2


class _Busy:
    """A cluster whose pods have slices."""

    def __init__(self, pods: Mapping[str, int]) -> None:
        self.cluster = FakeCluster()
        for name, slices in pods.items():
            self.cluster.add_pod(name, "gpu-1", "default", **{"nvidia.com/gpu": slices})

    def connect(self, settings: Settings) -> FakeCluster:
        """It is the one that the stack names before the change."""
        assert settings.context == settings_of().context
        return self.cluster


def _removals(after: Config, busy: _Busy) -> list[str]:
    return [found.text for found in _plan(LAB, after, busy.connect).consequences if found.kind == "removal"]


def test_pods_that_no_longer_fit_are_named() -> None:
    busy = _Busy({f"train-{index}": 1 for index in range(7)})
    assert _removals(LAB | {"gpu:slices": 2}, busy)[-1] == (
        "7 slices of gpu-1 are in use and it will offer 4: 3 no longer fit "
        "(default/train-0, default/train-1, default/train-2, default/train-3, default/train-4 and 2 more)."
    )


def test_the_five_first_by_name_are_named_in_whatever_order_they_come() -> None:
    busy = _Busy({f"train-{index}": 1 for index in reversed(range(5))})
    assert _removals(LAB | {"gpu:slices": 2}, busy)[-1].endswith(
        "(default/train-0, default/train-1, default/train-2, default/train-3, default/train-4)."
    )


def test_limits_that_go_are_not_said_to_stay() -> None:
    texts = [found.text for found in _plan(LAB, _node(0, powerManagement=False)(copy.deepcopy(LAB))).consequences]
    assert "Power limits are no longer held on gpu-1: the GPUs there get their default limits back." in texts
    assert "The power-limit agent restarts on gpu-2; limits stay in force meanwhile." in texts


def test_a_runtime_class_that_is_given_up_is_gone_until_others_create_it() -> None:
    busy = _Busy({})
    assert _removals(LAB | {"gpu:createRuntimeClass": False}, busy) == [
        "RuntimeClass nvidia is deleted by the update. Pods run on, and new ones are refused until its new owner has "
        "created it again."
    ]


def test_what_goes_stands_before_what_changes() -> None:
    found = differences({"a": "1", "b": "1", "c": "1"}, {"a": "2", "c": "1", "d": "1"})
    assert [(each.name, each.action) for each in found] == [("b", "delete"), ("a", "update"), ("d", "create")]


def test_a_circuit_that_carries_what_it_did_is_not_mentioned() -> None:
    before = LAB | {"gpu:circuitWatts": 5000}
    texts = [found.text for found in _plan(before, before | {"gpu:slices": 8}).consequences]
    assert not any("circuit" in text for text in texts)


def test_a_move_to_another_namespace_is_no_restart_besides() -> None:
    moved = {"gpu:namespace": "gpus", "gpu:devicePluginVersion": "v0.17.0"}
    texts = [found.text for found in _plan(LAB, LAB | moved).consequences]
    assert any("Everything moves from namespace" in text for text in texts)
    assert not any("restarts" in text for text in texts)


def test_pods_that_are_over_or_still_fit_are_no_obstacle() -> None:
    busy = _Busy({f"train-{index}": 1 for index in range(5)})
    busy.cluster.pod_objects["train-4"]["status"]["phase"] = "Succeeded"
    assert not any("no longer fit" in text for text in _removals(LAB | {"gpu:slices": 2}, busy))


def test_a_cluster_is_left_alone_when_no_node_offers_less() -> None:
    busy = _Busy({})
    for change in ({"gpu:slices": 8}, {"gpu:powerLimit": 250}):
        _plan(LAB, LAB | change, busy.connect)
    assert busy.cluster.calls == []


def test_limits_that_protect_a_circuit_are_told_to_stay_when_the_agent_goes() -> None:
    before = LAB | {"gpu:circuitWatts": 5000}
    comment = markdown([_plan(before, before | {"gpu:powerManagement": False})], "origin/main", "pull request")
    assert (
        "every GPU gets its default limit back, but those of gpu-1 and gpu-2: they protect a circuit and stay "
        "until the driver is loaded again."
    ) in comment
