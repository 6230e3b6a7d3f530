"""What nodes have and offer, and what is said of a node that falls short."""

import json
from typing import Any

import pytest

from gpuctl.checks import capacity
from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.cluster import AccessDeniedError
from tests.fixtures.agent_lines import answering, look, reports, uuid_of
from tests.fixtures.checks import context_of, results_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy

GPU, SHARED = "nvidia.com/gpu", "nvidia.com/gpu.shared"
FIRST, SECOND = "GPU-dc0c82b9-9f8d-5ade-9c8d-46216b68816b", "GPU-69e0eefb-7fa6-58a3-9547-4b2f2738e885"
PLUGIN = "nvidia-device-plugin-gpu-1"
STARTED = "I1125 03:00:00.000000       1 main.go:189] Starting Plugins."
XID = "I1125 03:10:00.000000 1 health.go:169] XidCriticalError: Xid={} on Device={}::3; marking device as unhealthy."


def cluster() -> FakeCluster:
    return healthy(settings_of())


def status(fake: FakeCluster, has: int | None = None, offers: int | None = None, resource: str = GPU) -> None:
    """What the kubelet of gpu-1 reports."""
    for key, amount in (("capacity", has), ("allocatable", offers)):
        if amount is not None:
            fake.node_objects["gpu-1"]["status"][key][resource] = str(amount)


def user(fake: FakeCluster, name: str, device: str = "", health: str = "Healthy") -> None:
    """A pod on gpu-1 with a slice; without a device it is on a kubelet that reports none."""
    pod = fake.add_pod(name, "gpu-1", "default", **{GPU: 1})
    if device:
        resources = [{"resourceID": device, "health": health}]
        reported = [{"name": GPU, "resources": resources}]
        pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"] = reported


def waiting(fake: FakeCluster, reason: str, message: str, **more: Any) -> None:
    """The device plugin's container on gpu-1 does not run."""
    state = {"waiting": {"reason": reason, "message": message}}
    fake.pod_objects[PLUGIN]["status"] |= {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{"name": "main", "state": state} | more],
    }


def result_of(check: Check, fake: FakeCluster, node: str = "gpu-1", **config: object) -> Result:
    """What a check finds about a node."""
    (found,) = (found for found in results_of(check, context_of(fake, settings_of(**config))) if found.subject == node)
    return found


@pytest.mark.parametrize("check", capacity.CHECKS, ids=lambda check: check.id)
def test_a_healthy_cluster_passes_on_every_node(check: Check) -> None:
    found = results_of(check, context_of(cluster()))
    assert [(result.outcome, result.subject) for result in found] == [
        (Outcome.PASS, "gpu-1"),
        (Outcome.PASS, "gpu-2"),
    ]


def test_the_product_is_told_with_its_factors() -> None:
    assert result_of(capacity.capacity_is_complete, cluster()).fact == (
        "gpu-1 has 8 nvidia.com/gpu (2 GPUs with 4 slices each)"
    )


def test_a_node_that_is_not_there_cannot_be_judged() -> None:
    fake = cluster()
    del fake.node_objects["gpu-1"]
    assert result_of(capacity.capacity_is_complete, fake).outcome is Outcome.SKIP
    assert [result.subject for result in results_of(capacity.capacity_is_allocatable, context_of(fake))] == ["gpu-2"]


def test_fewer_gpus_than_declared_are_a_lost_gpu_or_a_wrong_count() -> None:
    fake = cluster()
    status(fake, has=4, offers=4)
    found = result_of(capacity.capacity_is_complete, fake)
    assert found.outcome is Outcome.FAIL
    assert found.fact == "gpu-1 has 4 nvidia.com/gpu instead of 8 (2 GPUs with 4 slices each), as if 1 GPU were there"
    assert found.cause == "a GPU is lost, or the stack file's count is too high"
    assert found.remedy == (
        "kubectl --context admin@lab exec -n gpu-device-plugin nvidia-power-limit-gpu-1 -- nvidia-smi -L"
    )


def test_more_gpus_than_declared_are_a_wrong_count() -> None:
    fake = cluster()
    status(fake, has=12, offers=12)
    found = result_of(capacity.capacity_is_complete, fake)
    assert (found.outcome, found.cause) == (Outcome.FAIL, "the stack file's count is too low")


