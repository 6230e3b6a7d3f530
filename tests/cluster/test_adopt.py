"""`gpuctl adopt` on a real API server: the steps that it prints, run in their order, lead to a stack."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gpuctl.desired.names import OWNER, PRESENT_LABEL, PROFILE_LABEL
from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1, MakeStack
from tests.cluster.pulumi_stack import Environment, Key, Stack, clear, output, run, snapshot
from tests.cluster.test_upgrade import DAEMON_SETS, NAMESPACE, RELEASED, objects_of, records
from tests.fixtures.starts import kustomization

pytestmark = pytest.mark.cluster

GPUCTL = f"{sys.executable} -m gpuctl"
GPU_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "trainer", "namespace": "default"},
    "spec": {"nodeName": "gpu-1", "containers": [{"name": "main", "image": "cuda", "resources": {}}]},
}


def adopt(stack: Stack, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what it says."""
    done = run(stack.environment, *GPUCTL.split(), "adopt", "--stack", stack.name, "-o", "json", *words)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def fates(said: dict[str, Any]) -> dict[str, str]:
    return {f"{each['kind']} {each['name']}": each["fate"] for each in said["objects"]}


def follow(stack: Stack, said: dict[str, Any]) -> None:
    """Runs the steps as they are printed, but for the last proof."""
    for step in said["steps"]:
        if step["command"].startswith("pulumi up"):
            assert stack.up().errors == ""
        elif not step["command"].startswith("gpuctl verify"):
            stack.shell(
                step["command"].replace("gpuctl", GPUCTL, 1) if "gpuctl adopt" in step["command"] else step["command"]
            )


def uids(environment: Environment, *names: str) -> list[str]:
    return output(environment, "kubectl", "get", *names, "-o", "jsonpath={.items[*].metadata.uid}").split()


@pytest.fixture
def kustomized(environment: Environment, stack: Stack) -> Iterator[str]:
    """A cluster with the plugin's manifest in the stack's namespace, and a pod that runs; the namespace."""
    namespace = stack.settings.namespace
    for each in (*kustomization(namespace), GPU_POD):
        output(environment, "kubectl", "apply", "-f", "-", text=json.dumps(each))
    plugin = ("rollout", "status", "-n", namespace, "daemonset/nvidia-device-plugin", "--timeout=120s")
    output(environment, "kubectl", *plugin)
    yield namespace
    output(environment, "kubectl", "delete", "pod", "trainer", "--grace-period=0", "--force")


def test_a_kustomization_becomes_a_stack_by_the_steps_that_are_printed(
    stack: Stack, environment: Environment, kustomized: str
) -> None:
    kept = ("runtimeclass/nvidia", f"namespace/{kustomized}", "pod/trainer")
    before = uids(environment, *kept)
    code, said = adopt(stack)
    assert code == 10
    assert fates(said) == {
        "RuntimeClass nvidia": "marked",
        f"Namespace {kustomized}": "marked",
        "DaemonSet nvidia-device-plugin": "goes",
    }
    assert "exists already" in stack.preview().errors
    follow(stack, said)
    assert uids(environment, *kept) == before
    plugin = snapshot(environment).objects[Key("DaemonSet", "nvidia-device-plugin")]
    assert plugin["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "default"
    left = output(environment, "kubectl", "get", "configmaps", "-n", kustomized, "-o", "name")
    assert "time-slicing-config" not in left
    code, said = adopt(stack)
    assert (code, set(fates(said).values())) == (0, {"deployed"})
    assert stack.preview("--expect-no-changes").succeeded
    assert stack.destroy().succeeded
    assert snapshot(environment).objects == {}


def test_a_stack_that_was_renamed_is_taken_over_with_its_nodes(
    stack: Stack, make_stack: MakeStack, cluster: Cluster, environment: Environment
) -> None:
    assert stack.up().errors == ""
    before = snapshot(environment)
    renamed = make_stack(f"{stack.name}-renamed")
    renamed.configure(context=cluster.context, namespace=stack.settings.namespace, nodes=[GPU_1])
    code, said = adopt(renamed, "--yes")
    assert (code, len(said["inTheWay"])) == (1, 1)
    assert snapshot(environment).changed_since(before) == set()
    code, said = adopt(renamed, "--from-stack", f"gpu/{stack.name}", "--yes")
    assert (code, said["inTheWay"]) == (0, [])
    assert "Node gpu-1" in said["takenOver"]
    taken = snapshot(environment)
    assert taken.labels("gpu-1") == before.labels("gpu-1")
    assert renamed.up().errors == ""
    assert snapshot(environment).uids() == before.uids()
    assert renamed.destroy().succeeded
    left = snapshot(environment)
    assert left.objects == {}
    assert not {PRESENT_LABEL, PROFILE_LABEL} & left.labels("gpu-1").keys()
    assert OWNER not in left.nodes["gpu-1"]["metadata"].get("annotations", {})
    renamed.remove()


@pytest.fixture
def released(cluster: Cluster, environment: Environment, make_stack: MakeStack) -> Iterator[Stack]:
    """What the last release deployed, of which there are no records any more."""
    stack = make_stack("released-without-records")
    stack.configure(context=cluster.context, **RELEASED["settings"])
    for resource in objects_of(records(cluster.context)):
        manager = f"--field-manager={resource['outputs']['__fieldManager']}"
        apply = ("kubectl", "apply", "--server-side", manager, "-f", "-")
        output(environment, *apply, text=json.dumps(resource["inputs"]))
    yield stack
    stack.remove()
    clear(environment)


def test_an_older_version_without_records_is_taken_by_pulumi_up_and_its_rest_is_named(
    released: Stack, environment: Environment
) -> None:
    before = snapshot(environment)
    code, said = adopt(released)
    assert code == 0
    assert fates(said).items() >= {"RuntimeClass nvidia": "deployed", f"Namespace {NAMESPACE}": "deployed"}.items()
    follow(released, said)
    after = snapshot(environment)
    kept = {key: uid for key, uid in before.uids().items() if key.kind != "ConfigMap"}
    assert kept == {key: uid for key, uid in after.uids().items() if key.kind != "ConfigMap"}
    assert {key.name for key in kept if key.kind == "DaemonSet"} == DAEMON_SETS
    names = output(environment, "kubectl", "get", "configmaps", "-n", NAMESPACE, "-o", "name").split()
    assert "configmap/nvidia-power-limit-agent" not in names
    assert len(names) == 5, names
    assert fates(adopt(released)[1]) == {"RuntimeClass nvidia": "deployed", f"Namespace {NAMESPACE}": "deployed"}
