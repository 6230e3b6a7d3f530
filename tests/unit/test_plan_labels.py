"""What a change means for the labels of nodes, by which pods find them, when the stack does not set them itself."""

from typing import Any

import yaml

from gpuctl.desired.desired import desired_state
from gpuctl.plan.consequences import consequences
from tests.fixtures.stack_files import settings

GPU_1 = {"name": "gpu-1", "gpu": "rtx-3090", "count": 2}
GPU_2 = GPU_1 | {"name": "gpu-2", "slices": 6}
GPU_4 = GPU_1 | {"name": "gpu-4", "slices": 6}
BY_OTHERS = {"labelNodes": False}


def _said(before: dict[str, Any], after: dict[str, Any]) -> str:
    """All sentences about a change."""
    found = consequences(desired_state(settings(**before)), desired_state(settings(**after)))
    return "\n".join(each.text for each in found)


def test_a_retired_node_keeps_its_pods_until_whoever_labelled_it_takes_the_labels_away() -> None:
    said = _said({"nodes": [GPU_1, GPU_2], **BY_OTHERS}, {"nodes": [GPU_1], **BY_OTHERS})
    assert (
        "gpu-2 is no longer a GPU node of the stack, which does not label its nodes: before `pulumi up`, take "
        "nvidia.com/gpu.present and nvidia.com/device-plugin.config from it where they are set, in its Talos "
        "configuration or by NFD. Only then do 12 nvidia.com/gpu go, and its GPUs get their default power limits back; "
        "until then the agent there holds them at gpu:powerLimit."
    ) in said
    assert "its labels are removed" not in said


def test_a_retired_node_that_the_stack_labelled_loses_everything_with_the_update() -> None:
    said = _said({"nodes": [GPU_1, GPU_2]}, {"nodes": [GPU_1]})
    assert (
        "gpu-2 is no longer a GPU node of the stack: 12 nvidia.com/gpu go, its labels are removed, "
        "its GPUs get their default power limits back."
    ) in said
    assert "does not label" not in said


def test_each_of_two_renamed_nodes_has_a_new_name_of_its_own() -> None:
    old = [GPU_1 | {"name": name} for name in ("old-1", "old-2")]
    new = [GPU_1 | {"name": name} for name in ("new-1", "new-2")]
    said = _said({"nodes": old}, {"nodes": new})
    assert said.count("new-1 has the same GPUs") == 1
    assert said.count("new-2 has the same GPUs") == 1


def test_another_label_is_set_by_whoever_labels_before_the_update_and_serves_nothing_until_its_end() -> None:
    """The profile was called after gpu-2."""
    said = _said({"nodes": [GPU_1, GPU_2, GPU_4], **BY_OTHERS}, {"nodes": [GPU_1, GPU_4], **BY_OTHERS})
    assert (
        "gpu-4 must have nvidia.com/device-plugin.config=gpu-4, and the stack does not label its nodes: set it where "
        "that is done, for Talos with `gpuctl talos patch`, right before `pulumi up`, which refuses the node until "
        "then. From then on gpu-4 offers 0 of its 12 nvidia.com/gpu until `pulumi up` is done."
    ) in said
    assert (
        "The profile of gpu-4 is called gpu-4 instead of gpu-2, after its first node, and that alone restarts the "
        "device plugin there. To keep the name, give one of these nodes `profile: gpu-2` in gpu:nodes."
    ) in said


def test_with_the_name_kept_nothing_happens_to_the_other_nodes_of_a_profile() -> None:
    kept = GPU_4 | {"profile": "gpu-2"}
    for more in ({}, BY_OTHERS):
        said = _said({"nodes": [GPU_1, GPU_2, GPU_4], **more}, {"nodes": [GPU_1, kept], **more})
        assert "device plugin restarts" not in said
        assert "gpu-4 must have" not in said
        assert "is called" not in said


def test_a_name_that_was_chosen_or_is_still_taken_is_no_name_to_keep() -> None:
    chosen = _said({"nodes": [GPU_1]}, {"nodes": [GPU_1 | {"profile": "training"}]})
    taken = _said({"nodes": [GPU_1, GPU_2, GPU_4]}, {"nodes": [GPU_1, GPU_2 | {"slices": 8}, GPU_4]})
    other = _said({"nodes": [GPU_1, GPU_2, GPU_4 | {"slices": 8}]}, {"nodes": [GPU_1, GPU_2, GPU_4]})
    for said in (chosen, taken, other):
        assert "The device plugin restarts" in said
        assert "is called" not in said


def test_other_slices_under_the_same_name_need_no_other_label() -> None:
    said = _said({"nodes": [GPU_1, GPU_2], **BY_OTHERS}, {"nodes": [GPU_1, GPU_2 | {"slices": 8}], **BY_OTHERS})
    assert "must have" not in said
    assert "is called" not in said


def test_a_node_that_comes_is_labelled_by_others_first() -> None:
    said = _said({"nodes": [GPU_1], **BY_OTHERS}, {"nodes": [GPU_1, GPU_2], **BY_OTHERS})
    assert (
        "gpu-2 must have nvidia.com/gpu.present=true and nvidia.com/device-plugin.config=gpu-2, and the stack does not "
        "label its nodes: set it where that is done, for Talos with `gpuctl talos patch`, right before `pulumi up`, "
        "which refuses the node until then."
    ) in said
    assert "offers 0" not in said


def test_a_stack_that_stops_to_label_takes_its_labels_away() -> None:
    said = _said({"nodes": [GPU_1]}, {"nodes": [GPU_1], **BY_OTHERS})
    assert (
        "The stack takes nvidia.com/gpu.present and nvidia.com/device-plugin.config from its nodes: unless whoever "
        "labels them from now on, such as Talos or NFD, puts them back, no pod of the stack stays there, no slice is "
        "offered and no limit is held."
    ) in said


def test_a_label_that_the_stack_applies_through_talos_is_nobodys_work() -> None:
    config = yaml.safe_dump({"version": "v1alpha1", "machine": {"type": "worker"}})
    applied = {
        "labelNodes": False,
        "talosApply": True,
        "talosEndpoint": "10.0.0.2",
        "talosClientConfiguration": "context: lab",
        "talosMachineConfiguration": config,
    }
    said = _said({"nodes": [GPU_1, GPU_2, GPU_4], **applied}, {"nodes": [GPU_1, GPU_4], **applied})
    assert "must have" not in said


def test_limits_that_are_no_longer_held_on_one_node_are_named() -> None:
    free = GPU_2 | {"powerManagement": False}
    said = _said({"nodes": [GPU_1, GPU_2]}, {"nodes": [GPU_1, free]})
    assert "Power limits are no longer held on gpu-2: the GPUs there get their default limits back." in said
    assert "no longer held on gpu-2" not in _said({"nodes": [GPU_1, free]}, {"nodes": [GPU_1, free]})
    by_model = _said({"nodes": [GPU_1, GPU_2]}, {"nodes": [GPU_1, GPU_2], "powerLimits": {"rtx-3090": "none"}})
    assert "Power limits are no longer held on gpu-1 and gpu-2" in by_model
