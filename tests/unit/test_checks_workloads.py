"""Pods that use GPUs: refused, greedy, uninvited, waiting."""

from typing import Any

import pytest

from gpuctl.checks import workloads
from gpuctl.checks.model import Check, Outcome, Result, Subject
from tests.fixtures.checks import context_of, results_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.knowledge import unnoticed

GPU = "nvidia.com/gpu"
KUBECTL = "kubectl --context admin@lab"


def cluster() -> FakeCluster:
    return healthy(settings_of())


def only(check: Check, fake: FakeCluster, **config: object) -> Result:
    (found,) = results_of(check, context_of(fake, settings_of(**config)))
    return found


def refused(fake: FakeCluster, name: str, message: str, **limits: int) -> None:
    """A pod that the kubelet of gpu-1 did not take; it asked for a slice, unless for something else."""
    message = f"Pod was rejected: Allocate failed due to {message}, which is unexpected"
    fake.add_pod(name, "gpu-1", "default", **(limits or {GPU: 1}))["status"] = {
        "phase": "Failed",
        "reason": "UnexpectedAdmissionError",
        "message": message,
    }


def pending(fake: FakeCluster, name: str, resource: str = GPU) -> dict[str, Any]:
    """A pod that finds no node."""
    pod = fake.add_pod(name, "", "default", **{resource: 1})
    message = f"0/3 nodes are available: 3 Insufficient {resource}."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    pod["status"] = {"phase": "Pending", "conditions": [condition]}
    return pod


def uninvited(fake: FakeCluster, runtime_class: str | None = None, **env: str) -> dict[str, Any]:
    """A pod on gpu-1 that asks for no GPU."""
    pod = fake.add_pod("notebook", "gpu-1")
    pod["spec"]["containers"][0]["env"] = [{"name": name, "value": value} for name, value in env.items()]
    if runtime_class:
        pod["spec"]["runtimeClassName"] = runtime_class
    return pod


@pytest.mark.parametrize("check", workloads.CHECKS, ids=lambda check: check.id)
def test_a_healthy_cluster_with_a_pod_on_a_slice_passes(check: Check) -> None:
    fake = cluster()
    pod = fake.add_pod("trainer", "gpu-1", "default", **{GPU: 1})
    pod["spec"]["runtimeClassName"] = "nvidia"
    assert {found.outcome for found in results_of(check, context_of(fake))} == {Outcome.PASS}


REFUSALS = [
    (
        "cannot allocate unregistered device nvidia.com/gpu",
        "cannot allocate unregistered device",
        "the pod came before the device plugin had registered, as after a reboot",
    ),
    (
        "no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu",
        "no healthy devices present",
        "every GPU of the node was out of service",
    ),
    (
        "previously allocated devices are no longer healthy; cannot allocate unhealthy devices nvidia.com/gpu",
        "previously allocated devices are no longer healthy",
        "the GPU that the pod had was out of service",
    ),
    (
        "requested number of devices unavailable for nvidia.com/gpu. Requested: 1, Available: 0",
        "requested number of devices unavailable",
        "the scheduler did not know yet that the slice was gone",
    ),
    (
        "rpc error: code = Unknown desc = request for 'nvidia.com/gpu: 2' too large: "
        "maximum request size for shared resources is 1",
        "maximum request size for shared resources",
        "the pod asks for several slices, and the device plugin refuses that",
    ),
    (
        "Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 0, capacity: 0",
        "Node didn't have enough resource",
        "the scheduler did not know yet that the slice was taken or not offered",
    ),
]


def _is_explained(message: str, said: str, cause: str) -> None:
    fake = cluster()
    refused(fake, "share-1", message)
    assert only(workloads.no_pod_was_refused, fake) == Result(
        Outcome.FAIL,
        f"1 pod in default was refused on gpu-1: share-1 ({said})",
        Subject("gpu-1"),
        f"{KUBECTL} delete pod -n default share-1",
        cause,
    )


@pytest.mark.parametrize(("message", "said", "cause"), REFUSALS)
def test_what_the_kubelet_says_of_a_pod_it_refuses_is_explained(message: str, said: str, cause: str) -> None:
    _is_explained(message, said, cause)


def test_no_phrase_of_the_kubelet_can_be_forgotten() -> None:
    table = workloads._REFUSALS  # pyright: ignore[reportPrivateUsage]
    assert unnoticed(table, {row[1]: lambda row=row: _is_explained(*row) for row in REFUSALS}) == []


