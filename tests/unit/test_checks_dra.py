"""Nodes of the DRA driver: each trap of it has a check that names it."""

from typing import Any

import pytest

from gpuctl.checks import capacity, dra, gpu_stack, workloads
from gpuctl.checks.context import Context
from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.checks.registry import CHECKS
from gpuctl.checks.runner import run
from gpuctl.checks.sharing import one_more_pod_waits
from gpuctl.desired.desired import desired_state
from gpuctl.plan.consequences import consequences
from gpuctl.preflight.refusals import refusals, see
from gpuctl.settings import Settings
from gpuctl.sharing.record import ExtraPod, Record
from gpuctl.status.rows import status
from tests.fixtures.checks import FakePrograms, context_of, results_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, claim, healthy, resource_slice, uuid_on

GPU = "nvidia.com/gpu"
SLICE = ("ResourceSlice", None, "gpu-1-gpu.nvidia.com")
FIRST, SECOND = uuid_on("gpu-1", 0), uuid_on("gpu-1", 1)


def _dra(**keys: Any) -> Settings:
    """gpu-1 has 2 GPUs, gpu-2 has 1; 4 slices each, all by the driver."""
    return settings_of(backend="dra", **keys)


def _mixed() -> Settings:
    nodes: list[dict[str, Any]] = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "backend": "dra"},
        {"name": "gpu-2", "gpu": "rtx-4090", "count": 1},
    ]
    return settings_of(nodes=nodes)


@pytest.fixture
def cluster() -> FakeCluster:
    found = healthy(_dra())
    found.server_version = "v1.36.4"
    return found


def _found(check: Check, cluster: FakeCluster, node: str = "gpu-1", settings: Settings | None = None) -> Result:
    found = results_of(check, context_of(cluster, settings or _dra()))
    (result,) = [each for each in found if each.subject == node] or found[:1]
    return result


def _device(cluster: FakeCluster, index: int) -> dict[str, Any]:
    return cluster.objects[SLICE]["spec"]["devices"][index]


def _user(cluster: FakeCluster, name: str, *gpus: int, shares: int = 1, **spec: Any) -> None:
    cluster.add_pod(name, "gpu-1", "default", **{GPU: len(gpus)})["spec"] |= spec
    claim(cluster, name, "gpu-1", *gpus, shares=shares)


def _waiting(cluster: FakeCluster, name: str, gpus: int = 1, **spec: Any) -> None:
    pod = cluster.add_pod(name, "", "default", **{GPU: gpus})
    pod["spec"] |= spec
    message = "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: 0/1 nodes"
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    pod["status"] = {"phase": "Pending", "conditions": [said]}


@pytest.mark.parametrize("settings", [_dra(), _mixed()], ids=["dra", "mixed"])
def test_a_healthy_cluster_fails_no_check(settings: Settings) -> None:
    cluster = healthy(settings)
    cluster.server_version = "v1.36.4"
    checks = [check for check in CHECKS if check.id[:3] in ("NOD", "STK", "CAP", "POD")]
    report = run(checks, context_of(cluster, settings), lambda _: None)
    bad = [(entry.check.id, each.fact) for entry in report.entries if entry.is_bad for each in entry.results]
    assert bad == []


def test_capacity_is_read_in_the_slice_and_not_in_the_nodes_status(cluster: FakeCluster) -> None:
    assert GPU not in cluster.node_objects["gpu-1"]["status"]["capacity"]
    found = _found(capacity.capacity_is_complete, cluster)
    assert found.fact == "gpu-1 has 8 nvidia.com/gpu (2 GPUs with 4 slices each)"


def test_whole_gpus_have_no_shares_in_their_slice() -> None:
    cluster = healthy(_dra(slices=1))
    found = _found(capacity.capacity_is_complete, cluster, settings=_dra(slices=1))
    assert found.fact == "gpu-1 has 2 nvidia.com/gpu (2 GPUs with 1 slice each)"


