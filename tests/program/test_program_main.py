"""The program as Pulumi runs it: checked settings, a consulted cluster, and outputs that gpuctl computes too."""

import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from components import program
from gpuctl.cluster import ClusterError
from gpuctl.preflight import serving
from tests.fixtures.fake_cluster import FakeCluster
from tests.fixtures.pulumi_program import Deployment, deploy
from tests.fixtures.stack_files import ROOT, config_of, each_shipped

HOMELAB = config_of(ROOT / "config" / "Pulumi.homelab.yaml")
OURS = {"app.kubernetes.io/part-of": "gpu-sharing"}


def _cluster(nodes: set[str], objects: Mapping[tuple[str, str], Mapping[str, str]]) -> FakeCluster:
    """One that has these nodes and labelled objects."""
    cluster = FakeCluster()
    for node in nodes:
        cluster.add_node(node)
    for (kind, name), labels in objects.items():
        cluster.add({"kind": kind, "metadata": {"name": name, "labels": dict(labels)}})
    return cluster


@pytest.fixture
def consulted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Every cluster is there, with three nodes and nothing in the stack's way; the contexts that were asked for."""
    asked: list[tuple[str, str | None]] = []

    def connect(context: str, kubeconfig: str | None) -> FakeCluster:
        asked.append((context, kubeconfig))
        return _cluster({"gpu-1", "gpu-2", "gpu-3"}, {})

    monkeypatch.setattr(program, "connect", connect)
    return asked


def _consult(monkeypatch: pytest.MonkeyPatch, nodes: set[str], **objects: Mapping[str, str]) -> None:
    """Lets the program find a cluster with these nodes and objects, which have these labels."""
    names = {
        "namespace": ("Namespace", "gpu-device-plugin"),
        "runtime_class": ("RuntimeClass", "nvidia"),
        "prometheus_rules": ("CustomResourceDefinition", "prometheusrules.monitoring.coreos.com"),
    }
    found = {names[kind]: labels for kind, labels in objects.items()}

    def connect(context: str, kubeconfig: str | None) -> FakeCluster:
        assert (context, kubeconfig) == ("admin@homelab", None)
        return _cluster(nodes, found)

    monkeypatch.setattr(program, "connect", connect)


def _connect(monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster) -> None:
    def connect(*_: object) -> FakeCluster:
        return cluster

    monkeypatch.setattr(program, "connect", connect)


