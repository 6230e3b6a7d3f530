"""Whole GPUs beside shared ones on one node: what is deployed, counted, planned and found wrong."""

from collections.abc import Mapping
from typing import Any

import pytest

from gpuctl.checks import capacity, plugin_config, whole_gpus
from gpuctl.checks.model import Check
from gpuctl.checks.runner import run
from gpuctl.cli import capacity as capacity_verb
from gpuctl.desired.desired import Desired, desired_state
from gpuctl.desired.figures import figures
from gpuctl.plan.consequences import consequences
from gpuctl.plan.running_pods import crowded
from gpuctl.report.words import capacity_cells
from gpuctl.settings import Settings
from gpuctl.status.rows import status
from tests.fixtures.checks import context_of, results_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.stack_files import settings

WHOLE, SHARED = "nvidia.com/gpu", "nvidia.com/gpu.shared"
FIRST, SECOND = "GPU-5f6a3c1e-8c0d-4a51-9a53-0c6d2b9e7f10", "GPU-0b8f7f52-31d0-4f3e-b3a9-6a1e5a9c4d21"
OFFERED: Mapping[str, int | Mapping[str, int]] = {"gpu-1": {WHOLE: 1, SHARED: 4}, "gpu-2": {WHOLE: 8}}


def _node(name: str = "gpu-1", **keys: Any) -> dict[str, Any]:
    return {"name": name, "gpu": "rtx-3090", "count": 2} | keys


def _settings(**keys: Any) -> Settings:
    """gpu-1 keeps its first GPU whole, gpu-2 shares both of its own."""
    return settings(nodes=[_node(wholeGpus=1), _node("gpu-2")], **keys)


def _by_uuid() -> Settings:
    return settings(nodes=[_node(wholeGpus=[FIRST], sharedGpus=[SECOND]), _node("gpu-2")])


def _desired(*nodes: dict[str, Any], **keys: Any) -> Desired:
    return desired_state(settings(nodes=list(nodes), **keys))


def _daemon_sets(desired: Desired) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in desired.manifests if each["kind"] == "DaemonSet"}


def _container(daemon_set: dict[str, Any]) -> dict[str, Any]:
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    return container


def _visible(daemon_set: dict[str, Any]) -> str:
    return next(each["value"] for each in _container(daemon_set)["env"] if each["name"] == "NVIDIA_VISIBLE_DEVICES")


def test_a_node_offers_both_and_the_others_what_they_always_did() -> None:
    desired = desired_state(_settings())
    assert {name: node.offers for name, node in desired.nodes.items()} == {**OFFERED, "gpu-2": {WHOLE: 8}}
    found = desired.outputs["gpuCapacity"]
    assert (found["total"], found["byNode"], found["byResource"], found["offers"]) == (
        13,
        {"gpu-1": 5, "gpu-2": 8},
        {WHOLE: 9, SHARED: 4},
        {"gpu-1": {WHOLE: 1, SHARED: 4}, "gpu-2": {WHOLE: 8}},
    )
    assert desired.capacity.by_model == {"rtx-3090": 13}


@pytest.mark.parametrize(
    ("stack", "whole", "shared"), [(_settings(), "0", "1"), (_by_uuid(), FIRST, SECOND)], ids=["index", "uuid"]
)
def test_each_of_two_plugins_sees_its_own_gpus_only(stack: Settings, whole: str, shared: str) -> None:
    found = {name: _visible(each) for name, each in _daemon_sets(desired_state(stack)).items() if "plugin" in name}
    assert found == {
        "nvidia-device-plugin-gpu-1": shared,
        "nvidia-device-plugin": "all",
        "nvidia-whole-gpu-plugin-gpu-1": whole,
    }


def test_the_first_gpus_by_index_are_whole_and_all_others_shared() -> None:
    desired = _desired(_node(count=5, wholeGpus=2))
    assert desired.nodes["gpu-1"].offers == {WHOLE: 2, SHARED: 12}
    sets = _daemon_sets(desired)
    assert (_visible(sets["nvidia-whole-gpu-plugin"]), _visible(sets["nvidia-device-plugin"])) == ("0,1", "2,3,4")


@pytest.mark.parametrize(
    ("name", "socket"),
    [("nvidia-whole-gpu-plugin", "nvidia-gpu.sock"), ("nvidia-device-plugin", "nvidia-gpu.shared.sock")],
)
def test_probes_ask_the_socket_of_the_plugins_own_resource(name: str, socket: str) -> None:
    container = _container(_daemon_sets(_desired(_node(wholeGpus=1)))[name])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"][-1] == f"/var/lib/kubelet/device-plugins/{socket}"


def test_only_the_shared_gpus_have_a_sharing_block_and_a_name_of_their_own() -> None:
    maps = {
        each["metadata"]["name"].rpartition("-")[0]: each["data"].get("config.yaml")
        for each in _desired(_node(wholeGpus=1)).manifests
        if each["kind"] == "ConfigMap"
    }
    assert maps["nvidia-whole-gpu-plugin-config"] == "version: v1\n"
    assert "renameByDefault: true" in maps["nvidia-device-plugin-config"]