def test_whole_gpus_where_slices_are_wanted_are_another_configuration() -> None:
    fake = cluster()
    status(fake, has=2, offers=2)
    found = result_of(capacity.capacity_is_complete, fake)
    assert found.fact.endswith(", as if each GPU had 1 slice")
    assert found.cause == "the device plugin runs with another configuration than the stack's"
    assert found.remedy == (
        "kubectl --context admin@lab rollout restart -n gpu-device-plugin daemonset/nvidia-device-plugin"
    )


def test_the_plugin_of_another_profile_is_restarted_by_its_name() -> None:
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "slices": 8},
        {"name": "gpu-2", "gpu": "rtx-4090", "count": 1},
    ]
    fake = healthy(settings_of(nodes=nodes))
    status(fake, has=2, offers=2)
    found = result_of(capacity.capacity_is_complete, fake, nodes=nodes)
    assert found.remedy.endswith("daemonset/nvidia-device-plugin-gpu-1")


def test_an_image_that_cannot_be_pulled_is_why_a_node_has_nothing() -> None:
    fake = cluster()
    status(fake, has=0, offers=0)
    waiting(fake, "ImagePullBackOff", 'Back-off pulling image "nvcr.io/nowhere"')
    found = result_of(capacity.capacity_is_complete, fake)
    assert found.fact == "gpu-1 has 0 nvidia.com/gpu instead of 8 (2 GPUs with 4 slices each)"
    assert found.cause == (
        'nvidia-device-plugin on gpu-1 does not start: ImagePullBackOff: Back-off pulling image "nvcr.io/nowhere"'
    )
    assert found.remedy == f"kubectl --context admin@lab describe pod -n gpu-device-plugin {PLUGIN}"


def test_the_last_words_of_a_plugin_that_crashes_are_told() -> None:
    fake = cluster()
    status(fake, offers=0)
    waiting(fake, "CrashLoopBackOff", "back-off 5m0s", restartCount=7, lastState={"terminated": {"exitCode": 1}})
    fake.logs[PLUGIN] = [STARTED, "E1125 main.go:173] error starting plugins: no NVML", ""]
    found = result_of(capacity.capacity_is_allocatable, fake)
    assert found.fact == "gpu-1 offers 0 of its 8 nvidia.com/gpu"
    assert found.cause == (
        "nvidia-device-plugin on gpu-1 exits again and again: E1125 main.go:173] error starting plugins: no NVML"
    )
    assert found.remedy == f"kubectl --context admin@lab logs -n gpu-device-plugin {PLUGIN}"


def test_a_plugin_without_a_log_that_may_be_read_is_told_by_the_kubelets_words() -> None:
    fake = cluster()
    status(fake, offers=0)
    waiting(fake, "CrashLoopBackOff", "back-off 5m0s", restartCount=7)
    fake.failures["log"] = AccessDeniedError("pods/log is forbidden")
    found = result_of(capacity.capacity_is_allocatable, fake)
    assert found.cause == "nvidia-device-plugin on gpu-1 exits again and again: back-off 5m0s"


def test_a_plugin_pod_that_is_gone_is_why_a_node_offers_nothing() -> None:
    fake = cluster()
    status(fake, offers=0)
    fake.pod_objects[PLUGIN]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert result_of(capacity.capacity_is_allocatable, fake).cause == "no pod of nvidia-device-plugin is on gpu-1"


def test_a_plugin_pod_that_no_node_takes_tells_the_schedulers_reason() -> None:
    fake = cluster()
    status(fake, has=0, offers=0)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "untolerated taint"}
    fake.pod_objects[PLUGIN]["status"] = {"phase": "Pending", "conditions": [condition]}
    found = result_of(capacity.capacity_is_complete, fake)
    assert found.cause == f"pod {PLUGIN} on gpu-1 has not started: Unschedulable: untolerated taint"