def _run(config: Mapping[str, Any], *, preview: bool = False) -> Deployment:
    """Runs __main__.py as Pulumi does, which passes every value as a text."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    return deploy(lambda: runpy.run_path(str(ROOT / "__main__.py")), texts, preview=preview)


def _capacity(stack: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "gpuctl", "capacity", "--stack", stack, "-o", "json"]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


@pytest.mark.usefixtures("consulted")
@each_shipped
def test_the_outputs_are_the_figures_that_gpuctl_computes(stack: str) -> None:
    """Without Pulumi and without the cluster: they come from the same functions."""
    outputs = _run(config_of(ROOT / "config" / f"Pulumi.{stack}.yaml")).outputs
    figures = _capacity(stack)
    del figures["stack"], figures["gpuCapacity"]["byModel"]
    assert {key: outputs[key] for key in figures} == figures


@pytest.mark.usefixtures("consulted")
def test_the_outputs_have_these_keys() -> None:
    """Others read them by name: `pulumi stack output gpuCapacity`."""
    outputs = _run(HOMELAB).outputs
    assert set(outputs) >= {
        "gpuCapacity",
        "powerBudgetWatts",
        "circuits",
        "memoryPerSliceMiB",
        "namespace",
        "devicePluginImage",
        "configHash",
        "talos",
    }
    assert outputs["namespace"] == "gpu-device-plugin"
    assert outputs["devicePluginImage"] == "nvcr.io/nvidia/k8s-device-plugin:v0.18.2"
    assert list(outputs["configHash"]) == ["default"]
    assert list(outputs["talos"]["patches"]) == ["gpu-1"]


@pytest.mark.usefixtures("consulted")
def test_every_object_goes_to_the_stacks_context() -> None:
    """The default provider would take whatever context kubectl happens to use."""
    providers = {resource.provider for resource in _run(HOMELAB).resources if resource.is_kubernetes}
    assert providers == {"cluster"}


def test_the_provider_is_the_stacks_own_and_updates_config_maps_in_place(
    consulted: list[tuple[str, str | None]],
) -> None:
    """A replaced ConfigMap takes its DaemonSet with it, and so the GPUs of every node at once."""
    provider = _run(HOMELAB | {"gpu:kubeconfig": "/etc/kubeconfig"}).named("cluster")
    assert provider.type == "pulumi:providers:kubernetes"
    assert provider.inputs["context"] == "admin@homelab"
    assert provider.inputs["kubeconfig"] == "/etc/kubeconfig"
    assert provider.inputs["enableConfigMapMutable"] in (True, "true")
    assert set(consulted) == {("admin@homelab", "/etc/kubeconfig")}


def test_no_path_of_this_machine_comes_into_the_stacks_records(
    monkeypatch: pytest.MonkeyPatch, consulted: list[tuple[str, str | None]]
) -> None:
    """The same stack, deployed from elsewhere, would differ: the nightly look for drift would always find some."""
    monkeypatch.setenv("KUBECONFIG", "/home/someone/kubeconfig")
    assert "kubeconfig" not in _run(HOMELAB).named("cluster").inputs
    assert set(consulted) == {("admin@homelab", None)}
    assert os.environ["KUBECONFIG"] == "/home/someone/kubeconfig"


def test_a_mistake_ends_the_program_before_anything_is_declared(consulted: list[tuple[str, str | None]]) -> None:
    deployment = _run(HOMELAB | {"gpu:slices": "0", "gpu:powerInterval": "1"})
    assert deployment.refusal is not None
    assert deployment.refusal.startswith("stack fixture: 2 mistakes in its settings, so nothing is done\n")
    assert (deployment.resources, consulted) == ([], [])


@pytest.mark.usefixtures("consulted")
def test_what_cannot_be_vouched_for_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    _run(HOMELAB | {"gpu:nodes": [{"name": "gpu-1", "gpu": "a-model-of-tomorrow", "count": 1}]})
    assert "node gpu-1: GPU 'a-model-of-tomorrow' is not in the catalogue" in caplog.text


def _unreachable(context: str, kubeconfig: str | None) -> FakeCluster:
    raise ClusterError(f"context {context} of {kubeconfig} cannot be reached")


@pytest.fixture
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "connect", _unreachable)


@pytest.mark.usefixtures("_no_cluster")
def test_a_preview_without_the_cluster_says_what_it_is_worth(caplog: pytest.LogCaptureFixture) -> None:
    """Pulumi itself previews against a cluster that does not exist silently."""
    deployment = _run(HOMELAB, preview=True)
    assert caplog.messages == [
        "context admin@homelab of None cannot be reached; this preview compares with Pulumi's own records and has not "
        "seen the cluster"
    ]
    assert deployment.refusal is None
    assert deployment.objects() != []


@pytest.mark.usefixtures("_no_cluster")
def test_an_update_without_the_cluster_is_refused() -> None:
    deployment = _run(HOMELAB)
    assert deployment.refusal == "context admin@homelab of None cannot be reached; nothing was changed"
    assert deployment.resources == []


@pytest.mark.parametrize("preview", [True, False])
def test_a_node_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, preview: bool) -> None:
    """Patching the labels of one creates a phantom node."""
    _consult(monkeypatch, {"cp-1", "gpu-7"})
    deployment = _run(HOMELAB, preview=preview)
    assert deployment.refusal == (
        "context admin@homelab has no node gpu-1; it has cp-1, gpu-7. Fix gpu:nodes, or gpu:context when this is "
        "another cluster; see: kubectl --context admin@homelab get nodes"
    )
    assert deployment.resources == []


def test_a_namespace_of_others_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pulumi destroy` would delete it, with what others have in it."""
    _consult(monkeypatch, {"gpu-1"}, namespace={"team": "vision"}, runtime_class={})
    deployment = _run(HOMELAB)
    assert deployment.refusal is not None
    namespace, runtime_class = deployment.refusal.splitlines()
    label = "app.kubernetes.io/part-of=gpu-sharing"
    assert namespace.endswith(
        "Hand it over: kubectl --context admin@homelab label namespace gpu-device-plugin "
        f"{label}, or choose another gpu:namespace"
    )
    assert runtime_class == (
        "RuntimeClass nvidia exists already and was not made by this project: it would be taken over, and deleted by "
        "`pulumi destroy`. Use it as it is: pulumi config set --stack fixture gpu:createRuntimeClass false. "
        f"Or hand it over: kubectl --context admin@homelab label runtimeclass nvidia {label}"
    )
    assert deployment.resources == []