def test_the_whole_gpus_plugin_comes_once_the_other_has_left_its_resource() -> None:
    part = next(part for part in desired_state(_settings()).parts if part.name == "whole-gpus")
    assert part.after == ("namespace", "runtime-class", "node-labels", "power-limit", "device-plugin")


def test_no_pod_of_one_plugin_is_selected_by_the_others_daemon_set() -> None:
    sets = _daemon_sets(desired_state(_settings()))
    for name, each in sets.items():
        labels = each["spec"]["template"]["metadata"]["labels"].items()
        selecting = [
            other for other, found in sets.items() if found["spec"]["selector"]["matchLabels"].items() <= labels
        ]
        assert selecting == [name]


def test_nodes_with_other_gpus_whole_need_other_objects() -> None:
    desired = _desired(_node(wholeGpus=1), _node("gpu-2", wholeGpus=1), _node("gpu-3", count=3, wholeGpus=1))
    assert {profile.name: [node.name for node in profile.nodes] for profile in desired.profiles} == {
        "gpu-1": ["gpu-1", "gpu-2"],
        "gpu-3": ["gpu-3"],
    }


def test_no_whole_gpu_means_what_the_key_left_out_means() -> None:
    assert _desired(_node(wholeGpus=0)).manifests == _desired(_node()).manifests


def test_one_name_for_a_whole_gpu_and_for_a_slice_is_warned_of() -> None:
    (warning,) = _settings().warnings
    assert warning.startswith("a pod that asks for nvidia.com/gpu gets a whole GPU on gpu-1 and a slice on gpu-2")
    assert _settings(renameByDefault=True).warnings == []


def test_the_capacity_table_has_a_column_for_each_resource() -> None:
    lines = [line.plain.rstrip() for line in capacity_verb.lines("lab", _settings())]
    assert lines[:5] == [
        "NODE   GPUS          SLICES  nvidia.com/gpu  nvidia.com/gpu.shared  LIMIT W  NODE W  GiB/SLICE",
        "gpu-1  1 x rtx-3090       1               1                             300     600       24.0",
        "       1 x rtx-3090       4                                      4      300                6.0",
        "gpu-2  2 x rtx-3090       4               8                             300     600        6.0",
        "all                                       9                      4             1200",
    ]


def test_alerts_expect_each_resource_of_a_node() -> None:
    expected = [rule for rule in figures(_settings()) if rule["record"] == "gpu_stack:slices:expected"]
    assert [(rule["expr"], rule["labels"]) for rule in expected] == [
        ("vector(1)", {"node": "gpu-1", "resource": "nvidia_com_gpu"}),
        ("vector(4)", {"node": "gpu-1", "resource": "nvidia_com_gpu_shared"}),
        ("vector(8)", {"node": "gpu-2", "resource": "nvidia_com_gpu"}),
    ]


def test_a_plan_says_what_a_whole_gpu_means_for_pods_that_run() -> None:
    found = [each.text for each in consequences(_desired(_node()), _desired(_node(wholeGpus=1)))]
    assert found[0].startswith("gpu-1 offers 8 → 1 nvidia.com/gpu.")
    assert any(text.startswith("Other GPUs of gpu-1 are whole, as nvidia.com/gpu") for text in found)
    assert any(text.startswith("The device plugin restarts on gpu-1") for text in found)


def test_a_plan_says_that_a_name_goes_when_all_gpus_are_shared_again() -> None:
    found = [each.text for each in consequences(_desired(_node(wholeGpus=1)), _desired(_node()))]
    assert found[0].startswith("Slices are offered as nvidia.com/gpu instead of nvidia.com/gpu.shared")
    assert any(text.startswith("All GPUs of gpu-1 are shared alike") for text in found)


def test_pods_that_no_longer_fit_are_counted_by_resource() -> None:
    fake = healthy(settings(nodes=[_node()]), {"gpu-1": 8})
    for number in range(3):
        fake.add_pod(f"share-{number}", "gpu-1", "default", **{WHOLE: 1})
    (found,) = crowded(_desired(_node()), _desired(_node(wholeGpus=1)), lambda _: fake)
    assert found.text.startswith("3 slices of gpu-1 are in use and it will offer 1: 2 no longer fit")


@pytest.fixture
def fake() -> FakeCluster:
    return healthy(_by_uuid(), OFFERED)


def _told(check: Check, fake: FakeCluster, stack: Settings | None = None) -> list[str]:
    return [f"{found.outcome}: {found.fact}" for found in results_of(check, context_of(fake, stack or _by_uuid()))]


def _hold(fake: FakeCluster, name: str, resource: str, device: str) -> None:
    pod = fake.add_pod(name, "gpu-1", "default", **{resource: 1})
    given = {"name": resource, "resources": [{"resourceID": device, "health": "Healthy"}]}
    pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"] = [given]