def test_a_plugin_that_waits_without_a_gpu_is_ready_and_useless() -> None:
    fake = cluster()
    status(fake, has=0, offers=0)
    fake.logs[PLUGIN] = [STARTED, "I1125 03:00:01 1 main.go:394] No devices found. Waiting indefinitely."]
    found = result_of(capacity.capacity_is_complete, fake)
    assert found.cause == "the device plugin on gpu-1 found no GPU when it started, and will not try again"


def test_a_plugin_that_the_kubelet_does_not_know_is_told() -> None:
    fake = cluster()
    status(fake, has=0, offers=0)
    found = result_of(capacity.capacity_is_complete, fake)
    assert found.cause == "the device plugin on gpu-1 is ready, and the kubelet does not know it"


def test_what_is_wrong_with_a_node_is_told_without_the_right_to_read_pods() -> None:
    fake = cluster()
    status(fake, has=8, offers=7)
    fake.failures["pods"] = AccessDeniedError("pods is forbidden")
    for check in (capacity.capacity_is_allocatable, capacity.unhealthy_gpus_are_not_handed_out):
        found = result_of(check, fake)
        assert (found.outcome, "no pod" in found.cause) == (Outcome.FAIL, False)


def test_a_node_without_any_slice_has_none_to_offer() -> None:
    fake = cluster()
    status(fake, has=0, offers=0)
    assert result_of(capacity.capacity_is_allocatable, fake).outcome is Outcome.SKIP


def test_a_gpu_out_of_service_in_part_is_sick_as_a_whole_and_named_with_xid_and_pods() -> None:
    fake = cluster()
    status(fake, offers=7)
    fake.logs[PLUGIN] = [STARTED, XID.format(31, SECOND), STARTED, XID.format(79, FIRST), XID.format(46, FIRST)]
    user(fake, "mine", f"{FIRST}::0")
    user(fake, "other", f"{SECOND}::3")
    found = result_of(capacity.unhealthy_gpus_are_not_handed_out, fake)
    assert found.fact == "gpu-1 offers 7 of its 8 nvidia.com/gpu: new pods still get slices of an unhealthy GPU"
    assert found.cause == (
        f"the device plugin took a GPU out of service ({FIRST}: Xid 79 (the GPU has fallen off the bus)); "
        "1 pod on it: default/mine"
    )
    assert found.remedy == (
        "kubectl --context admin@lab drain gpu-1 --ignore-daemonsets --delete-emptydir-data && talosctl -n gpu-1 reboot"
    )


def test_an_xid_that_needs_no_reset_is_fixed_by_a_restart_of_the_plugin() -> None:
    fake = cluster()
    status(fake, offers=7)
    fake.logs[PLUGIN] = [STARTED, XID.format(46, FIRST)]
    found = result_of(capacity.capacity_is_allocatable, fake)
    assert found.cause == f"the device plugin took a GPU out of service ({FIRST}: Xid 46); no pod is on it"
    assert found.remedy == (
        "kubectl --context admin@lab delete pod -n gpu-device-plugin -l app.kubernetes.io/name=nvidia-device-plugin "
        "--field-selector spec.nodeName=gpu-1"
    )


def test_the_kubelet_names_a_sick_gpu_whose_xid_is_no_longer_in_the_log() -> None:
    fake = cluster()
    status(fake, offers=7)
    user(fake, "mine", f"{FIRST}::3", "Unhealthy")
    user(fake, "beside", f"{FIRST}::0")
    found = result_of(capacity.unhealthy_gpus_are_not_handed_out, fake)
    assert f"({FIRST}: the kubelet calls it unhealthy); 2 pods on it: default/mine, default/beside" in found.cause


def test_a_kubelet_that_reports_no_devices_is_said_to_be_one() -> None:
    fake = cluster()
    status(fake, offers=7)
    fake.logs[PLUGIN] = [STARTED, XID.format(46, FIRST)]
    user(fake, "mine")
    found = result_of(capacity.unhealthy_gpus_are_not_handed_out, fake)
    assert found.cause.endswith(
        "which pods are on it is not reported by the kubelet (feature gate ResourceHealthStatus)"
    )


