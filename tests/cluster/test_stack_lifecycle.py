"""A stack from its first `pulumi up` to `pulumi destroy`, on a real API server.

Each fixture is one thing done to the stack and builds on the one before; the tests look at what it recorded. All of
it happens in an environment whose current context is another cluster.
"""

import functools
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpuctl.cli import app, options
from gpuctl.desired.names import CHECKSUM_ANNOTATION, PRESENT_LABEL, PROFILE_LABEL
from gpuctl.settings import read_stack
from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1, MakeStack
from tests.cluster.pulumi_stack import (
    Environment,
    Key,
    Outcome,
    Snapshot,
    Stack,
    Step,
    clear,
    is_subset,
    output,
    snapshot,
)
from tests.fixtures.manifests import manifests
from tests.fixtures.names import without_hash

pytestmark = pytest.mark.cluster

NAMESPACE = "gpu-lifecycle"
PLUGIN_CONFIG = Key("ConfigMap", "nvidia-device-plugin-config")
PLUGIN = Key("DaemonSet", "nvidia-device-plugin")
POWER_AGENT = Key("ConfigMap", "nvidia-power-limit-agent")
POWER = Key("DaemonSet", "nvidia-power-limit")


class OtherCluster(socketserver.ThreadingTCPServer):
    """Counts who speaks to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.connections = 0

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        self.connections += 1
        return False


@dataclass(frozen=True)
class Deployed:
    """The stack after its first `pulumi up`."""

    stack: Stack
    outcome: Outcome
    before: Snapshot
    after: Snapshot


@dataclass(frozen=True)
class Change:
    """A change of settings that was previewed and made."""

    stack: Stack
    preview: Outcome
    up: Outcome
    before: Snapshot
    after: Snapshot


@dataclass(frozen=True)
class Repeated:
    """Everything a second time, with the same settings."""

    preview: Outcome
    up: Outcome
    before: Snapshot
    after: Snapshot


@dataclass(frozen=True)
class Drift:
    """Someone changed the plugin's DaemonSet by kubectl."""

    unrefreshed: Outcome
    preview: Outcome
    up: Outcome
    before: Snapshot
    drifted: Snapshot
    after: Snapshot


def changed(stack: Stack, environment: Environment) -> Change:
    before, preview = snapshot(environment), stack.preview()
    return Change(stack, preview, stack.up(), before, snapshot(environment))


def updates(*keys: Key) -> set[Step]:
    return {Step("update", *key) for key in keys}