def test_words_of_the_kubelet_that_are_new_are_told_as_they_are() -> None:
    fake = cluster()
    refused(fake, "share-1", "something new about nvidia.com/gpu")
    assert "something new about nvidia.com/gpu" in only(workloads.no_pod_was_refused, fake).fact


def test_a_refused_pod_that_names_no_node_is_told_without_one() -> None:
    fake = cluster()
    refused(fake, "share-1", "cannot allocate unregistered device nvidia.com/gpu")
    fake.pod_objects["share-1"]["spec"].pop("nodeName")
    assert only(workloads.no_pod_was_refused, fake).fact.startswith("1 pod in default was refused: share-1 (")


def test_many_pods_refused_for_one_reason_are_one_finding() -> None:
    fake = cluster()
    for number in range(12):
        refused(fake, f"share-{number}", "cannot allocate unregistered device nvidia.com/gpu")
    fact = only(workloads.no_pod_was_refused, fake).fact
    assert fact.startswith("12 pods in default were refused on gpu-1: share-0, share-1, share-2 and 9 more (")


def test_a_pod_that_was_refused_for_another_resource_is_none_of_ours() -> None:
    fake = cluster()
    nic = {"example.com/nic": 1}
    refused(fake, "nic", "cannot allocate unregistered device example.com/nic", **nic)
    refused(fake, "both", "cannot allocate unregistered device example.com/nic", **{GPU: 1}, **nic)
    assert only(workloads.no_pod_was_refused, fake).outcome is Outcome.PASS


def test_a_refusal_that_does_not_name_the_resource_is_known_by_what_the_pod_asks_for() -> None:
    """Hundreds of pods were refused so by one node that looked healthy."""
    fake = cluster()
    message = "device plugin GetPreferredAllocation rpc failed with err: failed to get nvlink state: GPU is lost"
    refused(fake, "trainer-1", message)
    found = only(workloads.no_pod_was_refused, fake)
    assert (found.outcome, found.subject) == (Outcome.FAIL, "gpu-1")
    assert message in found.fact


def test_a_pod_whose_init_container_asks_for_the_gpu_was_refused_because_of_it() -> None:
    fake = cluster()
    pod = fake.add_pod("trainer-1", "gpu-1", "default", **{GPU: 1})
    message = "Pod was rejected: Allocate failed due to no healthy devices present, which is unexpected"
    pod["status"] = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": message}
    pod["spec"] |= {"initContainers": pod["spec"]["containers"], "containers": [{"name": "main", "image": "main"}]}
    assert only(workloads.no_pod_was_refused, fake).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("resource", "outcome"),
    [("nvidia.com/gpu", Outcome.FAIL), ("cpu", Outcome.PASS), ("example.com/nic", Outcome.PASS)],
)
def test_a_pod_for_which_the_node_had_too_few_gpus_was_refused_because_of_them(resource: str, outcome: Outcome) -> None:
    fake = cluster()
    fake.add_pod("trainer-1", "gpu-1", "default", **{GPU: 1})["status"] = {
        "phase": "Failed",
        "reason": f"OutOf{resource}",
        "message": f"Node didn't have enough resource: {resource}, requested: 1, used: 0, capacity: 0",
    }
    assert only(workloads.no_pod_was_refused, fake).outcome is outcome


def test_more_pods_than_slices_are_pointed_out() -> None:
    """The slices were made fewer, and the kubelet takes nothing from a pod that runs."""
    fake = cluster()
    for number in range(9):
        fake.add_pod(f"share-{number}", "gpu-1", "default", **{GPU: 1})
    found = next(
        each for each in results_of(workloads.no_node_is_overfull, context_of(fake)) if each.subject == "gpu-1"
    )
    assert (found.outcome, found.fact) == (Outcome.FAIL, "pods on gpu-1 hold 9 nvidia.com/gpu, and it has 8")
    assert found.remedy == "gpuctl status --stack lab"


def test_a_pod_with_two_slices_is_pointed_out() -> None:
    fake = cluster()
    fake.add_pod("trainer", "gpu-1", "default", **{GPU: 2})
    found = only(workloads.no_pod_takes_several_slices, fake)
    assert (found.outcome, found.fact) == (Outcome.FAIL, "1 pod in default takes several slices on gpu-1: trainer")


def test_two_whole_gpus_are_no_slices() -> None:
    fake = healthy(settings_of(slices=1))
    fake.add_pod("trainer", "gpu-1", "default", **{GPU: 2})
    assert only(workloads.no_pod_takes_several_slices, fake, slices=1).outcome is Outcome.PASS