def test_a_driver_that_is_ready_without_a_slice_is_not_believed(cluster: FakeCluster) -> None:
    del cluster.objects[SLICE]
    found = _found(capacity.capacity_is_complete, cluster)
    assert found.outcome is Outcome.FAIL
    assert found.fact == "gpu-1 has 0 nvidia.com/gpu instead of 8 (2 GPUs with 4 slices each)"
    assert "is Ready and has published no ResourceSlice" in found.cause
    assert found.remedy == "kubectl --context admin@lab logs -n gpu-device-plugin nvidia-dra-driver-gpu-1"


def test_a_slice_that_was_refused_or_is_older_than_the_rollout_is_named(cluster: FakeCluster) -> None:
    cluster.add(resource_slice("gpu-1", 2, 6))
    found = _found(capacity.capacity_is_complete, cluster)
    assert found.cause == (
        "the DRA driver on gpu-1 has 6 shares per GPU in its ResourceSlice: the API server refuses a newer one (422 in "
        "its log), or the rollout has not come to it"
    )


def test_a_lost_gpu_is_a_device_less(cluster: FakeCluster) -> None:
    cluster.add(resource_slice("gpu-1", 1, 4))
    found = _found(capacity.capacity_is_complete, cluster)
    assert "a GPU is lost, or the stack file's count is too high: the ResourceSlice of gpu-1 has 1 GPU" in found.cause


def test_of_a_pool_the_newest_generation_counts(cluster: FakeCluster) -> None:
    old = resource_slice("gpu-1", 2, 6)
    old["metadata"]["name"] = "older"
    cluster.objects[SLICE]["spec"]["pool"]["generation"] = 2
    cluster.add(old)
    assert _found(capacity.capacity_is_complete, cluster).outcome is Outcome.PASS


def test_a_sick_gpu_is_known_by_its_taint_and_who_is_on_it(cluster: FakeCluster) -> None:
    _user(cluster, "trainer", 1)
    _device(cluster, 1)["taints"] = [{"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoSchedule"}]
    found = _found(capacity.capacity_is_allocatable, cluster)
    assert found.fact == "gpu-1 offers 4 of its 8 nvidia.com/gpu"
    assert f"has tainted a GPU ({SECOND}: gpu.nvidia.com/xid=79)" in found.cause
    assert "1 pod on it: default/trainer" in found.cause
    assert found.remedy.startswith("kubectl --context admin@lab drain gpu-1")
    assert _found(capacity.unhealthy_gpus_are_not_handed_out, cluster).outcome is Outcome.PASS


def test_a_sick_gpu_that_is_the_only_one_leaves_none_for_new_pods(cluster: FakeCluster) -> None:
    taint = {"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoSchedule"}
    cluster.objects["ResourceSlice", None, "gpu-2-gpu.nvidia.com"]["spec"]["devices"][0]["taints"] = [taint]
    found = _found(capacity.capacity_is_allocatable, cluster, "gpu-2")
    assert found.cause.endswith("no pod is on it; new pods find none there")


def test_a_taint_takes_a_whole_gpu_with_however_many_shares(cluster: FakeCluster) -> None:
    """While a change of the slices is on its way, what is left is no multiple of the new ones."""
    cluster.add(resource_slice("gpu-1", 2, 6))
    _device(cluster, 1)["taints"] = [{"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoSchedule"}]
    assert _found(capacity.unhealthy_gpus_are_not_handed_out, cluster).outcome is Outcome.PASS


def test_who_is_on_which_gpu_is_read_in_the_claims(cluster: FakeCluster) -> None:
    for name, gpu in (("a", 0), ("b", 0), ("c", 1)):
        _user(cluster, name, gpu)
    users = context_of(cluster, _dra()).users
    assert {pod.name: pod.devices(GPU)[0].resource_id for pod in users["gpu-1"]} == {
        "a": f"{FIRST}::0",
        "b": f"{FIRST}::0",
        "c": f"{SECOND}::0",
    }
    (row, _) = status(desired_state(_dra(powerManagement=False)), users, {}).rows
    assert (row.used, row.slices, row.users) == (3, 8, ("default/a", "default/b", "default/c"))


