"""Checks of the cluster's identity and of its nodes, each against a cluster in memory that has exactly that flaw."""

from typing import Any, ClassVar

import pytest

from gpuctl.checks.kubernetes_api import cluster_is_the_stacks
from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.checks.nodes import (
    CHECKS,
    no_node_is_a_phantom,
    no_other_node_has_gpus,
    nodes_are_labelled,
    nodes_exist,
    nodes_take_pods,
)
from gpuctl.cluster.programs import Ran
from gpuctl.desired.names import PRESENT_LABEL, PROFILE_LABEL
from tests.fixtures.checks import FakePrograms, context_of, results_of, settings_of
from tests.fixtures.fake_cluster import UID, FakeCluster, healthy


@pytest.fixture
def cluster() -> FakeCluster:
    return healthy(settings_of())


def _bad(check: Check, cluster: FakeCluster, **config: object) -> Result:
    """The one failure that a check finds."""
    found = results_of(check, context_of(cluster, settings_of(**config)))
    (bad,) = [result for result in found if result.outcome is Outcome.FAIL]
    return bad


def _identity(cluster: FakeCluster, ran: Ran | None) -> Result:
    programs = FakePrograms(**({"pulumi": ran} if ran else {}))
    (found,) = results_of(cluster_is_the_stacks, context_of(cluster, programs=programs))
    return found


class TestIdentity:
    def test_the_cluster_that_was_recorded_passes(self, cluster: FakeCluster) -> None:
        assert _identity(cluster, Ran(f"{UID}\n", "", 0)).outcome is Outcome.PASS

    def test_another_cluster_behind_the_same_context_is_told_with_both_uids(self, cluster: FakeCluster) -> None:
        found = _identity(cluster, Ran("0000\n", "", 0))
        assert found.outcome is Outcome.FAIL
        assert found.fact == (
            "context admin@lab is another cluster than the one that stack lab was deployed to: "
            f"its UID is {UID} and not 0000"
        )

    @pytest.mark.parametrize(
        ("ran", "reason"),
        [
            (None, "the Pulumi CLI is not installed here"),
            (Ran("", "error: no stack named 'lab' found\n", 6), "no stack named 'lab' found"),
            (
                Ran("", "error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions\n", 3),
                "PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions",
            ),
            (
                Ran("", "error: current stack does not have output property 'clusterUid'\n", 1),
                "current stack does not have output property 'clusterUid'",
            ),
            (Ran("", "no answer within 30 s", 124), "no answer within 30 s"),
            (Ran("", "", 255), "exit code 255"),
        ],
    )
    def test_what_pulumi_does_not_know_is_skipped_with_its_reason(
        self, cluster: FakeCluster, ran: Ran | None, reason: str
    ) -> None:
        found = _identity(cluster, ran)
        assert found.outcome is Outcome.SKIP
        assert found.fact == f"which cluster stack lab was deployed to is not known: {reason}"

    def test_pulumi_is_asked_about_this_stack_in_the_projects_folder_and_asks_nothing_back(
        self, cluster: FakeCluster
    ) -> None:
        programs = FakePrograms(pulumi=Ran(UID, "", 0))
        results_of(cluster_is_the_stacks, context_of(cluster, programs=programs))
        (command,) = programs.commands
        assert command[:6] == ("pulumi", "stack", "output", "clusterUid", "--stack", "lab")
        assert {"--non-interactive", "--cwd"} < set(command)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_healthy_cluster_passes(check: Check, cluster: FakeCluster) -> None:
    assert {result.outcome for result in results_of(check, context_of(cluster))} == {Outcome.PASS}


class TestExistence:
    def test_a_node_that_is_gone_is_named_with_those_that_are_there(self, cluster: FakeCluster) -> None:
        del cluster.node_objects["gpu-2"]
        found = _bad(nodes_exist, cluster)
        assert found.subject == "gpu-2"
        assert found.fact == "context admin@lab has no node gpu-2; it has cp-1, gpu-1"
        assert found.remedy == "kubectl --context admin@lab get nodes"

    @pytest.mark.parametrize("check", [nodes_take_pods, nodes_are_labelled])
    def test_what_a_missing_node_is_like_is_not_told(self, check: Check, cluster: FakeCluster) -> None:
        del cluster.node_objects["gpu-2"]
        assert [result.subject for result in results_of(check, context_of(cluster))] == ["gpu-1"]


