"""Slices by MPS: what is deployed for them, what a slice may use, and how little the daemon may do."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from gpuctl.cli import capacity as capacity_verb
from gpuctl.cluster import UnreachableError
from gpuctl.desired.desired import Desired, desired_state
from gpuctl.desired.sharing import Mode
from gpuctl.plan.consequences import consequences
from gpuctl.plan.running_pods import clients
from gpuctl.preflight.refusals import refusals, see
from gpuctl.settings import Settings, SettingsError
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.plugin_config import PluginConfig
from tests.fixtures.stack_files import settings

DAEMON, PLUGIN = "nvidia-mps-control-daemon", "nvidia-device-plugin"


def _node(name: str = "gpu-1", **keys: Any) -> dict[str, Any]:
    return {"name": name, "gpu": "rtx-3090", "count": 2} | keys


def _desired(*nodes: dict[str, Any], **keys: Any) -> Desired:
    return desired_state(settings(nodes=list(nodes) or [_node()], **{"sharing": "mps"} | keys))


def _daemon_sets(desired: Desired) -> Mapping[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in desired.manifests if each["kind"] == "DaemonSet"}


def _pod(desired: Desired, name: str) -> dict[str, Any]:
    return _daemon_sets(desired)[name]["spec"]["template"]["spec"]


def _env(desired: Desired, name: str) -> dict[str, str]:
    return {each["name"]: each["value"] for each in _pod(desired, name)["containers"][0]["env"]}


def _limits(desired: Desired, name: str = DAEMON) -> tuple[str, str | None, str]:
    """Slices, MiB and percent as the daemon gets them."""
    env = _env(desired, name)
    return env["MPS_SLICES"], env.get("MPS_MEMORY_MIB"), env["MPS_THREADS_PERCENT"]


def _checksum(desired: Desired) -> str:
    return _daemon_sets(desired)[DAEMON]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]


def test_by_default_a_slice_has_its_share_of_memory_and_threads() -> None:
    desired = _desired()
    (group,) = desired.nodes["gpu-1"].groups
    assert (group.mode, group.memory_mib, group.threads_percent) == (Mode.MPS, 6144, 25)
    assert _limits(desired) == ("4", None, "25")


def test_threads_that_do_not_divide_are_rounded_down() -> None:
    assert _limits(_desired(slices=3)) == ("3", None, "33")


def test_keys_of_the_stack_say_what_a_slice_has() -> None:
    desired = _desired(memoryPerSliceMiB=4096, threadsPerSlicePercent=50)
    assert _limits(desired) == ("4", "4096", "50")
    assert desired.outputs["limitsPerSlice"] == {"gpu-1": {"memoryMiB": 4096, "threadsPercent": 50}}
    assert desired.outputs["memoryPerSliceMiB"] == {"gpu-1": 4096}


def test_keys_of_a_node_come_before_those_of_the_stack() -> None:
    nodes = (_node(), _node("gpu-2", memoryPerSliceMiB=2048), _node("gpu-3", threadsPerSlicePercent=100))
    desired = _desired(*nodes, memoryPerSliceMiB=4096)
    assert desired.outputs["limitsPerSlice"] == {
        "gpu-1": {"memoryMiB": 4096, "threadsPercent": 25},
        "gpu-2": {"memoryMiB": 2048, "threadsPercent": 25},
        "gpu-3": {"memoryMiB": 4096, "threadsPercent": 100},
    }
    assert [profile.name for profile in desired.profiles] == ["default", "gpu-2", "gpu-3"]
    assert _limits(desired, f"{DAEMON}-gpu-2") == ("4", "2048", "25")


def test_a_node_may_have_mps_in_a_stack_of_time_slices_and_the_other_way_round() -> None:
    one = _desired(_node(), _node("gpu-2", sharing="mps"), sharing="time-slicing")
    other = _desired(_node(), _node("gpu-2", sharing="time-slicing"))
    assert [name for name in _daemon_sets(one) if "mps" in name] == [f"{DAEMON}-gpu-2"]
    assert [name for name in _daemon_sets(other) if "mps" in name] == [DAEMON]
    assert [profile.name for profile in other.profiles] == ["default", "gpu-2"]


def test_time_slicing_is_the_default_and_needs_no_daemon() -> None:
    assert _desired(sharing="time-slicing").manifests == desired_state(settings()).manifests
    assert "limitsPerSlice" not in desired_state(settings()).outputs


def test_a_node_of_whole_gpus_needs_no_daemon() -> None:
    desired = _desired(_node(), _node("gpu-2", slices=1))
    assert [node.groups[0].mode for node in desired.nodes.values()] == [Mode.MPS, Mode.WHOLE]
    assert [name for name in _daemon_sets(desired) if "mps" in name] == [DAEMON]


def test_the_plugin_is_told_to_share_by_mps_and_where() -> None:
    texts = [each["data"]["config.yaml"] for each in _desired().manifests if "config.yaml" in each.get("data", {})]
    (config,) = (PluginConfig.model_validate(yaml.safe_load(text)) for text in texts)
    assert config.flags.mps_root == "/var/run/gpu-mps"
    assert config.sharing is not None
    assert config.sharing.time_slicing is None
    assert config.sharing.mps is not None
    assert [each.replicas for each in config.sharing.mps.resources] == [4]


def test_the_allocation_policy_stands_beside_it() -> None:
    desired = _desired(devicePluginVersion="v0.20.0", allocationPolicy="packed")
    (text,) = [each["data"]["config.yaml"] for each in desired.manifests if "config.yaml" in each.get("data", {})]
    flags = yaml.safe_load(text)["flags"]
    assert flags == {"plugin": {"sharedDevicesAllocationPolicy": "packed"}, "mpsRoot": "/var/run/gpu-mps"}


def test_only_the_shared_gpus_have_a_daemon_beside_whole_ones() -> None:
    desired = _desired(_node(wholeGpus=1))
    assert desired.nodes["gpu-1"].offers == {"nvidia.com/gpu": 1, "nvidia.com/gpu.shared": 4}
    env = _env(desired, DAEMON)
    assert env["NVIDIA_VISIBLE_DEVICES"] == "1"
    assert env["CUDA_MPS_PIPE_DIRECTORY"] == "/mps/nvidia.com/gpu.shared/pipe"
    assert "CUDA_MPS_PIPE_DIRECTORY" not in _env(desired, "nvidia-whole-gpu-plugin")


@pytest.mark.parametrize(("rename", "resource"), [(False, "nvidia.com/gpu"), (True, "nvidia.com/gpu.shared")])
def test_daemon_and_plugin_meet_in_the_folder_of_the_resource(rename: bool, resource: str) -> None:
    """The plugin makes the folder's name of the resource, and gives it to its pods."""
    desired = _desired(renameByDefault=rename)
    found = {_env(desired, name)["CUDA_MPS_PIPE_DIRECTORY"] for name in (DAEMON, PLUGIN)}
    assert found == {f"/mps/{resource}/pipe"}