def test_a_pod_that_makes_all_gpus_visible_without_asking_is_pointed_out() -> None:
    fake = cluster()
    uninvited(fake, NVIDIA_VISIBLE_DEVICES="all")
    found = only(workloads.no_pod_sees_gpus_unasked, fake)
    assert (found.outcome, found.subject) == (Outcome.FAIL, "gpu-1")
    assert found.fact == "1 pod in default on gpu-1 sets NVIDIA_VISIBLE_DEVICES without asking for a GPU: notebook"


def test_an_init_container_can_make_gpus_visible_too() -> None:
    fake = cluster()
    env = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
    uninvited(fake)["spec"]["initContainers"] = [{"name": "first", "env": env}]
    assert only(workloads.no_pod_sees_gpus_unasked, fake).outcome is Outcome.FAIL


def test_a_pod_under_the_nvidia_runtime_without_a_request_is_pointed_out() -> None:
    fake = cluster()
    uninvited(fake, "nvidia")
    assert "on gpu-1 runs under RuntimeClass nvidia without" in only(workloads.no_pod_sees_gpus_unasked, fake).fact


@pytest.mark.parametrize("value", ["void", "none", ""])
def test_a_pod_that_hides_the_gpus_from_itself_sees_none(value: str) -> None:
    fake = cluster()
    uninvited(fake, "nvidia", NVIDIA_VISIBLE_DEVICES=value)
    assert only(workloads.no_pod_sees_gpus_unasked, fake).outcome is Outcome.PASS


def test_a_daemon_set_may_see_all_gpus() -> None:
    fake = cluster()
    exporter = uninvited(fake, "nvidia", NVIDIA_VISIBLE_DEVICES="all")
    exporter["metadata"]["ownerReferences"] = [{"kind": "DaemonSet", "name": "exporter"}]
    assert only(workloads.no_pod_sees_gpus_unasked, fake).outcome is Outcome.PASS


def test_a_pod_that_is_over_sees_nothing() -> None:
    fake = cluster()
    uninvited(fake, "nvidia")["status"]["phase"] = "Succeeded"
    assert only(workloads.no_pod_sees_gpus_unasked, fake).outcome is Outcome.PASS


def test_a_pod_that_waits_while_slices_are_free_is_pointed_out_with_the_schedulers_words() -> None:
    fake = cluster()
    fake.add_pod("trainer", "gpu-1", "default", **{GPU: 5})
    fake.node_objects["gpu-2"]["spec"]["unschedulable"] = True
    pending(fake, "share-9")
    found = only(workloads.no_pod_waits_for_nothing, fake)
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "1 pod waits for nvidia.com/gpu although gpu-1 has 3 slices free: default/share-9",
    )
    assert found.cause == "the scheduler says: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    assert found.remedy == f"{KUBECTL} describe pod -n default share-9"


def test_a_pod_that_waits_in_a_full_cluster_is_as_it_should_be() -> None:
    fake = cluster()
    fake.add_pod("trainer", "gpu-1", "default", **{GPU: 8})
    fake.add_pod("another", "gpu-2", "default", **{GPU: 4})
    fake.add_pod("over", "gpu-2", "default", **{GPU: 4})["status"]["phase"] = "Succeeded"
    pending(fake, "share-9")
    found = only(workloads.no_pod_waits_for_nothing, fake)
    assert (found.outcome, found.fact) == (Outcome.PASS, "1 pod waits for nvidia.com/gpu, and every slice is taken")


def test_slices_of_a_node_that_is_not_ready_are_not_free() -> None:
    fake = cluster()
    fake.node_objects["gpu-1"]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    assert only(workloads.no_pod_waits_for_nothing, fake).fact == "no pod waits for nvidia.com/gpu; 4 slices free"


def test_free_slices_are_counted() -> None:
    fake = cluster()
    fake.add_pod("trainer", "gpu-1", "default", **{GPU: 3})
    fake.add_pod("over", "gpu-1", "default", **{GPU: 3})["status"]["phase"] = "Failed"
    assert only(workloads.no_pod_waits_for_nothing, fake).fact == "no pod waits for nvidia.com/gpu; 9 slices free"


def test_a_pod_that_asks_by_the_other_name_waits_for_ever() -> None:
    fake = cluster()
    pending(fake, "share-9", "nvidia.com/gpu.shared")
    found = only(workloads.no_pod_asks_by_another_name, fake)
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "1 pod waits for nvidia.com/gpu.shared, and the stack offers nvidia.com/gpu: default/share-9",
    )