def test_a_lost_gpu_takes_all_of_its_node_out_of_service() -> None:
    fake = cluster()
    status(fake, offers=0)
    line = "I1125 03:10:00 1 health.go:126] Error waiting for event: GPU is lost; Marking all devices as unhealthy"
    fake.logs[PLUGIN] = [STARTED, line, line]
    user(fake, "mine", f"{FIRST}::0", "Unhealthy")
    found = result_of(capacity.capacity_is_allocatable, fake)
    assert found.cause == (
        "the device plugin took a GPU out of service "
        "(every GPU of the node: Error waiting for event: GPU is lost); 1 pod on it: default/mine"
    )
    assert result_of(capacity.unhealthy_gpus_are_not_handed_out, fake).outcome is Outcome.PASS


def test_a_whole_gpu_out_of_service_is_not_handed_out() -> None:
    fake = cluster()
    status(fake, offers=4)
    assert result_of(capacity.unhealthy_gpus_are_not_handed_out, fake).outcome is Outcome.PASS
    assert result_of(capacity.capacity_is_allocatable, fake).outcome is Outcome.FAIL


def test_gpus_under_two_names_count_twice() -> None:
    fake = cluster()
    status(fake, 8, 8, SHARED)
    found = result_of(capacity.gpus_have_one_name, fake)
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "gpu-1 offers 8 nvidia.com/gpu.shared beside nvidia.com/gpu: its GPUs count twice",
    )
    assert result_of(capacity.no_name_is_left_over, fake).outcome is Outcome.PASS


def test_a_name_that_nobody_serves_any_more_is_pointed_out() -> None:
    fake = healthy(settings_of(renameByDefault=True))
    status(fake, 0, 0, GPU)
    found = result_of(capacity.no_name_is_left_over, fake, renameByDefault=True)
    assert (found.outcome, found.fact) == (Outcome.FAIL, "gpu-1 still lists nvidia.com/gpu, which nobody serves")
    assert result_of(capacity.gpus_have_one_name, fake, renameByDefault=True).outcome is Outcome.PASS


def test_slices_that_are_too_small_for_a_cuda_program_are_pointed_out() -> None:
    found = result_of(capacity.slices_have_memory, cluster(), slices=64)
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "gpu-1 has 384 MiB of GPU memory per slice on average",
    )


def test_a_slice_of_exactly_one_gibibyte_is_enough() -> None:
    """24576 MiB in 24 slices."""
    fake = healthy(settings_of(slices=24), {"gpu-1": 48, "gpu-2": 24})
    assert result_of(capacity.slices_have_memory, fake, slices=24).outcome is Outcome.PASS


def test_what_the_driver_keeps_of_the_memory_makes_no_other_board() -> None:
    def both(memory: int) -> list[str]:
        board = "NVIDIA GeForce RTX 3090"
        return [look(gpu, index, board, mem_total_mib=memory) for index, gpu in enumerate((FIRST, SECOND))]

    fake = cluster()
    reports(fake, "gpu-1", both(23500))
    assert result_of(capacity.slices_have_memory, fake).fact == "gpu-1 has 5875 MiB of GPU memory per slice on average"
    reports(fake, "gpu-1", both(20480))
    assert result_of(capacity.slices_have_memory, fake).fact == (
        "gpu-1 has 5120 MiB of GPU memory per slice on average, as its GPUs report, and not the 6144 of the stack "
        "file's model"
    )


def test_the_stacks_own_resource_is_not_retired_while_its_plugin_is_away() -> None:
    fake = cluster()
    status(fake, offers=0)
    assert result_of(capacity.no_name_is_left_over, fake).outcome is Outcome.PASS


def test_a_capacity_that_the_gpus_do_not_divide_is_like_nothing() -> None:
    fake = cluster()
    status(fake, has=7, offers=7)
    assert result_of(capacity.capacity_is_complete, fake).fact == (
        "gpu-1 has 7 nvidia.com/gpu instead of 8 (2 GPUs with 4 slices each)"
    )