def test_capacity_is_judged_by_node_and_resource(fake: FakeCluster) -> None:
    fake.node_objects["gpu-1"]["status"]["capacity"][SHARED] = "8"
    assert _told(capacity.capacity_is_complete, fake) == [
        f"pass: gpu-1 has 1 {WHOLE} (1 GPU with 1 slice each)",
        f"fail: gpu-1 has 8 {SHARED} instead of 4 (1 GPU with 4 slices each), as if 2 GPUs were there",
        f"pass: gpu-2 has 8 {WHOLE} (2 GPUs with 4 slices each)",
    ]


def test_a_whole_gpu_out_of_service_is_no_slice_of_the_other(fake: FakeCluster) -> None:
    fake.node_objects["gpu-1"]["status"]["allocatable"][WHOLE] = "0"
    assert _told(capacity.capacity_is_allocatable, fake) == [
        f"fail: gpu-1 offers 0 of its 1 {WHOLE}",
        f"pass: gpu-1 offers all of its 4 {SHARED}",
        f"pass: gpu-2 offers all of its 8 {WHOLE}",
    ]


def test_two_names_are_right_where_the_stack_says_both_and_wrong_elsewhere(fake: FakeCluster) -> None:
    fake.node_objects["gpu-2"]["status"] |= {each: {WHOLE: "8", SHARED: "4"} for each in ("capacity", "allocatable")}
    assert _told(capacity.gpus_have_one_name, fake) == [
        f"pass: gpu-1 offers its GPUs as {WHOLE} and {SHARED} only",
        f"fail: gpu-2 offers 4 {SHARED} beside {WHOLE}: its GPUs count twice",
    ]


def test_each_plugin_must_run_with_its_own_configuration(fake: FakeCluster) -> None:
    name = "nvidia-whole-gpu-plugin-gpu-1-gpu-1"
    wanted = fake.pod_objects[name]["metadata"]["annotations"]["checksum/config"][:10]
    fake.pod_objects[name]["metadata"]["annotations"]["checksum/config"] = "0" * 64
    bad = [each for each in _told(plugin_config.pods_are_of_the_configuration, fake) if not each.startswith("pass")]
    assert bad == [
        f"fail: the device plugin on gpu-1 was started for configuration 0000000000 and the stack's is {wanted}"
    ]


def test_a_whole_gpu_with_one_pod_beside_slices_of_the_other_is_as_it_should_be(fake: FakeCluster) -> None:
    _hold(fake, "trainer", WHOLE, FIRST)
    _hold(fake, "notebook", SHARED, f"{SECOND}::0")
    assert _told(whole_gpus.whole_gpus_have_one_pod, fake) == ["pass: gpu-1: no pod shares one of 1 whole GPU"]


def test_a_slice_of_before_on_a_whole_gpu_is_found(fake: FakeCluster) -> None:
    _hold(fake, "old", WHOLE, f"{FIRST}::2")
    assert _told(whole_gpus.whole_gpus_have_one_pod, fake) == [
        f"fail: gpu-1: {FIRST} is a whole GPU, and 1 pod holds slices of it: default/old"
    ]


def test_a_gpu_that_is_whole_for_one_and_shared_by_another_is_found_without_its_uuid_in_the_stack() -> None:
    fake = healthy(_settings(), OFFERED)
    _hold(fake, "trainer", WHOLE, SECOND)
    _hold(fake, "notebook", SHARED, f"{SECOND}::0")
    assert _told(whole_gpus.whole_gpus_have_one_pod, fake, _settings()) == [
        f"fail: gpu-1: {SECOND} is a whole GPU, and 2 pods hold it: default/notebook, default/trainer"
    ]


def test_who_holds_a_whole_gpu_is_not_known_where_the_kubelet_does_not_say(fake: FakeCluster) -> None:
    fake.add_pod("trainer", "gpu-1", "default", **{WHOLE: 1})
    (found,) = _told(whole_gpus.whole_gpus_have_one_pod, fake)
    assert found.startswith("skip: who holds the whole GPUs of gpu-1 is not known")


def test_a_node_of_shared_gpus_only_has_nothing_to_judge() -> None:
    found = _told(whole_gpus.whole_gpus_have_one_pod, healthy(settings(), {"gpu-1": 8}), settings())
    assert found == ["skip: no node has whole GPUs beside shared ones"]


def test_the_report_has_a_row_for_each_resource_of_a_node(fake: FakeCluster) -> None:
    report = run([capacity.capacity_is_complete], context_of(fake, _by_uuid()), lambda _: None)
    assert [capacity_cells(row) for row in report.capacity] == [
        ("gpu-1", "1", "1", "1", "1"),
        ("gpu-1", "1", "4", f"4 {SHARED}", "4"),
        ("gpu-2", "2", "4", "8", "8"),
    ]


def test_a_status_without_agents_counts_pods_of_both_resources(fake: FakeCluster) -> None:
    _hold(fake, "trainer", WHOLE, FIRST)
    _hold(fake, "notebook", SHARED, f"{SECOND}::0")
    desired = desired_state(_by_uuid())
    pods = {"gpu-1": list(fake.pods("default"))}
    row = status(desired, pods, {}).rows[0]
    assert (row.used, row.slices, row.users) == (2, 5, ("default/notebook", "default/trainer"))