def test_an_object_of_others_in_the_stacks_namespace_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = _cluster({"gpu-1"}, {("Namespace", "gpu-device-plugin"): OURS})
    name = {"name": "nvidia-device-plugin", "namespace": "gpu-device-plugin"}
    cluster.add({"kind": "DaemonSet", "metadata": name | {"labels": {"app.kubernetes.io/managed-by": "Helm"}}})
    _connect(monkeypatch, cluster)
    assert _run(HOMELAB).refusal == (
        "DaemonSet nvidia-device-plugin of namespace gpu-device-plugin exists already and was not made by this "
        "project: it would be taken over, and deleted by `pulumi destroy`. Choose another gpu:namespace, or remove it "
        "with what made it; see: kubectl --context admin@homelab get daemonset nvidia-device-plugin "
        "-n gpu-device-plugin -o yaml"
    )


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
def test_alerts_without_the_prometheus_operator_are_refused(monkeypatch: pytest.MonkeyPatch, preview: bool) -> None:
    """The API server would refuse them itself, when half of the stack is there and in words about a missing kind."""
    _consult(monkeypatch, {"gpu-1"})
    deployment = _run(HOMELAB | {"gpu:monitoring": "true"}, preview=preview)
    assert deployment.refusal == (
        "gpu:monitoring needs the Prometheus operator, and context admin@homelab has no CustomResourceDefinition "
        "prometheusrules.monitoring.coreos.com. Install the operator, or load the alerts into your "
        "Prometheus as a file (gpuctl render --rules --stack fixture) and do without its objects. "
        "Fix it: pulumi config set --stack fixture gpu:monitoring false"
    )
    assert deployment.resources == []


def test_with_the_prometheus_operator_alerts_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    _consult(monkeypatch, {"gpu-1"}, prometheus_rules={})
    deployment = _run(HOMELAB | {"gpu:monitoring": "true"})
    assert deployment.named("gpu-sharing").inputs["kind"] == "PrometheusRule"


def test_the_projects_own_objects_are_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    _consult(monkeypatch, {"gpu-1"}, namespace=OURS | {"team": "vision"}, runtime_class=OURS)
    assert _run(HOMELAB).refusal is None