@pytest.fixture(scope="module")
def other_cluster() -> Iterator[OtherCluster]:
    with OtherCluster() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def two_contexts(cluster: Cluster, other_cluster: OtherCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig with the cluster and, as its current context, another one."""
    document = json.loads(cluster.kubeconfig.read_text())
    address = f"https://127.0.0.1:{other_cluster.server_address[1]}"
    document["clusters"].append({"name": "other", "cluster": {"server": address, "insecure-skip-tls-verify": True}})
    document["contexts"].append({"name": "other", "context": {"cluster": "other", "user": cluster.context}})
    document["current-context"] = "other"
    path = tmp_path_factory.mktemp("kubeconfig") / "config"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def deployed(
    cluster: Cluster, environment: Environment, make_stack: MakeStack, two_contexts: Path
) -> Iterator[Deployed]:
    stack = make_stack("lifecycle", {**environment, "KUBECONFIG": str(two_contexts)})
    stack.configure(context=cluster.context, namespace=NAMESPACE, nodes=[GPU_1])
    before = snapshot(environment)
    yield Deployed(stack, stack.up(), before, snapshot(environment))
    stack.remove()
    clear(environment)


@pytest.fixture(scope="module")
def repeated(deployed: Deployed, environment: Environment) -> Repeated:
    preview = deployed.stack.preview("--expect-no-changes")
    return Repeated(preview, deployed.stack.up(), deployed.after, snapshot(environment))


@pytest.fixture(scope="module")
def other_limit(deployed: Deployed, repeated: Repeated) -> Outcome:  # noqa: ARG001
    """The preview of another power limit, which then is not made."""
    file = deployed.stack.file
    settings = file.read_text()
    deployed.stack.pulumi("config", "set", "gpu:powerLimit", "250")
    preview = deployed.stack.preview()
    file.write_text(settings)
    return preview


@pytest.fixture(scope="module")
def drift(deployed: Deployed, other_limit: Outcome, environment: Environment) -> Drift:  # noqa: ARG001
    stack, before = deployed.stack, snapshot(environment)
    patch = json.dumps({"spec": {"minReadySeconds": 9}})
    output(environment, "kubectl", "-n", NAMESPACE, "patch", "daemonset", PLUGIN.name, "-p", patch)
    return Drift(
        before=before,
        drifted=snapshot(environment),
        unrefreshed=stack.preview("--refresh=false", "--expect-no-changes"),
        preview=stack.preview("--expect-no-changes"),
        up=stack.up(),
        after=snapshot(environment),
    )


@pytest.fixture(scope="module")
def slices(deployed: Deployed, drift: Drift, environment: Environment) -> Change:  # noqa: ARG001
    deployed.stack.pulumi("config", "set", "gpu:slices", "6")
    return changed(deployed.stack, environment)


@pytest.fixture(scope="module")
def second_profile(slices: Change, environment: Environment) -> Change:
    """A second node comes, with slices of its own."""
    for key, value in {"name": "gpu-2", "gpu": "l4", "count": "4", "slices": "2", "powerLimit": "72"}.items():
        slices.stack.pulumi("config", "set", "--path", f"gpu:nodes[1].{key}", value)
    return changed(slices.stack, environment)


@pytest.fixture(scope="module")
def without_power(second_profile: Change, environment: Environment) -> Change:
    second_profile.stack.pulumi("config", "set", "gpu:powerManagement", "false")
    return changed(second_profile.stack, environment)


@pytest.fixture(scope="module")
def destroyed(without_power: Change, environment: Environment) -> Deployed:
    before = snapshot(environment)
    return Deployed(without_power.stack, without_power.stack.destroy(), before, snapshot(environment))


class TestUp:
    def test_it_makes_the_objects_that_gpuctl_renders_and_no_other(self, deployed: Deployed) -> None:
        assert deployed.outcome.errors == ""
        rendered = {Key(m["kind"], without_hash(m["metadata"]["name"])): m for m in manifests(deployed.stack.settings)}
        assert deployed.before.objects == {}
        assert deployed.after.objects.keys() == rendered.keys()
        assert [key for key, live in deployed.after.objects.items() if not is_subset(rendered[key], live)] == []

    def test_it_labels_the_nodes_of_the_stack_file_and_no_other(self, deployed: Deployed) -> None:
        own = {PRESENT_LABEL: "true", PROFILE_LABEL: "default"}
        assert deployed.after.labels("gpu-1") == deployed.before.labels("gpu-1") | own
        assert deployed.after.labels("gpu-2") == deployed.before.labels("gpu-2")

    def test_its_pods_run_on_the_labelled_nodes(self, deployed: Deployed) -> None:
        ready = {key: deployed.after.objects[key]["status"]["numberReady"] for key in (PLUGIN, POWER)}
        assert ready == {PLUGIN: 1, POWER: 1}

    def test_the_context_of_the_stack_file_counts_and_the_current_one_is_not_spoken_to(
        self, deployed: Deployed, other_cluster: OtherCluster
    ) -> None:
        assert deployed.outcome.succeeded
        assert other_cluster.connections == 0

    def test_its_outputs_are_the_figures_of_gpuctl(self, deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
        stack = deployed.stack
        outputs = json.loads(stack.pulumi("stack", "output", "--json"))
        monkeypatch.setattr(options, "read_stack", functools.partial(read_stack, folder=stack.file.parent))
        printed = CliRunner().invoke(app.app, ["capacity", "--stack", stack.name, "-o", "json"]).stdout
        figures = {key: value for key, value in json.loads(printed).items() if key in outputs}
        assert figures.keys() == {"gpuCapacity", "powerBudgetWatts", "circuits", "memoryPerSliceMiB"}
        assert is_subset({key: outputs[key] for key in figures}, figures)
        assert outputs["gpuCapacity"]["total"] == 2 * deployed.stack.settings.slices

    def test_its_other_outputs_tell_what_was_deployed(self, deployed: Deployed) -> None:
        outputs = json.loads(deployed.stack.pulumi("stack", "output", "--json"))
        figures = {"gpuCapacity", "powerBudgetWatts", "circuits", "memoryPerSliceMiB"}
        assert outputs.keys() - figures == {"clusterUid", "namespace", "devicePluginImage", "configHash", "talos"}
        uid = ("kubectl", "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
        assert outputs["clusterUid"] == output(
            deployed.stack.environment, *uid, "--context", deployed.stack.settings.context
        )
        template = deployed.after.objects[PLUGIN]["spec"]["template"]
        assert outputs["configHash"] == {"default": template["metadata"]["annotations"][CHECKSUM_ANNOTATION]}
        assert outputs["devicePluginImage"] == template["spec"]["containers"][0]["image"]
        assert outputs["namespace"] == deployed.after.objects[PLUGIN]["metadata"]["namespace"] == NAMESPACE
        assert outputs["talos"]["patches"].keys() == {"gpu-1"}
        assert outputs["talos"]["installerImage"] in outputs["talos"]["patches"]["gpu-1"]

    def test_with_the_same_settings_again_it_changes_nothing(self, repeated: Repeated) -> None:
        assert repeated.preview.succeeded
        assert repeated.up.succeeded
        assert repeated.up.steps == set()
        versions = [
            {key: live["metadata"]["generation"] for key, live in at.objects.items() if key.kind == "DaemonSet"}
            for at in (repeated.before, repeated.after)
        ]
        assert versions[0] == versions[1]
        assert repeated.after.changed_since(repeated.before) == set()
        assert repeated.after.uids() == repeated.before.uids()


class TestChange:
    def test_another_power_limit_updates_the_power_limit_daemon_set_alone(self, other_limit: Outcome) -> None:
        assert other_limit.steps == updates(POWER)

    def test_more_slices_are_previewed_as_another_config_map_and_an_update_of_the_plugin_in_place(
        self, slices: Change
    ) -> None:
        assert {Key(step.kind, step.name) for step in slices.preview.steps} == {PLUGIN_CONFIG, PLUGIN}
        assert [step.operation for step in slices.preview.steps if step.kind == "DaemonSet"] == ["update"]

    def test_more_slices_roll_the_plugin_and_replace_nothing_but_the_config_map(self, slices: Change) -> None:
        assert slices.up.errors == ""
        assert {Key(step.kind, step.name) for step in slices.up.steps} == {PLUGIN_CONFIG, PLUGIN}
        assert [step.operation for step in slices.up.steps if step.kind == "DaemonSet"] == ["update"]
        before, after = slices.before.uids(), slices.after.uids()
        assert {key for key in before if before[key] != after[key]} == {PLUGIN_CONFIG}

    def test_the_old_config_map_goes_when_no_pod_mounts_it_any_more(
        self, slices: Change, environment: Environment
    ) -> None:
        names = output(environment, "kubectl", "get", "configmaps", "-n", NAMESPACE, "-o", "name").split()
        assert [name for name in names if name.startswith(f"configmap/{PLUGIN_CONFIG.name}")] == [
            f"configmap/{slices.after.objects[PLUGIN_CONFIG]['metadata']['name']}"
        ]
        volumes = slices.after.objects[PLUGIN]["spec"]["template"]["spec"]["volumes"]
        mounted = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
        assert [name for name in mounted if name.startswith(PLUGIN_CONFIG.name)] == [
            slices.after.objects[PLUGIN_CONFIG]["metadata"]["name"]
        ]
        assert slices.after.changed_since(slices.before) == {PLUGIN_CONFIG, PLUGIN}
        old, new = (
            at.objects[PLUGIN]["spec"]["template"]["metadata"]["annotations"] for at in (slices.before, slices.after)
        )
        assert old[CHECKSUM_ANNOTATION] != new[CHECKSUM_ANNOTATION]

    def test_a_node_with_slices_of_its_own_gets_objects_of_its_own(self, second_profile: Change) -> None:
        config = {Key("ConfigMap", f"{PLUGIN_CONFIG.name}-gpu-2")}
        added = config | {Key("DaemonSet", f"{PLUGIN.name}-gpu-2")}
        created = {Step("create", *key) for key in {*added, Key("NodePatch", "gpu-2")}}
        assert second_profile.preview.steps == second_profile.up.steps == created | updates(POWER)
        assert second_profile.after.objects.keys() - second_profile.before.objects.keys() == added
        assert second_profile.after.labels("gpu-2")[PROFILE_LABEL] == "gpu-2"
        ready = [second_profile.after.objects[key]["status"].get("numberReady") for key in (*(added - config), POWER)]
        assert ready == [1, 2]

    def test_a_node_with_slices_of_its_own_leaves_the_others_alone(self, second_profile: Change) -> None:
        """But for the power-limit agent, which is one for all nodes and is told what is special about each."""
        assert second_profile.after.changed_since(second_profile.before) == {POWER}
        assert second_profile.before.uids().items() <= second_profile.after.uids().items()
        assert second_profile.after.labels("gpu-1") == second_profile.before.labels("gpu-1")

    def test_without_power_management_its_objects_go_and_nothing_else_does(self, without_power: Change) -> None:
        power = {POWER_AGENT, POWER}
        assert without_power.preview.steps == without_power.up.steps == {Step("delete", *key) for key in power}
        assert without_power.before.objects.keys() - without_power.after.objects.keys() == power
        assert without_power.after.changed_since(without_power.before) == set()


class TestDrift:
    def test_every_preview_sees_it_and_names_the_object_unless_told_not_to_refresh(self, drift: Drift) -> None:
        assert drift.unrefreshed.succeeded
        assert not drift.preview.succeeded
        assert drift.preview.steps == updates(PLUGIN)
        assert "no changes were expected" in drift.preview.errors

    def test_up_puts_it_back(self, drift: Drift) -> None:
        assert drift.drifted.changed_since(drift.before) == {PLUGIN}
        assert drift.up.errors == ""
        assert drift.up.steps == updates(PLUGIN)
        assert drift.after.changed_since(drift.before) == set()


class TestDestroy:
    def test_everything_of_the_stack_goes(self, destroyed: Deployed) -> None:
        assert destroyed.outcome.succeeded
        assert destroyed.before.objects != {}
        assert destroyed.after.objects == {}

    def test_the_nodes_stay_with_the_labels_that_others_gave_them(
        self, deployed: Deployed, destroyed: Deployed
    ) -> None:
        assert {name: node["metadata"]["uid"] for name, node in destroyed.after.nodes.items()} == {
            name: node["metadata"]["uid"] for name, node in deployed.before.nodes.items()
        }
        for node in ("gpu-1", "gpu-2"):
            assert destroyed.before.labels(node)[PRESENT_LABEL] == "true"
            assert destroyed.after.labels(node) == deployed.before.labels(node)