def test_a_claim_for_several_shares_counts_as_what_it_consumes(cluster: FakeCluster) -> None:
    _user(cluster, "trainer", 0, shares=3)
    found = _found(workloads.no_node_is_overfull, cluster)
    assert found.fact == "pods on gpu-1 hold 3 of its 8 nvidia.com/gpu"
    assert _found(workloads.no_pod_takes_several_slices, cluster).outcome is Outcome.FAIL


class TestPending:
    def test_a_pod_that_waits_behind_full_gpus_is_as_it_should_be(self, cluster: FakeCluster) -> None:
        for number in range(8):
            _user(cluster, f"gpu1-{number}", number // 4)
        for number in range(4):
            cluster.add_pod(f"gpu2-{number}", "gpu-2", "default", **{GPU: 1})
            claim(cluster, f"gpu2-{number}", "gpu-2", 0)
        _waiting(cluster, "ninth")
        assert _found(workloads.no_pod_waits_for_nothing, cluster).fact == (
            "1 pod waits for nvidia.com/gpu, and every slice is taken"
        )

    def test_three_gpus_on_nodes_of_two_wait_for_ever(self, cluster: FakeCluster) -> None:
        """`limits: 3` are three GPUs, not three slices, of which there are enough."""
        _waiting(cluster, "three", gpus=3)
        found = _found(workloads.no_pod_waits_for_nothing, cluster)
        assert "1 cannot allocate all claims" in found.cause
        assert "with backend dra 3 nvidia.com/gpu are of 3 GPUs of one node, which have 2 at most" in found.cause

    def test_two_gpus_wait_where_one_of_them_is_full(self, cluster: FakeCluster) -> None:
        _user(cluster, "batch", 0, shares=4)
        _waiting(cluster, "two", gpus=2)
        found = _found(workloads.no_pod_waits_for_nothing, cluster)
        assert "with backend dra 2 nvidia.com/gpu are of 2 GPUs of one node, which have 2 at most" in found.cause

    def test_on_a_device_plugins_node_a_gpu_has_several_slices_for_one_pod(self) -> None:
        cluster = healthy(_mixed())
        _user(cluster, "batch", 0, 1, shares=4)
        _waiting(cluster, "two", gpus=2)
        found = _found(workloads.no_pod_waits_for_nothing, cluster, settings=_mixed())
        assert found.fact == "1 pod waits for nvidia.com/gpu although gpu-2 has 4 slices free: default/two"
        assert "backend dra" not in found.cause

    def test_a_higher_priority_preempts_nobody(self, cluster: FakeCluster) -> None:
        _user(cluster, "batch", 0, 1, shares=4, priority=0)
        _waiting(cluster, "urgent", priority=1000)
        found = _found(dra.priority_is_heeded, cluster)
        assert found.fact == (
            "default/urgent (priority 1000) waits, and pods of lower priority have slices on gpu-1: default/batch"
        )
        assert found.remedy == "kubectl --context admin@lab delete pod -n default batch"

    def test_a_pod_that_waits_for_something_else_is_not_behind_others(self, cluster: FakeCluster) -> None:
        """With slices free, or on a node that takes no pods, it would not help it to delete another."""
        _user(cluster, "batch", 0, priority=0)
        _waiting(cluster, "urgent", priority=1000)
        assert _found(dra.priority_is_heeded, cluster).outcome is Outcome.PASS
        claim(cluster, "batch", "gpu-1", 0, 1, shares=4)
        cluster.node_objects["gpu-1"]["spec"]["unschedulable"] = True
        assert _found(dra.priority_is_heeded, cluster).outcome is Outcome.PASS

    def test_the_extra_pod_of_the_proof_may_wait_in_the_words_for_claims(self, cluster: FakeCluster) -> None:
        def judged(message: str) -> Outcome:
            extra = ExtraPod("one-more", "Pending", message, 5, "", (), GPU)
            record = Record("1", "ns", "admin@lab", "v1.36.4", GPU, "", "", extras=(extra,))

            def prove(*_: object) -> Record:
                return record

            context = Context("lab", _dra, lambda _: cluster, FakePrograms(), prove)
            (found,) = results_of(one_more_pod_waits, context)
            return found.outcome

        assert judged("0/1 nodes are available: 1 cannot allocate all claims.") is Outcome.PASS
        assert judged("0/1 nodes are available: 1 node(s) had untolerated taints.") is Outcome.FAIL


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("failed to create: unresolvable CDI devices k8s.gpu.nvidia.com/claim=x", "/run/cdi was emptied"),
        (
            "endpoint not found in cache for a registered resource: nvidia.com/gpu",
            "the kubelet's checkpoint still has pods of the device plugin",
        ),
    ],
)
def test_a_container_that_does_not_get_its_gpu_says_why(cluster: FakeCluster, message: str, cause: str) -> None:
    _user(cluster, "share-3", 0)
    state = {"waiting": {"reason": "CreateContainerError", "message": message}}
    unready = {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [{"state": state}]}
    cluster.pod_objects["share-3"]["status"] |= unready
    found = _found(dra.pods_get_the_gpus_of_their_claims, cluster)
    assert found.fact.startswith("1 pod in default does not get the GPU on gpu-1: share-3 (")
    assert cause in found.cause


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("claim x: gpu-0 already allocated to different claim y", "from before it was whole"),
        ("claim x: invalid CDI Spec: invalid device, empty device edits", "gpu:driverRoot is another folder"),
    ],
)
def test_a_pod_without_containers_yet_is_judged_by_its_events(cluster: FakeCluster, message: str, cause: str) -> None:
    _unprepared(cluster, message, uid="uid-share-3")
    assert cause in _found(dra.pods_get_the_gpus_of_their_claims, cluster).cause