def test_a_second_stack_of_one_cluster_is_refused_before_anything_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would give the first one's nodes other slices and other power limits, and its destroy would delete all."""
    cluster = _cluster({"gpu-1"}, {("RuntimeClass", "nvidia"): OURS, ("Namespace", "gpu-device-plugin"): OURS})
    cluster.add_node("gpu-2")
    cluster.objects["RuntimeClass", None, "nvidia"]["metadata"]["annotations"] = {"gpu-sharing/stack": "gpu/first"}
    for node in ("gpu-1", "gpu-2"):
        cluster.node_objects[node]["metadata"]["annotations"] = {"gpu-sharing/stack": "gpu/first"}
    _connect(monkeypatch, cluster)
    deployment = _run(HOMELAB)
    assert deployment.refusal == (
        "runtimeclass/nvidia, node/gpu-1, node/gpu-2 belong to stack gpu/first: two stacks on one cluster would undo "
        "each other's slices and power limits. Declare these GPU nodes in the stack file of gpu/first, or run "
        "`pulumi destroy` there first. If that stack is gone, or was renamed, take them over: "
        "kubectl --context admin@homelab annotate "
        "--overwrite runtimeclass/nvidia node/gpu-1 node/gpu-2 gpu-sharing/stack=gpu/fixture"
    )
    assert deployment.resources == []


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
def test_a_node_that_would_not_be_served_is_refused(monkeypatch: pytest.MonkeyPatch, preview: bool) -> None:
    """The update would be done without it: no DaemonSet counts such a node."""
    cluster = _cluster({"gpu-1", "other"}, {})
    for node in cluster.node_objects.values():
        node["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
        node["spec"]["taints"] = [
            {"key": "gpu", "value": "true", "effect": "NoSchedule"},
            {"key": "dedicated", "effect": "NoExecute"},
            {"key": "better-elsewhere", "effect": "PreferNoSchedule"},
            {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},
        ]
    _connect(monkeypatch, cluster)
    deployment = _run(HOMELAB, preview=preview)
    tainted = "which keeps the stack's pods off it: no slice would be offered and no power limit held. Fix it: "
    assert (deployment.refusal or "").splitlines() == [
        "node gpu-1 is not Ready, so nothing would reach it: it would stay on what it has. Bring it back, or take it "
        "out of gpu:nodes until then; see: kubectl --context admin@homelab describe node gpu-1",
        f"node gpu-1 has the taint gpu=true:NoSchedule, {tainted}"
        "pulumi config set --stack fixture --path 'gpu:tolerations[0].key' gpu; or take the taint away: "
        "kubectl --context admin@homelab taint node gpu-1 gpu=true:NoSchedule-",
        f"node gpu-1 has the taint dedicated:NoExecute, {tainted}"
        "pulumi config set --stack fixture --path 'gpu:tolerations[1].key' dedicated; or take the taint away: "
        "kubectl --context admin@homelab taint node gpu-1 dedicated:NoExecute-",
    ]
    assert deployment.resources == []


def _one_after_the_other(*clusters: FakeCluster) -> Callable[..., FakeCluster]:
    """What the program connects to, and to what when it connects once more."""
    left = iter(clusters)
    return lambda *_: next(left)


class TestANodeThatAnUpdateDidNotComeTo:
    """No DaemonSet counts a node that stops being Ready meanwhile, so Pulumi itself would be content."""

    def test_the_update_fails_and_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before, after = _cluster({"gpu-1"}, {}), _cluster({"gpu-1"}, {})
        after.node_objects["gpu-1"]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
        monkeypatch.setattr(program, "connect", _one_after_the_other(before, after))
        assert (_run(HOMELAB).refusal or "").splitlines() == [
            "the update has not come to every node:",
            "node gpu-1 is not Ready, so nothing would reach it: it would stay on what it has. Bring it back, or "
            "take it out of gpu:nodes until then; see: kubectl --context admin@homelab describe node gpu-1",
        ]

    def test_a_daemon_set_that_left_one_out_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serving, "COUNTING_SECONDS", 0)
        cluster = _cluster({"gpu-1"}, {})
        plugin = {"name": "nvidia-device-plugin", "namespace": "gpu-device-plugin"}
        cluster.add({"kind": "DaemonSet", "metadata": plugin, "status": {"desiredNumberScheduled": 0}})
        _connect(monkeypatch, cluster)
        assert (_run(HOMELAB).refusal or "").splitlines() == [
            "the update has not come to every node:",
            "DaemonSet nvidia-device-plugin is up to date on 0 of 1 nodes; see: kubectl --context admin@homelab get "
            "pods -n gpu-device-plugin -o wide",
        ]

    def test_one_whose_label_was_just_put_back_is_given_time_to_be_counted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster = _cluster({"gpu-1"}, {})
        plugin = {"name": "nvidia-device-plugin", "namespace": "gpu-device-plugin"}

        def counted(nodes: int) -> None:
            cluster.add({"kind": "DaemonSet", "metadata": plugin, "status": {"updatedNumberScheduled": nodes}})

        def a_moment_later(_: float) -> None:
            counted(1)

        counted(0)
        _connect(monkeypatch, cluster)
        monkeypatch.setattr(time, "sleep", a_moment_later)
        assert _run(HOMELAB).refusal is None

    def test_nothing_is_waited_for_once_the_reason_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before, after = _cluster({"gpu-1"}, {}), _cluster({"gpu-1"}, {})
        after.node_objects["gpu-1"]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
        plugin = {"name": "nvidia-device-plugin", "namespace": "gpu-device-plugin"}
        after.add({"kind": "DaemonSet", "metadata": plugin, "status": {"updatedNumberScheduled": 0}})
        monkeypatch.setattr(program, "connect", _one_after_the_other(before, after))

        def waits(_: float) -> None:
            pytest.fail("it waits")

        monkeypatch.setattr(time, "sleep", waits)
        refusal = (_run(HOMELAB).refusal or "").splitlines()
        assert refusal[1].startswith("node gpu-1 is not Ready")
        assert refusal[2].startswith("DaemonSet nvidia-device-plugin is up to date on 0 of 1 nodes")

    def test_a_cluster_that_no_longer_answers_is_no_success(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = iter([_cluster({"gpu-1"}, {})])

        def connect(*_: object) -> FakeCluster:
            for cluster in answers:
                return cluster
            raise ClusterError("the API server does not answer")

        monkeypatch.setattr(program, "connect", connect)
        assert (_run(HOMELAB).refusal or "").splitlines() == [
            "the update has not come to every node:",
            "the API server does not answer; whether every node has what was deployed could not be determined",
        ]

    def test_a_preview_deploys_nothing_and_asks_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(program, "connect", _one_after_the_other(_cluster({"gpu-1"}, {})))
        assert _run(HOMELAB, preview=True).refusal is None


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
def test_a_namespace_that_is_being_deleted_is_refused(monkeypatch: pytest.MonkeyPatch, preview: bool) -> None:
    """Pulumi would try to create objects in it again and again, and say nothing."""
    cluster = _cluster({"gpu-1"}, {})
    ending = {"name": "gpu-device-plugin", "labels": OURS, "deletionTimestamp": "2026-11-28T20:10:00Z"}
    cluster.add({"kind": "Namespace", "metadata": ending})
    _connect(monkeypatch, cluster)
    deployment = _run(HOMELAB, preview=preview)
    assert (deployment.refusal or "").splitlines() == [
        "namespace gpu-device-plugin of context admin@homelab is being deleted since 2026-11-28T20:10:00Z, so nothing "
        "can be created in it. Wait until it is gone, then repeat: kubectl --context admin@homelab wait --for=delete "
        "namespace/gpu-device-plugin --timeout=5m"
    ]
    assert deployment.resources == []


def test_what_an_older_version_deployed_is_taken_over_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It did not write down of which stack an object is."""
    _consult(monkeypatch, {"gpu-1"}, namespace=OURS, runtime_class=OURS)
    assert _run(HOMELAB).refusal is None
    assert caplog.messages == [
        "namespace/gpu-device-plugin, runtimeclass/nvidia do not say of which stack they are: an older version "
        "deployed them. They are taken as those of gpu/fixture; if they are another stack's, deploy that one first"
    ]


def test_a_stack_knows_its_own_objects_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records may be lost."""
    cluster = _cluster({"gpu-1"}, {("RuntimeClass", "nvidia"): OURS})
    cluster.objects["RuntimeClass", None, "nvidia"]["metadata"]["annotations"] = {"gpu-sharing/stack": "gpu/fixture"}
    _connect(monkeypatch, cluster)
    assert _run(HOMELAB).refusal is None


class TestRuntimeClassOfOthers:
    USED: Mapping[str, Any] = HOMELAB | {"gpu:createRuntimeClass": "false"}

    def _with(self, monkeypatch: pytest.MonkeyPatch, handler: str, **annotations: str) -> FakeCluster:
        cluster = _cluster({"gpu-1", "gpu-9"}, {("RuntimeClass", "nvidia"): OURS if annotations else {}})
        cluster.objects["RuntimeClass", None, "nvidia"]["handler"] = handler
        cluster.objects["RuntimeClass", None, "nvidia"]["metadata"]["annotations"] = annotations
        _connect(monkeypatch, cluster)
        return cluster

    def test_it_is_used_as_it_is(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self._with(monkeypatch, "nvidia")
        deployment = _run(self.USED)
        assert (deployment.refusal, caplog.messages) == (None, [])
        assert "RuntimeClass" not in {each.inputs.get("kind") for each in deployment.resources}
        assert deployment.outputs["existingRuntimeClass"] == "nvidia"

    def test_without_it_the_stack_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its DaemonSets would want pods that the API server refuses."""
        _consult(monkeypatch, {"gpu-1"})
        deployment = _run(self.USED)
        assert deployment.refusal == (
            "gpu:createRuntimeClass is false, and context admin@homelab has no RuntimeClass nvidia: no pod of the "
            "stack could be made. Whatever owns it must create it first, or let the stack do so. "
            "Fix it: pulumi config set --stack fixture gpu:createRuntimeClass true"
        )
        assert deployment.resources == []

    def test_with_another_handler_it_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._with(monkeypatch, "nvidia-cdi")
        assert _run(self.USED).refusal == (
            "gpu:createRuntimeClass is false, and RuntimeClass nvidia has the handler nvidia-cdi; NVIDIA's Talos "
            "extension has nvidia, so no pod of the stack would start. A handler cannot be changed: delete it, and "
            "have its owner create it again with the right one. "
            "Fix it: kubectl --context admin@homelab delete runtimeclass nvidia"
        )

    def test_the_stacks_own_one_is_given_up_with_a_warning(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        self._with(monkeypatch, "nvidia", **{"gpu-sharing/stack": "gpu/fixture"})
        assert _run(self.USED).refusal is None
        assert caplog.messages == [
            "RuntimeClass nvidia is one that gpu/fixture created, and gpu:createRuntimeClass is false: this update "
            "deletes it. Pods run on, and new ones are refused until its new owner has created it again"
        ]

    def test_another_stacks_one_still_shows_that_there_is_a_second_stack(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._with(monkeypatch, "nvidia", **{"gpu-sharing/stack": "gpu/first"})
        assert (_run(self.USED).refusal or "").startswith("runtimeclass/nvidia belongs to stack gpu/first: ")

    def test_another_stacks_node_does_too_when_neither_creates_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Their DaemonSets select nodes by the same labels."""
        cluster = self._with(monkeypatch, "nvidia")
        cluster.node_objects["gpu-9"]["metadata"]["annotations"] = {"gpu-sharing/stack": "gpu/first"}
        assert (_run(self.USED).refusal or "").startswith("node/gpu-9 belongs to stack gpu/first: ")


def test_a_node_that_others_should_have_labelled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DaemonSet that wants no pod counts as complete, so the update would be green and serve nothing."""
    cluster = _cluster({"gpu-1", "gpu-2"}, {})
    labels = cluster.node_objects["gpu-1"]["metadata"]["labels"]
    labels.clear()
    labels["nvidia.com/gpu.present"] = "true"  # by Node Feature Discovery
    _connect(monkeypatch, cluster)
    config = HOMELAB | {"gpu:labelNodes": "false"}
    assert _run(config).refusal == (
        "gpu:labelNodes is false, and node gpu-1 has no label nvidia.com/device-plugin.config=default: no pod of the "
        "stack would come to it. Apply its Talos patch, or label it yourself. Fix it: kubectl --context admin@homelab "
        "label node gpu-1 nvidia.com/device-plugin.config=default --overwrite"
    )
    labels["nvidia.com/device-plugin.config"] = "default"
    assert _run(config).refusal is None
