"""What a stack does about objects and labels of others, and about its own that an interruption left."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuctl.desired.names import PRESENT_LABEL, PROFILE_LABEL
from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1, MakeStack
from tests.cluster.pulumi_stack import REPOSITORY, Environment, Key, Stack, children, is_subset, output, run, snapshot

pytestmark = pytest.mark.cluster


def eventually(what: str, holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


@pytest.fixture
def made_by_hand(environment: Environment, stack: Stack) -> Iterator[str]:
    """A RuntimeClass as the guides have people make it, and a namespace with something of value; their UIDs."""
    namespace = stack.settings.namespace
    runtime_class = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}}
    create = ("kubectl", "create")
    output(environment, *create, "-f", "-", text=json.dumps(runtime_class | {"handler": "nvidia"}))
    output(environment, *create, "namespace", namespace)
    output(environment, *create, "configmap", "of-value", "--namespace", namespace)
    yield uids(environment, namespace)
    output(environment, "kubectl", "delete", "runtimeclass/nvidia", f"namespace/{namespace}", "--wait=false")


def uids(environment: Environment, namespace: str) -> str:
    """Of what the fixture made."""
    names = ("runtimeclass/nvidia", f"namespace/{namespace}", "configmap/of-value")
    path = "jsonpath={.items[*].metadata.uid}"
    return output(environment, "kubectl", "get", *names, "--namespace", namespace, "-o", path)


class TestObjectsOfOthers:
    def test_up_takes_over_none_until_it_is_handed_over_as_the_message_says(
        self, stack: Stack, environment: Environment, cluster: Cluster, made_by_hand: str
    ) -> None:
        namespace = stack.settings.namespace
        message = stack.up().errors
        assert f"Namespace {namespace} exists already" in message
        assert "RuntimeClass nvidia exists already" in message
        assert stack.preview().errors == message
        stack.destroy()
        assert uids(environment, namespace) == made_by_hand
        label = "label runtimeclass nvidia app.kubernetes.io/part-of=gpu-sharing"
        hand_over = f"kubectl --context {cluster.context} {label}"
        assert hand_over in message
        stack.shell(hand_over)
        stack.pulumi("config", "set", "gpu:namespace", f"{namespace}-other")  # the other way out
        assert stack.preview().errors == ""

    def test_a_runtime_class_that_is_used_as_it_is_outlives_the_stack(
        self, stack: Stack, environment: Environment, made_by_hand: str
    ) -> None:
        namespace = stack.settings.namespace
        stack.pulumi("config", "set", "gpu:namespace", f"{namespace}-other")
        use = f"pulumi config set --stack {stack.name} gpu:createRuntimeClass false"
        assert use in stack.up().errors
        stack.shell(use)
        outcome = stack.up()
        assert outcome.errors == ""
        assert "RuntimeClass" not in {step.kind for step in outcome.steps}
        assert snapshot(environment).objects[Key("DaemonSet", "nvidia-device-plugin")]["status"]["numberReady"] == 1
        assert stack.destroy().succeeded
        assert uids(environment, namespace) == made_by_hand

    def test_a_label_that_another_owner_holds_at_another_value_is_not_overwritten(
        self, stack: Stack, environment: Environment
    ) -> None:
        metadata = {"name": "gpu-1", "labels": {PROFILE_LABEL: "theirs"}}
        apply = ["kubectl", "apply", "--server-side", "--field-manager=talos", "-f", "-"]
        output(environment, *apply, text=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": metadata}))
        outcome = stack.up()
        assert not outcome.succeeded
        assert f'conflict with "talos": .metadata.labels.{PROFILE_LABEL}' in outcome.errors
        assert "NodePatch::gpu-1" in outcome.errors
        assert snapshot(environment).labels("gpu-1")[PROFILE_LABEL] == "theirs"


def _stopped_with_whole_records(stack: Stack, up: "subprocess.Popen[bytes]") -> bool:
    """Stops Pulumi; lets it go on where its records are half written, which is another fault: PUL002 is about it."""
    up.send_signal(signal.SIGSTOP)
    os.waitpid(up.pid, os.WUNTRACED)
    state = Path(stack.environment["PULUMI_BACKEND_URL"].removeprefix("file://"))
    (records,) = state.glob(f".pulumi/stacks/**/{stack.name}.json")
    try:
        json.loads(records.read_text())
    except ValueError:
        up.send_signal(signal.SIGCONT)
        return False
    return True


class TestInterruption:
    def test_an_up_that_was_killed_is_finished_by_the_next_one(self, stack: Stack, environment: Environment) -> None:
        daemon_set = ["kubectl", "-n", stack.settings.namespace, "get", "daemonset", "nvidia-power-limit"]
        up = subprocess.Popen(
            stack.command("up", "--yes", "--skip-preview"),
            cwd=REPOSITORY,
            env=stack.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually("it waits for a DaemonSet", lambda: run(environment, *daemon_set).returncode == 0)
        helpers = [pid for child in children(up.pid) for pid in (child, *children(child))]
        eventually("it is between two writes of its records", lambda: _stopped_with_whole_records(stack, up))
        up.kill()
        up.wait()
        for pid in helpers:  # they would end by themselves, later
            os.kill(pid, signal.SIGKILL)
        assert "the stack is currently locked" in stack.up().errors
        stack.pulumi("cancel", "--yes")
        left = snapshot(environment)
        outcome = stack.up()
        assert outcome.errors == ""
        finished = snapshot(environment)
        assert left.objects.keys() < finished.objects.keys()
        assert is_subset(left.uids(), finished.uids())
        assert finished.objects[Key("DaemonSet", "nvidia-device-plugin")]["status"]["numberReady"] == 1
        assert stack.preview("--refresh", "--expect-no-changes").succeeded


NO_CHANGE = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "no-change"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["daemonsets"]}
            ]
        },
        "validations": [{"expression": "object.metadata.name != 'nvidia-device-plugin'", "message": "not now"}],
    },
}
BINDING = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "no-change"},
    "spec": {"policyName": "no-change", "validationActions": ["Deny"]},
}


class TestFailure:
    def test_after_an_update_that_failed_the_former_slices_are_deployed_whole(
        self, stack: Stack, environment: Environment
    ) -> None:
        """Their ConfigMap is there: it was to be deleted at the end of the update that failed."""
        assert stack.up().errors == ""
        before = snapshot(environment)
        former = stack.settings.slices
        plugin = ("--dry-run=server", "-n", stack.settings.namespace, "daemonset", "nvidia-device-plugin", "a=b")
        document = {"apiVersion": "v1", "kind": "List", "items": [NO_CHANGE, BINDING]}
        output(environment, "kubectl", "create", "-f", "-", text=json.dumps(document))
        try:
            stack.pulumi("config", "set", "gpu:slices", str(former + 2))
            eventually("it is refused", lambda: run(environment, "kubectl", "annotate", *plugin).returncode != 0)
            assert "not now" in stack.up().errors
        finally:
            for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
                output(environment, "kubectl", "delete", kind, "no-change")
        stack.pulumi("config", "set", "gpu:slices", str(former))
        eventually("it is admitted", lambda: run(environment, "kubectl", "annotate", *plugin).returncode == 0)
        assert stack.up().errors == ""
        after = snapshot(environment)
        names = {each["metadata"]["name"] for each in after.objects.values() if each["kind"] == "ConfigMap"}
        template = after.objects[Key("DaemonSet", "nvidia-device-plugin")]["spec"]["template"]
        mounted = {each["configMap"]["name"] for each in template["spec"]["volumes"] if "configMap" in each}
        assert mounted <= names
        assert after.objects.keys() == before.objects.keys()
        stack.destroy()


OWN_LABELS = {PRESENT_LABEL, PROFILE_LABEL}


class TestSecondStack:
    def test_it_is_refused_with_the_name_of_the_first_and_nothing_of_the_first_changes(
        self, stack: Stack, make_stack: MakeStack, cluster: Cluster, environment: Environment
    ) -> None:
        assert stack.up().errors == ""
        before = snapshot(environment)
        second = make_stack(f"{stack.name}-second")
        second.configure(
            context=cluster.context,
            namespace=f"{stack.settings.namespace}-second",
            nodes=[GPU_1 | {"name": "gpu-2"}],
            powerLimit=200,
        )
        for outcome in (second.preview(), second.up()):
            assert not outcome.succeeded
            assert outcome.steps == set()
            assert f"runtimeclass/nvidia, node/gpu-1 belong to stack gpu/{stack.name}" in outcome.errors
        after = snapshot(environment)
        assert after.uids() == before.uids()
        assert after.changed_since(before) == set()
        second.remove()
        stack.destroy()


class TestLostRecords:
    def test_a_stack_without_records_adopts_changes_and_takes_away_what_it_made(
        self, stack: Stack, environment: Environment
    ) -> None:
        assert stack.up().errors == ""
        before = snapshot(environment)
        stack.forget()
        assert stack.up().errors == ""
        assert snapshot(environment).uids() == before.uids()
        stack.pulumi("config", "set", "--path", "gpu:nodes[1].name", "gpu-2")
        for key, value in {"gpu": "l4", "count": "4", "slices": "2", "powerLimit": "72"}.items():
            stack.pulumi("config", "set", "--path", f"gpu:nodes[1].{key}", value)
        assert stack.up().errors == ""
        assert stack.destroy().succeeded
        left = snapshot(environment)
        assert left.objects == {}
        assert not OWN_LABELS & (left.labels("gpu-1").keys() | left.labels("gpu-2").keys())


class TestGoneNode:
    @pytest.fixture
    def gone(self, stack: Stack, cluster: Cluster, environment: Environment) -> Iterator[Stack]:
        """A stack with a second node whose Node has been deleted since."""
        second = GPU_1 | {"name": "gpu-2"}
        stack.configure(context=cluster.context, namespace=stack.settings.namespace, nodes=[GPU_1, second])
        assert stack.up().errors == ""
        output(environment, "kubectl", "delete", "node", "gpu-2")
        yield stack
        cluster.add_kwok_node("gpu-2")

    def test_up_without_it_makes_no_node_of_its_name(
        self, gone: Stack, cluster: Cluster, environment: Environment
    ) -> None:
        gone.configure(context=cluster.context, namespace=gone.settings.namespace, nodes=[GPU_1])
        assert gone.up().errors == ""
        assert snapshot(environment).nodes.keys() == {"gpu-1"}

    def test_destroy_makes_no_node_of_its_name(self, gone: Stack, environment: Environment) -> None:
        assert gone.destroy().succeeded
        assert snapshot(environment).nodes.keys() == {"gpu-1"}
