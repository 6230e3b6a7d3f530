"""Checks of the stack's objects and DaemonSets, each against a cluster in memory that has exactly that flaw."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gpuctl.checks import gpu_stack, plugin_config
from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.checks.runner import run
from gpuctl.cluster import AccessDeniedError, Manifest, RejectedError
from gpuctl.desired.names import CHECKSUM_ANNOTATION
from gpuctl.settings import Settings
from tests.fixtures.checks import context_of, results_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.names import without_hash

SPACE = "gpu-device-plugin"
PLUGIN, POWER = "nvidia-device-plugin", "nvidia-power-limit"
ENFORCE = "pod-security.kubernetes.io/enforce"
LOADED = """\
I1125 03:21:27.990181       1 main.go:366]
Running with config:
{
  "version": "v1",
  "resources": {"gpus": [{"pattern": "*", "name": "nvidia.com/gpu"}]},
  "sharing": {
    "timeSlicing": {
      "failRequestsGreaterThanOne": true,
      "resources": [{"name": "nvidia.com/gpu", "devices": "all", "replicas": 4}]
    }
  },
  "imex": {}
}
I1125 03:21:27.990188       1 main.go:369] Retrieving plugins.
"""
"""As device plugin v0.18.2 writes it, less its flags."""


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = healthy(settings_of())
    for node in ("gpu-1", "gpu-2"):
        cluster.logs[f"{PLUGIN}-{node}"] = list(LOADED.splitlines())
    return cluster


def _live(cluster: FakeCluster, kind: str, name: str) -> dict[str, Any]:
    return cluster.objects[kind, None if kind in ("Namespace", "RuntimeClass") else SPACE, name]


def _config_map(cluster: FakeCluster, plain: str) -> str:
    """The name of a ConfigMap, by what it is without the hash."""
    [name] = [name for kind, _, name in cluster.objects if kind == "ConfigMap" and without_hash(name) == plain]
    return name


def _bad(check: Check, cluster: FakeCluster, settings: Settings | None = None) -> Result:
    """The one failure that a check finds."""
    found = results_of(check, context_of(cluster, settings))
    (bad,) = [result for result in found if result.outcome is Outcome.FAIL]
    return bad


@pytest.mark.parametrize("check", [*gpu_stack.CHECKS, *plugin_config.CHECKS], ids=lambda check: check.id)
def test_a_healthy_cluster_passes(check: Check, cluster: FakeCluster) -> None:
    assert {result.outcome for result in results_of(check, context_of(cluster))} == {Outcome.PASS}


class TestNamespace:
    def test_without_its_pod_security_label_it_forbids_the_pods(self, cluster: FakeCluster) -> None:
        _live(cluster, "Namespace", SPACE)["metadata"]["labels"][ENFORCE] = "baseline"
        found = _bad(gpu_stack.namespace_admits_pods, cluster)
        assert found.fact == f"Namespace {SPACE}: metadata.labels[{ENFORCE}]: live baseline, stack privileged"
        assert found.remedy == "pulumi up --refresh --stack lab"

    def test_labels_of_others_do_no_harm(self, cluster: FakeCluster) -> None:
        _live(cluster, "Namespace", SPACE)["metadata"]["labels"]["team"] = "vision"
        (found,) = results_of(gpu_stack.namespace_admits_pods, context_of(cluster))
        assert found.outcome is Outcome.PASS

    def test_one_that_is_gone_is_told(self, cluster: FakeCluster) -> None:
        del cluster.objects["Namespace", None, SPACE]
        assert _bad(gpu_stack.namespace_admits_pods, cluster).fact == f"Namespace {SPACE} is not in the cluster"

    def test_one_that_is_going_is_told(self, cluster: FakeCluster) -> None:
        _live(cluster, "Namespace", SPACE)["status"] = {"phase": "Terminating"}
        assert "is being deleted" in _bad(gpu_stack.namespace_admits_pods, cluster).fact


class TestRuntimeClass:
    def test_one_that_is_gone_is_told(self, cluster: FakeCluster) -> None:
        del cluster.objects["RuntimeClass", None, "nvidia"]
        assert _bad(gpu_stack.runtime_class_is_there, cluster).fact == "RuntimeClass nvidia is not in the cluster"

    def test_another_handler_is_told(self, cluster: FakeCluster) -> None:
        _live(cluster, "RuntimeClass", "nvidia")["handler"] = "nvidia-cdi"
        assert _bad(gpu_stack.runtime_class_is_there, cluster).fact == (
            "RuntimeClass nvidia: handler: live nvidia-cdi, stack nvidia"
        )

    def test_one_of_another_owner_is_judged_by_its_handler_alone(self, cluster: FakeCluster) -> None:
        live = _live(cluster, "RuntimeClass", "nvidia")
        live["metadata"]["labels"] = {"kustomize.toolkit.fluxcd.io/name": "nvidia-device-plugin"}
        context = context_of(cluster, settings_of(createRuntimeClass=False))
        (found,) = results_of(gpu_stack.runtime_class_is_there, context)
        assert found.outcome is Outcome.PASS
        live["handler"] = "nvidia-cdi"
        (found,) = results_of(
            gpu_stack.runtime_class_is_there, context_of(cluster, settings_of(createRuntimeClass=False))
        )
        assert found.outcome is Outcome.FAIL
        assert found.fact.startswith(
            "gpu:createRuntimeClass is false, and RuntimeClass nvidia has the handler nvidia-cdi"
        )


class TestObjects:
    def test_a_changed_config_map_is_told_with_the_line(self, cluster: FakeCluster) -> None:
        name = _config_map(cluster, f"{PLUGIN}-config")
        data = _live(cluster, "ConfigMap", name)["data"]
        data["config.yaml"] = data["config.yaml"].replace("replicas: 4", "replicas: 6")
        found = _bad(gpu_stack.objects_are_as_wanted, cluster)
        assert found.fact == (f"ConfigMap {name}: data[config.yaml], line 8: live replicas: 6, stack replicas: 4")

    def test_a_further_variable_in_the_pod_is_told(self, cluster: FakeCluster) -> None:
        """The plugin's variables win over its file."""
        (container,) = _live(cluster, "DaemonSet", PLUGIN)["spec"]["template"]["spec"]["containers"]
        container["env"].append({"name": "MIG_STRATEGY", "value": "mixed"})
        found = _bad(gpu_stack.objects_are_as_wanted, cluster)
        assert "containers[nvidia-device-plugin].env[MIG_STRATEGY]: live {" in found.fact
        assert found.fact.endswith("stack nothing")
        assert found.remedy == f"kubectl --context admin@lab edit daemonset {PLUGIN} -n {SPACE}"
        assert found.cause == "someone added it, and Pulumi may leave alone what it has not set itself"

    def test_what_was_changed_and_added_is_put_back_first(self, cluster: FakeCluster) -> None:
        live = _live(cluster, "DaemonSet", PLUGIN)["spec"]
        live |= {"minReadySeconds": 0, "revisionHistoryLimit": 1}
        assert _bad(gpu_stack.objects_are_as_wanted, cluster).remedy == "pulumi up --refresh --stack lab"

    def test_one_that_is_gone_is_told(self, cluster: FakeCluster) -> None:
        name = _config_map(cluster, f"{POWER}-agent")
        del cluster.objects["ConfigMap", SPACE, name]
        assert _bad(gpu_stack.objects_are_as_wanted, cluster).fact == f"ConfigMap {name} is not in the cluster"

    def test_what_the_api_server_adds_is_no_difference(
        self, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Defaults are in the live object and, through the dry run, in the stack's; bookkeeping is in neither."""
        live = _live(cluster, "DaemonSet", PLUGIN)
        live["spec"]["revisionHistoryLimit"] = 10
        live["metadata"] |= {"annotations": {"deprecated.daemonset.template.generation": "3"}, "uid": "1"}

        def replace(manifest: Manifest) -> Manifest:
            done = copy.deepcopy(manifest)
            if done["metadata"]["name"] == PLUGIN:
                done["spec"]["revisionHistoryLimit"] = 10
                done["metadata"]["annotations"] = {"deprecated.daemonset.template.generation": "4"}
            return done

        monkeypatch.setattr(cluster, "replace", replace)
        found = results_of(gpu_stack.objects_are_as_wanted, context_of(cluster))
        assert {result.outcome for result in found} == {Outcome.PASS}

    def test_what_the_api_server_refuses_is_told_with_its_reason(self, cluster: FakeCluster) -> None:
        cluster.failures["replace"] = RejectedError("field is immutable")
        found = results_of(gpu_stack.objects_are_as_wanted, context_of(cluster))
        assert {result.outcome for result in found} == {Outcome.FAIL}
        name = _config_map(cluster, f"{POWER}-agent")
        assert found[0].fact == f"ConfigMap {name} cannot become what the stack asks for: field is immutable"

    def test_who_may_not_try_learns_that_it_was_not_told(self, cluster: FakeCluster) -> None:
        cluster.failures["replace"] = AccessDeniedError("daemonsets is forbidden")
        report = run([gpu_stack.objects_are_as_wanted], context_of(cluster), lambda _: None)
        assert report.entries[0].outcome is Outcome.SKIP

    def test_a_custom_resource_is_replaced_in_the_version_it_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = settings_of(monitoring=True)
        cluster, versions = healthy(settings), list[str]()
        _live(cluster, "PrometheusRule", "gpu-sharing")["metadata"]["resourceVersion"] = "17"

        def replace(manifest: Manifest) -> Manifest:
            versions.append(manifest["metadata"].get("resourceVersion", ""))
            return manifest

        monkeypatch.setattr(cluster, "replace", replace)
        found = results_of(gpu_stack.objects_are_as_wanted, context_of(cluster, settings))
        assert {result.outcome for result in found} == {Outcome.PASS}
        assert sorted(versions)[-2:] == ["", "17"]

    def test_of_many_the_first_are_told_and_the_others_counted(self, cluster: FakeCluster) -> None:
        settings = settings_of(namespace="other")
        live = healthy(settings).objects["DaemonSet", "other", PLUGIN]
        cluster.objects["DaemonSet", SPACE, PLUGIN] = live | {"spec": {"one": 1, "two": 2}}
        found = _bad(gpu_stack.objects_are_as_wanted, cluster)
        assert found.fact.count("stack ") == 3
        assert found.fact.endswith("more")


def test_a_daemon_set_of_another_profile_that_was_left_is_told(cluster: FakeCluster) -> None:
    left = copy.deepcopy(_live(cluster, "DaemonSet", PLUGIN))
    left["metadata"]["name"] = f"{PLUGIN}-gpu-2"
    cluster.add(left)
    cluster.add({"kind": "DaemonSet", "metadata": {"name": "of-others", "namespace": SPACE, "labels": {"app": "log"}}})
    found = _bad(gpu_stack.nothing_is_left, cluster)
    assert found.fact == f"DaemonSet {PLUGIN}-gpu-2 is in namespace {SPACE} and not in the stack"
    assert found.remedy == f"kubectl --context admin@lab delete daemonset {PLUGIN}-gpu-2 -n {SPACE}"


class TestDaemonSets:
    def _status(self, cluster: FakeCluster, **status: int) -> None:
        _live(cluster, "DaemonSet", PLUGIN)["status"] |= status

    def _waits(self, cluster: FakeCluster, reason: str, message: str = "", **status: object) -> None:
        """The pod on gpu-2 does not start."""
        waiting = {"waiting": {"reason": reason, "message": message}}
        pod = cluster.pod_objects[f"{PLUGIN}-gpu-2"]
        pod["status"] = {
            "phase": "Pending",
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{"name": PLUGIN, "state": waiting} | status],
        }
        self._status(cluster, numberReady=1)

    def test_a_change_that_its_controller_has_not_seen_is_not_trusted(self, cluster: FakeCluster) -> None:
        _live(cluster, "DaemonSet", PLUGIN)["metadata"]["generation"] = 2
        assert "its controller has not seen it yet" in _bad(gpu_stack.daemon_sets_are_ready, cluster).fact

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_another_number_of_nodes_than_the_stacks_is_told(self, cluster: FakeCluster, count: int) -> None:
        """A DaemonSet that finds no node at all counts as ready everywhere else."""
        self._status(cluster, desiredNumberScheduled=count, numberReady=count, updatedNumberScheduled=count)
        found = _bad(gpu_stack.daemon_sets_are_ready, cluster)
        nodes = "1 node" if count == 1 else f"{count} nodes"
        assert found.fact == f"DaemonSet {PLUGIN} wants {nodes}, and the stack has 2 for it"

    def test_each_profile_has_its_own_number(self) -> None:
        settings = settings_of(
            nodes=[
                {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
                {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "slices": 2},
            ]
        )
        found = results_of(gpu_stack.daemon_sets_are_ready, context_of(healthy(settings), settings))
        assert {result.subject: result.fact[-16:] for result in found} == {
            POWER: "ready on 2 nodes",
            PLUGIN: " ready on 1 node",
            f"{PLUGIN}-gpu-2": " ready on 1 node",
        }

    def test_a_rollout_that_is_not_over_is_told(self, cluster: FakeCluster) -> None:
        self._status(cluster, updatedNumberScheduled=1)
        assert _bad(gpu_stack.daemon_sets_are_ready, cluster).fact.endswith("is up to date on 1 of 2 nodes")

    def test_a_pod_where_it_does_not_belong_is_told(self, cluster: FakeCluster) -> None:
        self._status(cluster, numberMisscheduled=1)
        assert "still runs on 1 node where it does not belong" in _bad(gpu_stack.daemon_sets_are_ready, cluster).fact

    @pytest.mark.parametrize(
        ("reason", "message", "status", "cause"),
        [
            ("ImagePullBackOff", "Back-off pulling", {}, "does not start: ImagePullBackOff: Back-off pulling"),
            ("CrashLoopBackOff", "back-off 10s", {"restartCount": 3}, "exits again and again: E1125 no NVML"),
            ("ContainerCreating", "", {}, 'does not start: ContainerCreating: no runtime for "nvidia" is configured'),
        ],
    )  # fmt: skip
    def test_why_a_pod_does_not_start_is_told(
        self, cluster: FakeCluster, reason: str, message: str, status: dict[str, Any], cause: str
    ) -> None:
        self._waits(cluster, reason, message, **status)
        cluster.logs[f"{PLUGIN}-gpu-2"] = ["I1125 starting", "E1125 no NVML"]
        _event(cluster, "Pod", f"{PLUGIN}-gpu-2", "still pulling", "2026-01-01T00:00:00Z")
        _event(cluster, "Pod", f"{PLUGIN}-gpu-2", 'no runtime for "nvidia" is configured', "2026-01-01T00:00:05Z")
        found = _bad(gpu_stack.daemon_sets_are_ready, cluster)
        assert found.fact == f"DaemonSet {PLUGIN} is ready on 1 of 2 nodes"
        assert found.cause == f"{PLUGIN} on gpu-2 {cause}"

    def test_a_pod_that_is_forbidden_is_told_in_the_words_of_the_api_server(self, cluster: FakeCluster) -> None:
        for node in ("gpu-1", "gpu-2"):
            del cluster.pod_objects[f"{PLUGIN}-{node}"]
        self._status(cluster, numberReady=0)
        _event(cluster, "DaemonSet", PLUGIN, 'violates PodSecurity "baseline:latest": hostPath volumes')
        found = _bad(gpu_stack.daemon_sets_are_ready, cluster)
        assert found.cause == (
            'no pod can be made on gpu-1, gpu-2: violates PodSecurity "baseline:latest": hostPath volumes'
        )

    def test_who_may_not_read_events_still_learns_that_it_is_not_ready(self, cluster: FakeCluster) -> None:
        self._waits(cluster, "ContainerCreating")
        context = context_of(cluster)
        _ = context.pods
        cluster.failures["list"] = AccessDeniedError("events is forbidden")
        (found,) = [
            each for each in results_of(gpu_stack.daemon_sets_are_ready, context) if each.outcome is Outcome.FAIL
        ]
        assert found.cause == f"{PLUGIN} on gpu-2 does not start: ContainerCreating"

    def test_one_that_is_gone_is_not_told_twice(self, cluster: FakeCluster) -> None:
        del cluster.objects["DaemonSet", SPACE, PLUGIN]
        found = results_of(gpu_stack.daemon_sets_are_ready, context_of(cluster))
        assert {result.subject: result.outcome for result in found} == {POWER: Outcome.PASS, PLUGIN: Outcome.SKIP}


def _event(cluster: FakeCluster, kind: str, name: str, message: str, time: str = "2026-01-01T00:00:00Z") -> None:
    cluster.add(
        {
            "kind": "Event",
            "type": "Warning",
            "metadata": {"name": f"{name}.{time}", "namespace": SPACE},
            "involvedObject": {"kind": kind, "name": name},
            "message": message,
            "lastTimestamp": time,
        }
    )


class TestLoadedConfiguration:
    def test_a_pod_of_an_earlier_configuration_is_told_with_its_node(self, cluster: FakeCluster) -> None:
        cluster.pod_objects[f"{PLUGIN}-gpu-1"]["metadata"]["annotations"][CHECKSUM_ANNOTATION] = "0" * 64
        found = _bad(plugin_config.pods_are_of_the_configuration, cluster)
        assert found.subject == "gpu-1"
        assert "on gpu-1 was started for configuration 0000000000 and the stack's is " in found.fact

    @pytest.mark.parametrize(
        ("old", "new", "runs"),
        [
            ('"replicas": 4', '"replicas": 6', "6 slices per GPU of nvidia.com/gpu, more than one in a pod refused"),
            ('"failRequestsGreaterThanOne": true,', "", "4 slices per GPU of nvidia.com/gpu"),
            (
                '"failRequestsGreaterThanOne": true,',
                '"failRequestsGreaterThanOne": true, "renameByDefault": true,',
                "4 slices per GPU of nvidia.com/gpu, under the name of shared GPUs, more than one in a pod refused",
            ),
        ],
    )
    def test_a_plugin_that_runs_with_another_sharing_is_told(
        self, cluster: FakeCluster, old: str, new: str, runs: str
    ) -> None:
        cluster.logs[f"{PLUGIN}-gpu-2"] = str(LOADED.replace(old, new)).splitlines()
        found = _bad(plugin_config.plugins_have_loaded_the_sharing, cluster)
        assert found.fact == (
            f"the device plugin on gpu-2 runs with {runs}, and the stack asks for "
            "4 slices per GPU of nvidia.com/gpu, more than one in a pod refused"
        )
        assert found.remedy == f"kubectl --context admin@lab rollout restart -n {SPACE} daemonset/{PLUGIN}"

    def test_only_what_it_loaded_last_counts(self, cluster: FakeCluster) -> None:
        again = LOADED.replace('"replicas": 4', '"replicas": 6')
        cluster.logs[f"{PLUGIN}-gpu-1"] = [*again.splitlines(), *LOADED.splitlines()]
        found = results_of(plugin_config.plugins_have_loaded_the_sharing, context_of(cluster))
        assert {result.outcome for result in found} == {Outcome.PASS}

    def test_whole_gpus_are_no_sharing(self) -> None:
        settings = settings_of(slices=1)
        cluster = healthy(settings)
        cluster.logs[f"{PLUGIN}-gpu-1"] = ["Running with config:", '{"sharing": {"timeSlicing": {}}}']
        first, second = results_of(plugin_config.plugins_have_loaded_the_sharing, context_of(cluster, settings))
        assert (first.outcome, first.fact) == (Outcome.PASS, "the device plugin on gpu-1 runs with whole GPUs")
        assert second.outcome is Outcome.SKIP

    @pytest.mark.parametrize("lines", [[], ["I1125 Registered"], ["Running with config:", "{"]])
    def test_a_log_that_does_not_say_is_skipped(self, cluster: FakeCluster, lines: list[str]) -> None:
        cluster.logs[f"{PLUGIN}-gpu-1"] = lines
        first, second = results_of(plugin_config.plugins_have_loaded_the_sharing, context_of(cluster))
        assert (first.outcome, second.outcome) == (Outcome.SKIP, Outcome.PASS)

    @pytest.mark.parametrize("check", plugin_config.CHECKS, ids=lambda check: check.id)
    def test_who_may_not_read_pods_learns_why_it_was_not_told(self, check: Check, cluster: FakeCluster) -> None:
        cluster.failures["pods"] = AccessDeniedError("pods is forbidden")
        report = run([check], context_of(cluster), lambda _: None)
        assert [result.fact for result in report.entries[0].results] == ["pods is forbidden"]


def _without_gpu_2(cluster: FakeCluster) -> None:
    _live(cluster, "DaemonSet", PLUGIN)["status"] |= {"desiredNumberScheduled": 1, "numberReady": 1}


def _not_ready(node: dict[str, Any]) -> None:
    node["status"]["conditions"][0]["status"] = "False"


def _unlabelled(node: dict[str, Any]) -> None:
    node["metadata"]["labels"] = {}


def _tainted(node: dict[str, Any]) -> None:
    node["spec"]["taints"] = [{"key": "dedicated", "effect": "NoSchedule"}]


def _as_it_should_be(_: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (_not_ready, "gpu-2 is not Ready"),
        (_unlabelled, "gpu-2 is without the stack's labels"),
        (_tainted, "gpu-2 is tainted"),
        (_as_it_should_be, "the labels or taints of other nodes are not those of the stack"),
    ],
    ids=["not ready", "unlabelled", "tainted", "nothing of its own nodes"],
)
def test_why_a_daemon_set_wants_another_number_of_nodes(
    cluster: FakeCluster, change: Callable[[dict[str, Any]], None], cause: str
) -> None:
    _without_gpu_2(cluster)
    change(cluster.node_objects["gpu-2"])
    assert _bad(gpu_stack.daemon_sets_are_ready, cluster).cause == cause


def test_a_node_that_is_gone_is_why_a_daemon_set_wants_another_number_of_nodes(cluster: FakeCluster) -> None:
    _without_gpu_2(cluster)
    del cluster.node_objects["gpu-2"]
    assert _bad(gpu_stack.daemon_sets_are_ready, cluster).cause == "gpu-2 is not in the cluster"


def test_the_daemon_set_that_runs_on_a_node_is_restarted_and_not_one_that_an_update_did_not_get_to_make() -> None:
    """The stack gives gpu-2 a profile of its own, and the update ended before that."""
    before, after = (
        settings_of(),
        settings_of(
            nodes=[
                {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
                {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "slices": 2},
            ]
        ),
    )
    cluster = healthy(before)
    for node in ("gpu-1", "gpu-2"):
        cluster.logs[f"{PLUGIN}-{node}"] = list(LOADED.splitlines())
    found = _bad(plugin_config.plugins_have_loaded_the_sharing, cluster, after)
    assert found.subject == "gpu-2"
    assert found.remedy.endswith(f"daemonset/{PLUGIN}")