def test_events_of_an_earlier_pod_of_the_same_name_say_nothing_of_it(cluster: FakeCluster) -> None:
    """As of a StatefulSet, or in another namespace."""
    _unprepared(cluster, "claim x: gpu-0 already allocated to different claim y", uid="uid-of-the-one-before")
    assert _found(dra.pods_get_the_gpus_of_their_claims, cluster).outcome is Outcome.PASS


def _unprepared(cluster: FakeCluster, message: str, uid: str) -> None:
    _user(cluster, "share-3", 0)
    cluster.pod_objects["share-3"]["status"] = {"phase": "Pending", "conditions": []}
    about = {"kind": "Pod", "name": "share-3", "uid": uid}
    cluster.add(
        {
            "kind": "Event",
            "metadata": {"name": "e", "namespace": "default"},
            "type": "Warning",
            "reason": "FailedPrepareDynamicResources",
            "involvedObject": about,
            "message": message,
        }
    )


def test_gpus_that_a_plugin_left_in_a_nodes_status_are_an_error(cluster: FakeCluster) -> None:
    """Pods are scheduled by them, without a claim, and run without a GPU."""
    for key in ("capacity", "allocatable"):
        cluster.node_objects["gpu-1"]["status"][key][GPU] = "8"
    found = _found(dra.no_node_is_counted_twice, cluster)
    assert found.outcome is Outcome.FAIL
    assert (
        found.fact == "gpu-1 still has 8 nvidia.com/gpu in its status: pods are scheduled by it and run without any GPU"
    )
    assert "patch node gpu-1 --subresource=status --type=json" in found.remedy
    assert "/status/allocatable/nvidia.com~1gpu" in found.remedy
    for key in ("capacity", "allocatable"):
        cluster.node_objects["gpu-1"]["status"][key][GPU] = "0"
    assert _found(dra.no_node_is_counted_twice, cluster).outcome is Outcome.PASS


def test_a_policy_that_was_changed_is_found(cluster: FakeCluster) -> None:
    policy = cluster.objects["ValidatingAdmissionPolicy", None, "nvidia-dra-driver-own-slices"]
    policy["spec"]["matchConditions"][0]["expression"] = "request.userInfo.username == 'somebody else'"
    bad = [each for each in results_of(gpu_stack.objects_are_as_wanted, context_of(cluster, _dra())) if each.remedy]
    (found,) = bad
    assert found.fact.startswith("ValidatingAdmissionPolicy nvidia-dra-driver-own-slices: spec.matchConditions")