def test_the_memory_that_a_gpu_reports_counts_and_not_that_of_its_name() -> None:
    """Boards of one name come with 8 and with 16 GB."""
    nodes = [{"name": "gpu-1", "gpu": "rtx-4060-ti", "count": 1, "slices": 10}]
    keys: dict[str, Any] = {"nodes": nodes, "powerLimit": 150}
    fake = healthy(settings_of(**keys))
    assert result_of(capacity.slices_have_memory, fake, **keys).fact == (
        "gpu-1 has 818 MiB of GPU memory per slice on average"
    )
    reports(fake, "gpu-1", [look(FIRST, 0, "NVIDIA GeForce RTX 4060 Ti", mem_total_mib=16380)])
    found = result_of(capacity.slices_have_memory, fake, **keys)
    assert (found.outcome, found.fact) == (
        Outcome.PASS,
        "gpu-1 has 1638 MiB of GPU memory per slice on average, as its GPUs report, and not the 818 of the stack "
        "file's model",
    )


def test_the_memory_that_a_gpu_reports_is_known_of_a_model_that_nobody_knows() -> None:
    nodes = [{"name": "gpu-1", "gpu": "a-model-of-tomorrow", "count": 1}]
    fake = healthy(settings_of(nodes=nodes))
    reports(fake, "gpu-1", [look(FIRST, 0, "NVIDIA GeForce RTX 6090", mem_total_mib=2048)])
    found = result_of(capacity.slices_have_memory, fake, nodes=nodes)
    assert (found.outcome, found.fact) == (Outcome.FAIL, "gpu-1 has 512 MiB of GPU memory per slice on average")


def test_the_memory_of_a_model_that_nobody_knows_is_not_guessed() -> None:
    nodes = [{"name": "gpu-1", "gpu": "a-model-of-tomorrow", "count": 1}]
    assert result_of(capacity.slices_have_memory, cluster(), nodes=nodes).outcome is Outcome.SKIP


def test_the_plugin_of_a_node_with_a_profile_of_its_own_is_named_by_it_where_it_has_no_pod() -> None:
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "slices": 8},
        {"name": "gpu-2", "gpu": "rtx-4090", "count": 1},
    ]
    fake = healthy(settings_of(nodes=nodes))
    status(fake, has=17)
    fake.failures["pods"] = AccessDeniedError("pods is forbidden")
    found = result_of(capacity.capacity_is_allocatable, fake, nodes=nodes)
    assert found.remedy == (
        "kubectl --context admin@lab logs -n gpu-device-plugin daemonset/nvidia-device-plugin-gpu-1"
    )


@pytest.mark.parametrize(
    ("node", "config", "offered"),
    [
        ("gpu-1", {}, 8),
        ("gpu-2", {}, 4),
        ("gpu-1", {"slices": 1}, 2),
        ("gpu-1", {"slices": 6}, 12),
        ("gpu-2", {"nodes": [{"name": "gpu-2", "gpu": "rtx-4090", "count": 3, "slices": 5}]}, 15),
        (
            "gpu-1",
            {"nodes": [{"name": "gpu-1", "gpus": {"rtx-3090": 1, "rtx-4090": 2}}]},
            12,
        ),
    ],
)
def test_a_node_must_have_what_its_gpus_and_slices_make(node: str, config: dict[str, Any], offered: int) -> None:
    fake = FakeCluster()
    fake.add_node(node, None, **{GPU: offered})
    assert result_of(capacity.capacity_is_complete, fake, node, **config).outcome is Outcome.PASS
    fake.add_node(node, None, **{GPU: offered + 1})
    assert result_of(capacity.capacity_is_complete, fake, node, **config).outcome is Outcome.FAIL


@pytest.mark.parametrize("resource", ["nvidia.com/gpu.shared", "nvidia.com/gpu-3090", "nvidia.com/mig-2g.20gb.shared"])
def test_every_name_that_device_plugins_of_nvidia_give_to_a_gpu_is_one(resource: str) -> None:
    fake = cluster()
    status(fake, 6, 6, resource)
    assert result_of(capacity.gpus_have_one_name, fake).outcome is Outcome.FAIL


def test_what_others_served_is_not_put_down_to_the_stacks_own_names() -> None:
    fake = cluster()
    status(fake, 0, 0, "amd.com/gpu")
    found = result_of(capacity.no_name_is_left_over, fake)
    assert (found.fact, found.cause) == (
        "gpu-1 still lists amd.com/gpu, which nobody serves",
        "what served it is gone, and the kubelet keeps the name, at 0",
    )