class TestPods:
    def test_a_node_that_is_not_ready_is_told_with_the_kubelets_reason(self, cluster: FakeCluster) -> None:
        cluster.node_objects["gpu-1"]["status"]["conditions"] = [
            {"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}
        ]
        found = _bad(nodes_take_pods, cluster)
        assert found.fact == "node gpu-1 is not Ready: Kubelet stopped posting node status."

    def test_a_node_that_never_reported_is_not_ready(self, cluster: FakeCluster) -> None:
        cluster.node_objects["gpu-1"]["status"]["conditions"] = []
        assert _bad(nodes_take_pods, cluster).fact == "node gpu-1 is not Ready: its kubelet has reported nothing"

    def test_a_cordoned_node_is_told_with_the_command_that_ends_it(self, cluster: FakeCluster) -> None:
        cluster.node_objects["gpu-2"]["spec"]["unschedulable"] = True
        assert _bad(nodes_take_pods, cluster).remedy == "kubectl --context admin@lab uncordon gpu-2"

    def test_a_taint_that_the_stacks_pods_do_not_tolerate_is_told(self, cluster: FakeCluster) -> None:
        cluster.node_objects["gpu-1"]["spec"]["taints"] = [{"key": "team", "value": "vision", "effect": "NoSchedule"}]
        found = _bad(nodes_take_pods, cluster)
        assert "the taint team:NoSchedule" in found.fact
        assert found.remedy == (
            "pulumi config set --stack lab --path 'gpu:tolerations[0].key' team && pulumi up --stack lab"
        )

    def test_all_its_taints_are_told_and_tolerated_at_once(self, cluster: FakeCluster) -> None:
        cluster.node_objects["gpu-1"]["spec"]["taints"] = [
            {"key": "team", "value": "vision", "effect": "NoSchedule"},
            {"key": "dedicated", "effect": "NoExecute"},
        ]
        found = _bad(nodes_take_pods, cluster)
        assert "the taints team:NoSchedule, dedicated:NoExecute, which" in found.fact
        assert found.remedy == (
            "pulumi config set --stack lab --path 'gpu:tolerations[0].key' team && "
            "pulumi config set --stack lab --path 'gpu:tolerations[1].key' dedicated && pulumi up --stack lab"
        )

    @pytest.mark.parametrize(
        "taint",
        [
            {"key": "nvidia.com/gpu", "effect": "NoExecute"},
            {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"},
            {"key": "team", "effect": "PreferNoSchedule"},
        ],
    )
    def test_a_taint_that_keeps_no_pod_of_the_stack_off_is_none(
        self, cluster: FakeCluster, taint: dict[str, str]
    ) -> None:
        cluster.node_objects["gpu-1"]["spec"]["taints"] = [taint]
        assert {result.outcome for result in results_of(nodes_take_pods, context_of(cluster))} == {Outcome.PASS}

    def test_only_the_tolerated_effect_of_a_taint_counts(self, cluster: FakeCluster) -> None:
        taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoExecute"}
        cluster.node_objects["gpu-1"]["spec"]["taints"] = [taint]
        assert "control-plane:NoExecute" in _bad(nodes_take_pods, cluster).fact


class TestLabels:
    def test_another_owners_value_is_named_and_removed_before_the_stack_sets_its_own(
        self, cluster: FakeCluster
    ) -> None:
        cluster.node_objects["gpu-1"]["metadata"]["labels"][PROFILE_LABEL] = "theirs"
        found = _bad(nodes_are_labelled, cluster)
        assert found.fact == f"node gpu-1: label {PROFILE_LABEL} is theirs and not default"
        assert found.remedy == (
            f"kubectl --context admin@lab label node gpu-1 {PROFILE_LABEL}- && pulumi up --refresh --stack lab"
        )
        assert found.cause == "something besides the stack labels the node"

    def test_a_missing_label_comes_back_with_the_next_update(self, cluster: FakeCluster) -> None:
        del cluster.node_objects["gpu-1"]["metadata"]["labels"][PRESENT_LABEL]
        found = _bad(nodes_are_labelled, cluster)
        assert found.fact == f"node gpu-1 lacks the label {PRESENT_LABEL}"
        assert found.remedy == "pulumi up --refresh --stack lab"

    @pytest.mark.parametrize(("value", "flag"), [("theirs", " --overwrite"), (None, "")])
    def test_a_stack_that_labels_no_nodes_does_not_fix_them_either(
        self, cluster: FakeCluster, value: str | None, flag: str
    ) -> None:
        labels: dict[str, Any] = cluster.node_objects["gpu-1"]["metadata"]["labels"]
        del labels[PROFILE_LABEL]
        labels |= {PROFILE_LABEL: value} if value else {}
        found = _bad(nodes_are_labelled, cluster, labelNodes=False)
        assert found.remedy == f"kubectl --context admin@lab label node gpu-1 {PROFILE_LABEL}=default{flag}"

    def test_a_node_with_slices_of_its_own_must_have_the_label_of_its_own_profile(self, cluster: FakeCluster) -> None:
        nodes = [
            {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
            {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "slices": 2},
        ]
        found = _bad(nodes_are_labelled, cluster, nodes=nodes)
        assert found.fact == f"node gpu-2: label {PROFILE_LABEL} is default and not gpu-2"


class TestOthers:
    def test_a_node_that_offers_gpus_is_told_with_the_entry_it_needs(self, cluster: FakeCluster) -> None:
        cluster.add_node("gpu-3", {}, **{"nvidia.com/gpu.shared": 4})
        found = _bad(no_other_node_has_gpus, cluster)
        assert found.fact == "node gpu-3 is not in the stack file and offers 4 nvidia.com/gpu.shared"
        assert found.remedy.startswith("pulumi config set --stack lab --path 'gpu:nodes[2].name' gpu-3 && ")

    @pytest.mark.parametrize("label", [PRESENT_LABEL, "feature.node.kubernetes.io/pci-0302_10de.present"])
    def test_a_node_whose_labels_say_that_it_has_gpus_is_told_with_the_label(
        self, cluster: FakeCluster, label: str
    ) -> None:
        cluster.add_node("gpu-3", {label: "true"})
        found = _bad(no_other_node_has_gpus, cluster)
        assert found.remedy == f"kubectl --context admin@lab label node gpu-3 {label}-"

    def test_what_a_plugin_left_behind_is_no_gpu(self, cluster: FakeCluster) -> None:
        """A resource that nobody registers any more stays at 0."""
        cluster.add_node("cpu-1", {PRESENT_LABEL: "false"}, **{"nvidia.com/gpu": 0})
        (found,) = results_of(no_other_node_has_gpus, context_of(cluster))
        assert found.fact == "none of the 2 nodes outside the stack file has a GPU"

    @pytest.mark.parametrize("resource", ["amd.com/gpu", "nvidia.com/gpumem"])
    def test_what_is_no_gpu_of_nvidia_is_not_the_stacks_business(self, cluster: FakeCluster, resource: str) -> None:
        cluster.add_node("amd-1", {}, **{resource: 4})
        assert results_of(no_other_node_has_gpus, context_of(cluster))[0].outcome is Outcome.PASS


class TestNodesOfOthers:
    OTHER: ClassVar = {"otherGpuNodes": ["gpu-3"]}

    def test_one_that_others_serve_is_accepted(self, cluster: FakeCluster) -> None:
        cluster.add_node("gpu-3", {PRESENT_LABEL: "true"}, **{"nvidia.com/gpu": 4})
        (found,) = results_of(no_other_node_has_gpus, context_of(cluster, settings_of(**self.OTHER)))
        assert (found.outcome, found.fact) == (
            Outcome.PASS,
            "none of the 1 nodes outside the stack file has a GPU besides gpu-3, which others serve",
        )

    def test_another_one_is_named_all_the_same(self, cluster: FakeCluster) -> None:
        cluster.add_node("gpu-4", {}, **{"nvidia.com/gpu": 4})
        found = _bad(no_other_node_has_gpus, cluster, **self.OTHER)
        assert found.subject == "gpu-4"
        assert found.cause == "it belongs in gpu:nodes, or in gpu:otherGpuNodes when others serve it"

    def test_one_with_the_stacks_own_labels_is_served_twice(self, cluster: FakeCluster) -> None:
        cluster.add_node("gpu-3", {PRESENT_LABEL: "true", PROFILE_LABEL: "default"})
        found = _bad(no_other_node_has_gpus, cluster, **self.OTHER)
        assert found.fact == "node gpu-3 is in gpu:otherGpuNodes and has the labels of profile default"
        assert found.remedy == f"kubectl --context admin@lab label node gpu-3 {PROFILE_LABEL}-"


def test_a_node_that_no_kubelet_has_ever_reported_is_a_phantom() -> None:
    cluster = healthy(settings_of())
    cluster.add_node("gpu-9")["status"] = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
    (found,) = results_of(no_node_is_a_phantom, context_of(cluster))
    assert (found.outcome, found.subject, found.fact) == (
        Outcome.FAIL,
        "gpu-9",
        "node gpu-9 has never been reported by a kubelet: it is an object without a machine",
    )
    assert found.remedy == "kubectl --context admin@lab delete node gpu-9"


def test_a_phantom_is_no_node_with_gpus_of_others(cluster: FakeCluster) -> None:
    cluster.node_objects["gpu-2b"] = {"metadata": {"name": "gpu-2b", "labels": {PRESENT_LABEL: "true"}}}
    (found,) = results_of(no_other_node_has_gpus, context_of(cluster))
    assert found.outcome is Outcome.PASS


def test_a_taint_of_kubernetes_own_is_taken_away(cluster: FakeCluster) -> None:
    taints = [
        {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"},
        {"key": "gpu", "effect": "NoExecute"},
    ]
    cluster.node_objects["gpu-1"]["spec"]["taints"] = taints
    assert _bad(nodes_take_pods, cluster).remedy == (
        "pulumi config set --stack lab --path 'gpu:tolerations[0].key' gpu && pulumi up --stack lab && "
        "kubectl --context admin@lab taint node gpu-1 node.kubernetes.io/out-of-service:NoExecute-"
    )


def test_a_label_that_is_missing_was_set_by_nobody_else() -> None:
    """A node that registers anew has lost its labels."""
    cluster = healthy(settings_of())
    cluster.node_objects["gpu-1"]["metadata"]["labels"] = {}
    found = next(each for each in results_of(nodes_are_labelled, context_of(cluster)) if each.subject == "gpu-1")
    assert found.cause == "the label was removed by hand, or the node has registered anew, as after a reinstallation"
    assert found.remedy == "pulumi up --refresh --stack lab"
