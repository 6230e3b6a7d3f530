"""What the Talos of a node has against a stack, as `pulumi up` refuses it."""

from typing import Any

from gpuctl.desired.desired import desired_state
from gpuctl.preflight.refusals import Seen, refusals
from gpuctl.settings import Settings
from tests.fixtures.checks import context_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy

STACK = settings_of()
PROFILE = "nvidia.com/device-plugin.config"


def _nothing(*_: object) -> None: ...


def _reasons(cluster: FakeCluster, settings: Settings = STACK) -> list[str]:
    nodes = list(context_of(cluster, settings).nodes.values())
    return refusals(desired_state(settings), "gpu/lab", Seen(nodes, _nothing))


def _metadata(cluster: FakeCluster) -> dict[str, Any]:
    return cluster.node_objects["gpu-1"]["metadata"]


def _held(cluster: FakeCluster, owned: str) -> None:
    _metadata(cluster)["annotations"] = {"talos.dev/owned-labels": owned}


def test_a_label_that_talos_holds_at_another_value_is_refused_with_the_commands_that_take_it_out() -> None:
    cluster = healthy(STACK)
    _held(cluster, f'["{PROFILE}", "nvidia.com/gpu.present"]')
    _metadata(cluster)["labels"][PROFILE] = "gpu-9"
    (reason,) = _reasons(cluster)
    assert reason == (
        f"node gpu-1: its Talos configuration sets {PROFILE} and nvidia.com/gpu.present, which the stack sets too: "
        "Talos keeps its value against other slices, and after `pulumi destroy`. Take them out, and run this again: "
        "talosctl --nodes gpu-1 get machineconfig v1alpha1 -o yaml >now.yaml && "
        "gpuctl talos patch --stack lab --node gpu-1 --config now.yaml && "
        "talosctl --nodes gpu-1 patch machineconfig --patch @patches/gpu-1.yaml"
    )


def test_a_label_that_talos_holds_at_the_same_value_stops_nothing() -> None:
    cluster = healthy(STACK)
    _held(cluster, f'["{PROFILE}", "nvidia.com/gpu.present"]')
    assert _reasons(cluster) == []


def test_labels_are_of_talos_where_the_stack_leaves_them_to_it() -> None:
    """What is wrong with them is refused with other words."""
    settings = settings_of(labelNodes=False)
    cluster = healthy(settings)
    _held(cluster, f'["{PROFILE}"]')
    _metadata(cluster)["labels"][PROFILE] = "gpu-9"
    (reason,) = _reasons(cluster, settings)
    assert reason.startswith("gpu:labelNodes is false, and node gpu-1 has no label")


def test_an_annotation_that_is_no_list_says_nothing() -> None:
    cluster = healthy(STACK)
    _metadata(cluster)["labels"][PROFILE] = "gpu-9"
    for owned in ("", "{", "5", "null", "[" * 100_000):
        _held(cluster, owned)
        assert _reasons(cluster) == []


def test_a_release_without_the_toolkit_is_refused_with_the_way_back() -> None:
    cluster = healthy(STACK)
    for release, refused in (("v1.14.6", 0), ("v1.15.0-beta.1", 1), ("of a friend", 0)):
        cluster.node_objects["gpu-1"]["status"]["nodeInfo"]["osImage"] = f"Talos ({release})"
        reasons = _reasons(cluster)
        assert len(reasons) == refused
        assert all(reason.endswith("What ran before: talosctl --nodes gpu-1 rollback") for reason in reasons)