def test_a_resource_of_a_gpu_in_parts_beside_the_stacks_is_a_second_name() -> None:
    """Left over from MIG: pods land there, and fail."""
    fake = cluster()
    status(fake, 6, 6, "nvidia.com/mig-1g.10gb")
    found = result_of(capacity.gpus_have_one_name, fake)
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "gpu-1 offers 6 nvidia.com/mig-1g.10gb beside nvidia.com/gpu: its GPUs count twice",
    )
    assert result_of(capacity.no_resource_is_unknown, fake).outcome is Outcome.PASS


@pytest.mark.parametrize(
    "resource",
    [
        "amd.com/gpu",
        "gpu.intel.com/i915",
        "nvidia.com/hostdev",
        "nvidia.com/gpumem",
        "nvidia.com/gpucores",
        "nvidia.com/gpumem-percentage",
        "nvidia.com/GA102_GEFORCE_RTX_3090",
    ],
)
def test_a_resource_of_a_gpu_vendor_that_the_stack_does_not_know_is_pointed_out(resource: str) -> None:
    fake = cluster()
    status(fake, 1, 1, resource)
    found = result_of(capacity.no_resource_is_unknown, fake)
    assert (found.outcome, found.fact) == (Outcome.FAIL, f"gpu-1 offers 1 {resource}, which the stack does not know")
    assert result_of(capacity.gpus_have_one_name, fake).outcome is Outcome.PASS


def test_a_plugin_that_has_loaded_other_slices_is_the_reason_for_another_capacity() -> None:
    """As if 4 GPUs were there, were it not for what the plugin says of itself."""
    fake = cluster()
    status(fake, has=16, offers=16)
    loaded = {"sharing": {"timeSlicing": {"resources": [{"name": GPU, "replicas": 8}]}}}
    fake.logs[PLUGIN] = ["Running with config:", *json.dumps(loaded, indent=2).splitlines(), STARTED]
    found = result_of(capacity.capacity_is_complete, fake)
    assert found.fact == "gpu-1 has 16 nvidia.com/gpu instead of 8 (2 GPUs with 4 slices each)"
    assert found.cause == "the device plugin on gpu-1 runs with 8 slices per GPU"
    assert found.remedy == (
        "kubectl --context admin@lab rollout restart -n gpu-device-plugin daemonset/nvidia-device-plugin"
    )


def test_no_slices_of_an_unhealthy_gpu_are_handed_out_by_a_node_that_offers_none() -> None:
    fake = cluster()
    status(fake, has=7, offers=0)
    assert result_of(capacity.unhealthy_gpus_are_not_handed_out, fake).outcome is Outcome.PASS


def test_a_lost_gpu_that_is_back_needs_no_reboot() -> None:
    """The plugin does not try again by itself, and its pod's end touches no pod with a slice."""
    fake = answering(settings_of())
    status(fake, offers=0)
    fake.logs[PLUGIN] = [STARTED, "Error waiting for event: GPU is lost; Marking all devices as unhealthy"]
    found = result_of(capacity.capacity_is_allocatable, fake)
    assert found.cause == (
        "the device plugin took every GPU of gpu-1 out of service (Error waiting for event: GPU is lost); "
        "all of them answer again, and the plugin's supervisor will try them, or this does at once; no pod is on it"
    )
    assert found.remedy == (
        "kubectl --context admin@lab delete pod -n gpu-device-plugin -l app.kubernetes.io/name=nvidia-device-plugin "
        "--field-selector spec.nodeName=gpu-1"
    )


def test_a_gpu_that_is_still_lost_needs_a_reboot() -> None:
    fake = answering(settings_of())
    status(fake, offers=0)
    fake.logs[PLUGIN] = [STARTED, "Error waiting for event: GPU is lost; Marking all devices as unhealthy"]
    reports(fake, "gpu-1", [look(uuid_of("gpu-1", 0), 0, "NVIDIA GeForce RTX 3090")], "missing expected=2 found=1")
    assert result_of(capacity.capacity_is_allocatable, fake).remedy.endswith("talosctl -n gpu-1 reboot")