def test_the_daemon_comes_before_the_plugin_and_the_power_limit_before_both() -> None:
    parts = {part.name: part for part in _desired().parts}
    assert {"mps", "power-limit"} <= {*parts["device-plugin"].after}
    assert "power-limit" in parts["mps"].after
    assert parts["mps"].type_token == "gpu:index:Mps"


def test_the_daemon_counts_gpus_as_nvidia_smi_does_and_the_old_one_ends_before_the_new_one_begins() -> None:
    """It sets limits by index, and two of them cannot serve in one folder."""
    assert _env(_desired(), DAEMON)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    strategy = _daemon_sets(_desired())[DAEMON]["spec"]["updateStrategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 1}


def test_the_daemon_may_do_next_to_nothing() -> None:
    pod = _pod(_desired(), DAEMON)
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"] == {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}
    assert not {"hostPID", "hostIPC", "hostNetwork", "shareProcessNamespace", "initContainers"} & pod.keys()
    paths = [each["hostPath"]["path"] for each in pod["volumes"] if "hostPath" in each]
    assert paths == ["/var/run/gpu-mps", "/var/run/gpu-mps/shm"]
    assert not [each for each in container["volumeMounts"] if "mountPropagation" in each]


def test_the_plugin_runs_nvidias_control_program_through_the_script_of_that_name() -> None:
    desired = _desired()
    (config_map,) = (each for each in desired.manifests if "nvidia-cuda-mps-control" in each.get("data", {}))
    assert {*config_map["data"]} == {"daemon.sh", "nvidia-cuda-mps-control", "offer.sh"}
    for name in (DAEMON, PLUGIN):
        (volume,) = (each for each in _pod(desired, name)["volumes"] if each["name"] == "mps-daemon")
        assert volume["configMap"] == {"name": config_map["metadata"]["name"], "defaultMode": 0o555}


def test_a_plugin_that_waits_for_its_daemon_is_not_started_again() -> None:
    (container,) = _pod(_desired(), PLUGIN)["containers"]
    assert "startupProbe" not in container
    assert container["livenessProbe"]["exec"]["command"] == [
        "/busybox/sh",
        "-c",
        "[ ! -e /run/nvidia-device-plugin/offering ] || "
        "/busybox/test -S /var/lib/kubelet/device-plugins/nvidia-gpu.sock",
    ]


@pytest.mark.parametrize(
    "other",
    [{"slices": 6}, {"memoryPerSliceMiB": 1024}, {"threadsPerSlicePercent": 10}, {"devicePluginVersion": "v0.18.1"}],
)
def test_whatever_replaces_a_daemon_changes_its_checksum(other: dict[str, Any]) -> None:
    assert _checksum(_desired()) == _checksum(_desired(powerLimit=250))
    assert _checksum(_desired()) != _checksum(_desired(**other))


def test_the_capacity_table_shows_limits() -> None:
    nodes = (_node(), _node("gpu-2", sharing="time-slicing"), _node("gpu-3", wholeGpus=1))
    stack = settings(nodes=list(nodes), sharing="mps", threadsPerSlicePercent=50)
    lines = [line.plain.rstrip() for line in capacity_verb.lines("lab", stack)]
    assert lines[:5] == [
        "NODE   GPUS          SLICES  nvidia.com/gpu  nvidia.com/gpu.shared  LIMIT W  NODE W  GiB/SLICE  THREADS",
        "gpu-1  2 x rtx-3090       4               8                             300     600        6.0     50 %",
        "gpu-2  2 x rtx-3090       4               8                             300     600        6.0",
        "gpu-3  1 x rtx-3090       1               1                             300     600       24.0",
        "       1 x rtx-3090       4                                      4      300                6.0     50 %",
    ]
    assert lines[-1].endswith("GiB per slice is a limit where THREADS has a figure, and elsewhere an average.")


def test_the_capacity_of_mps_alone_is_no_average() -> None:
    *_, last = capacity_verb.lines("lab", settings(sharing="mps"))
    assert last.plain.endswith("8 nvidia.com/gpu. GiB per slice is a limit.")
    assert capacity_verb.document("lab", settings(sharing="mps"))["limitsPerSlice"] == {
        "gpu-1": {"memoryMiB": 6144, "threadsPercent": 25}
    }


def test_several_slices_for_a_pod_are_possible_from_v020_on() -> None:
    assert _desired(devicePluginVersion="v0.20.0", failRequestsGreaterThanOne=False).nodes["gpu-1"].slices == 4


def test_gpus_of_several_models_are_possible_with_a_limit_that_is_the_same_for_all() -> None:
    mixed = {"name": "gpu-1", "gpus": {"rtx-3090": 1, "rtx-3060": 1}}
    desired = _desired(mixed, memoryPerSliceMiB=2048, powerLimit=180)
    assert desired.outputs["limitsPerSlice"] == {"gpu-1": {"memoryMiB": 2048, "threadsPercent": 25}}


def test_a_key_of_the_stack_is_at_fault_once_for_all_nodes() -> None:
    with pytest.raises(SettingsError) as refusal:
        _desired(_node(), _node("gpu-2"), memoryPerSliceMiB=8192)
    assert str(refusal.value).count("is too much") == 1


def _texts(before: Desired, after: Desired) -> list[str]:
    return [f"{each.kind}: {each.text}" for each in consequences(before, after)]


def _told(before: Desired, after: Desired, start: str) -> bool:
    return any(text.startswith(start) for text in _texts(before, after))


ENDS = "removal: The MPS daemon of gpu-1 is replaced or goes: programs that use GPUs there end with errors."


def test_a_plan_says_that_programs_end_when_their_daemon_goes_or_gets_another_limit() -> None:
    assert _told(_desired(), _desired(sharing="time-slicing"), ENDS)
    assert _told(_desired(), _desired(memoryPerSliceMiB=1024), ENDS)
    assert _told(_desired(), _desired(memoryPerSliceMiB=1024), "warning: A slice of gpu-1 has another memory limit")
    assert not _told(_desired(), _desired(powerLimit=250), ENDS)


def test_a_plan_says_that_pods_of_before_have_no_limit() -> None:
    found = "warning: Slices of gpu-1 have limits by MPS from then on."
    assert _told(_desired(sharing="time-slicing"), _desired(), found)
    assert not _told(_desired(), _desired(), found)


def _in_use(stack: Desired) -> FakeCluster:
    """With one pod on a slice of gpu-1, and one of another resource."""
    fake = healthy(stack.settings, {name: dict(node.offers) for name, node in stack.nodes.items()})
    fake.add_pod("trainer", "gpu-1", "team", **{stack.resource: 1})
    fake.add_pod("web", "gpu-1", "team", cpu=1)
    return fake


def test_a_plan_names_the_pods_that_must_end() -> None:
    before, after = _desired(), _desired(sharing="time-slicing")
    assert [each.text for each in clients(before, after, lambda _: _in_use(before))] == [
        "1 pod of gpu-1 ends with errors (team/trainer)."
    ]
    assert [each.text for each in clients(after, before, lambda _: _in_use(after))] == [
        "1 pod of gpu-1 has no limit until it is started again (team/trainer)."
    ]
    assert clients(before, before, lambda _: pytest.fail("the cluster is asked")) == []


def test_a_plan_does_not_name_the_pod_on_the_whole_gpu() -> None:
    before, after = _desired(_node(wholeGpus=1)), _desired(_node(wholeGpus=1), memoryPerSliceMiB=1024)
    fake = healthy(before.settings, {"gpu-1": {"nvidia.com/gpu": 1, "nvidia.com/gpu.shared": 4}})
    fake.add_pod("whole", "gpu-1", "team", **{"nvidia.com/gpu": 1})
    assert clients(before, after, lambda _: fake) == []


def test_a_plan_without_a_cluster_says_what_it_does_not_know() -> None:
    def unreachable(_: Settings) -> FakeCluster:
        raise UnreachableError("it does not answer")

    (found,) = clients(_desired(), _desired(sharing="time-slicing"), unreachable)
    assert (found.kind, found.text) == ("note", "Which running pods must end is not known: it does not answer.")


def test_a_plan_says_nothing_of_a_memory_limit_where_there_are_time_slices() -> None:
    before, after = _desired(sharing="time-slicing"), _desired(sharing="time-slicing", slices=2)
    assert not _told(before, after, "warning: A slice of gpu-1 has another memory limit")


def _refused(before: Desired, after: Desired) -> list[str]:
    return [reason for reason in refusals(after, "gpu/lab", see(_in_use(before))) if "MPS" in reason]


@pytest.mark.parametrize("other", [{"sharing": "time-slicing"}, {"memoryPerSliceMiB": 1024}, {"slices": 2}])
def test_an_update_that_ends_programs_is_refused(other: dict[str, Any]) -> None:
    (reason,) = _refused(_desired(), _desired(**other))
    assert reason == (
        "the MPS daemon of node gpu-1 would be replaced or go, and the programs of pods that use its GPUs would end "
        "with errors: team/trainer. Let them end first, such as by kubectl --context admin@lab drain gpu-1 "
        "--ignore-daemonsets --delete-emptydir-data; or have them interrupted: "
        "pulumi config set --stack lab gpu:interruptPods true"
    )


def test_an_update_that_ends_programs_is_done_where_the_stack_file_allows_it() -> None:
    assert _refused(_desired(), _desired(slices=2, interruptPods=True)) == []


def test_an_update_that_leaves_the_daemon_alone_is_not_refused() -> None:
    assert _refused(_desired(), _desired(powerLimit=250)) == []
    assert _refused(_desired(sharing="time-slicing"), _desired()) == []


def test_pods_that_are_over_and_those_of_other_nodes_are_no_reason() -> None:
    nodes = (_node(), _node("gpu-2", sharing="time-slicing"))
    before, after = _desired(*nodes), _desired(*nodes, memoryPerSliceMiB=1024)
    fake = healthy(before.settings, {"gpu-1": {"nvidia.com/gpu": 8}, "gpu-2": {"nvidia.com/gpu": 8}})
    fake.add_pod("elsewhere", "gpu-2", "team", **{"nvidia.com/gpu": 1})
    fake.add_pod("over", "gpu-1", "team", **{"nvidia.com/gpu": 1})["status"]["phase"] = "Succeeded"
    assert [reason for reason in refusals(after, "gpu/lab", see(fake)) if "MPS" in reason] == []


def test_a_pod_on_the_whole_gpu_is_no_reason() -> None:
    before, after = _desired(_node(wholeGpus=1)), _desired(_node(wholeGpus=1), memoryPerSliceMiB=1024)
    fake = healthy(before.settings, {"gpu-1": {"nvidia.com/gpu": 1, "nvidia.com/gpu.shared": 4}})
    fake.add_pod("whole", "gpu-1", "team", **{"nvidia.com/gpu": 1})
    assert [reason for reason in refusals(after, "gpu/lab", see(fake)) if "MPS" in reason] == []
    fake.add_pod("slice", "gpu-1", "team", **{"nvidia.com/gpu.shared": 1})
    (reason,) = (reason for reason in refusals(after, "gpu/lab", see(fake)) if "MPS" in reason)
    assert "team/slice" in reason
    assert "team/whole" not in reason