def test_a_stack_without_toolkit_needs_no_runtime_class() -> None:
    settings = _dra(talosVersion="v1.15.0")
    found = _found(gpu_stack.runtime_class_is_there, healthy(settings), settings=settings)
    assert found.outcome is Outcome.SKIP


class TestChangingTheBackend:
    @staticmethod
    def _reasons(cluster: FakeCluster, settings: Settings) -> list[str]:
        return refusals(desired_state(settings), "gpu/lab", see(cluster))

    def test_it_is_refused_while_pods_hold_slices_of_the_plugin(self) -> None:
        cluster = healthy(settings_of())
        cluster.server_version = "v1.36.4"
        cluster.add_pod("trainer", "gpu-1", "default", **{GPU: 1})
        (reason,) = self._reasons(cluster, _dra())
        assert reason == (
            "node gpu-1 goes from backend device-plugin to dra, and pods hold GPUs of it, which would not be counted: "
            "default/trainer. Move them first: kubectl --context admin@lab drain gpu-1 --ignore-daemonsets "
            "--delete-emptydir-data"
        )
        del cluster.pod_objects["trainer"]
        assert self._reasons(cluster, _dra()) == []

    def test_a_node_that_no_stack_has_labelled_yet_may_be_a_plugins(self) -> None:
        cluster = healthy(settings_of())
        cluster.server_version = "v1.36.4"
        del cluster.node_objects["gpu-1"]["metadata"]["labels"]["nvidia.com/device-plugin.config"]
        trainer = cluster.add_pod("trainer", "gpu-1", "default", **{GPU: 1})
        (reason,) = self._reasons(cluster, _dra())
        assert reason.startswith("node gpu-1 goes from backend device-plugin to dra, and pods hold GPUs of it")
        trainer["status"]["extendedResourceClaimStatus"] = {"resourceClaimName": "trainer-extended-resources-x"}
        assert self._reasons(cluster, _dra()) == []

    def test_and_back_while_pods_hold_claims(self, cluster: FakeCluster) -> None:
        _user(cluster, "trainer", 0)
        (reason,) = self._reasons(cluster, settings_of())
        assert reason.startswith("node gpu-1 goes from backend dra to device-plugin, and pods hold GPUs of it")

    def test_more_shares_are_no_change_and_whole_gpus_are(self, cluster: FakeCluster) -> None:
        """The scheduler would give a GPU out as free that pods share."""
        _user(cluster, "trainer", 0)
        assert self._reasons(cluster, _dra(slices=6)) == []
        (reason,) = self._reasons(cluster, _dra(slices=1))
        assert reason.startswith("node gpu-1 goes from shared GPUs to whole ones, and pods hold GPUs of it")

    def test_a_cluster_before_kubernetes_1_36_is_refused(self, cluster: FakeCluster) -> None:
        cluster.server_version = "v1.35.2"
        (reason,) = self._reasons(cluster, _dra())
        assert reason.startswith("the cluster runs Kubernetes v1.35.2, and backend dra of gpu-1, gpu-2 needs v1.36")

    def test_the_plan_lists_the_steps(self) -> None:
        there = [each.text for each in consequences(desired_state(settings_of()), desired_state(_mixed()))]
        (move,) = [text for text in there if "by backend dra" in text]
        assert move == (
            "The GPUs of gpu-1 are offered by backend dra instead of the other. `pulumi up` is refused while pods hold "
            "GPUs there, so node by node: `kubectl drain NODE --ignore-daemonsets --delete-emptydir-data`, `pulumi "
            "up`, remove what the kubelet keeps of the plugin (docs/dra.md), wait for `gpuctl verify --wait 2m`, "
            "`kubectl uncordon NODE`. A cluster with both is a place to rest."
        )
        whole = consequences(desired_state(_dra()), desired_state(_dra(slices=1)))
        assert any("GPUs of gpu-1 and gpu-2 become whole, or cease to be" in each.text for each in whole)
