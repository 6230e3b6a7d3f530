"""A stack that the last release deployed, and its first `pulumi up` with this program."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuctl.desired.names import OWNER, PRESENT_LABEL, PROFILE_LABEL
from testbed.cluster import Cluster
from tests.cluster.conftest import MakeStack
from tests.cluster.pulumi_stack import Environment, Key, Outcome, Snapshot, Stack, Step, clear, output, snapshot

pytestmark = pytest.mark.cluster

RELEASED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "fixtures" / "released_stack.json").read_text())
"""Stack file, and records as of `pulumi stack export`, without what belongs to the cluster they were made on."""

NAMESPACE = "gpu-released"
CONFIG_MAPS = {"nvidia-power-limit-agent", "nvidia-device-plugin-config", "nvidia-device-plugin-config-gpu-2"}
DAEMON_SETS = {"nvidia-power-limit", "nvidia-device-plugin", "nvidia-device-plugin-gpu-2"}
PROFILES = {"gpu-1": "default", "gpu-2": "gpu-2"}


@dataclass(frozen=True)
class Upgrade:
    """The stack before and after."""

    stack: Stack
    preview: Outcome
    up: Outcome
    before: Snapshot
    after: Snapshot


def records(context: str) -> dict[str, Any]:
    """What `pulumi stack import` takes: of each object the fixture has only what was sent, and under which manager."""
    found: dict[str, Any] = json.loads(json.dumps(RELEASED["records"]).replace("CONTEXT", context))
    for resource in objects_of(found):
        sent = resource["inputs"]
        resource["outputs"] |= sent | {"__inputs": sent}
    return found


def objects_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects in a stack's records, in the order in which they were made."""
    return [each for each in found["deployment"]["resources"] if each["type"].startswith("kubernetes:")]


@pytest.fixture(scope="module")
def upgrade(
    cluster: Cluster, environment: Environment, make_stack: MakeStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgrade]:
    stack = make_stack("released")
    stack.configure(context=cluster.context, **RELEASED["settings"])
    found = records(cluster.context)
    for resource in objects_of(found):
        manager = f"--field-manager={resource['outputs']['__fieldManager']}"
        apply = ("kubectl", "apply", "--server-side", manager, "-f", "-")
        output(environment, *apply, text=json.dumps(resource["inputs"]))
    for name in DAEMON_SETS:
        output(environment, "kubectl", "rollout", "status", "-n", NAMESPACE, f"daemonset/{name}", "--timeout=120s")
    file = tmp_path_factory.mktemp("records") / "export.json"
    file.write_text(json.dumps(found))
    stack.pulumi("stack", "import", "--file", str(file))
    before = snapshot(environment)
    preview = stack.preview()
    yield Upgrade(stack, preview, stack.up(), before, snapshot(environment))
    stack.remove()
    clear(environment)


def names(at: Snapshot, kind: str) -> set[str]:
    return {live["metadata"]["name"] for key, live in at.objects.items() if key.kind == kind}


def managers(live: dict[str, Any]) -> set[str]:
    """Who owns fields of an object, but for its status."""
    return {entry["manager"] for entry in live["metadata"]["managedFields"] if "subresource" not in entry}


def test_it_succeeds_and_says_what_it_takes_over(upgrade: Upgrade) -> None:
    assert upgrade.up.errors == ""
    assert (
        "runtimeclass/nvidia do not say of which stack they are: an older version deployed them" in upgrade.up.warnings
    )


def test_it_replaces_nothing_but_the_config_maps(upgrade: Upgrade) -> None:
    for outcome in (upgrade.preview, upgrade.up):
        updated = {Step("update", "DaemonSet", name) for name in DAEMON_SETS}
        assert {step for step in outcome.steps if step.kind == "DaemonSet"} == updated
        assert {step.kind for step in outcome.steps if step.operation != "update"} == {"ConfigMap"}
    kept = {key: uid for key, uid in upgrade.before.uids().items() if key.kind != "ConfigMap"}
    assert kept == {key: uid for key, uid in upgrade.after.uids().items() if key.kind != "ConfigMap"}
    assert len(kept) == 5


def test_config_maps_with_a_hash_take_the_place_of_those_without(upgrade: Upgrade) -> None:
    assert names(upgrade.before, "ConfigMap") == CONFIG_MAPS
    after = names(upgrade.after, "ConfigMap")
    supervisor = "nvidia-device-plugin-supervisor"
    assert {re.sub("-[0-9a-f]{10}$", "", name) for name in after} == CONFIG_MAPS | {supervisor}
    assert after & CONFIG_MAPS == set()


def test_each_daemon_set_is_rolled_out_once_and_selects_the_same_pods(
    upgrade: Upgrade, environment: Environment
) -> None:
    """Its pods mount another ConfigMap, and nothing else makes them new."""
    listed = output(environment, "kubectl", "get", "controllerrevisions", "-n", NAMESPACE, "-o", "json")
    owners = [each["metadata"]["ownerReferences"][0]["name"] for each in json.loads(listed)["items"]]
    assert sorted(owners) == sorted([*DAEMON_SETS, *DAEMON_SETS])
    for name in DAEMON_SETS:
        before, after = (at.objects[Key("DaemonSet", name)]["spec"] for at in (upgrade.before, upgrade.after))
        assert before["selector"] == after["selector"]


def test_nodes_keep_their_labels_and_say_of_which_stack_they_are(upgrade: Upgrade) -> None:
    for name, profile in PROFILES.items():
        assert upgrade.after.labels(name) == upgrade.before.labels(name)
        assert upgrade.after.labels(name).items() >= {PRESENT_LABEL: "true", PROFILE_LABEL: profile}.items()
        assert upgrade.after.nodes[name]["metadata"]["annotations"][OWNER] == "gpu/released"


@pytest.mark.usefixtures("upgrade")
def test_the_field_managers_that_pulumi_made_up_are_gone(environment: Environment) -> None:
    kinds = "namespaces,runtimeclasses,nodes,daemonsets"
    listed = output(environment, "kubectl", "get", kinds, "-A", "-o", "json", "--show-managed-fields")
    live = [each for each in json.loads(listed)["items"] if OWNER in each["metadata"].get("annotations", {})]
    assert len(live) == 7
    assert {name for each in live for name in managers(each) if name.startswith("pulumi")} == set()
    assert all("gpu-sharing" in managers(each) for each in live)


def test_a_second_time_nothing_changes(upgrade: Upgrade) -> None:
    assert upgrade.stack.preview("--expect-no-changes").succeeded
