"""`gpuctl verify` and `gpuctl doctor` on a real API server: what is broken is named, and the hint fixes it.

kwok plays the nodes and their pods, and advertises the slices that a device plugin would.
"""

import contextlib
import json
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuctl.desired.names import PROFILE_LABEL
from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1, MakeStack
from tests.cluster.pulumi_stack import Environment, Stack, clear, output, run

pytestmark = pytest.mark.cluster

NAMESPACE = "gpu-verify"
PLUGIN = "nvidia-device-plugin"
GPU_2 = {"name": "gpu-2", "gpu": "rtx-4090", "count": 1}
SLICES = {"gpu-1": 8, "gpu-2": 4}
OWN = ("CFG", "API", "NOD", "TAL", "STK", "DRF", "PRE")
"""The checks of this page by the letters of their ids; those of capacity, power and pods need a real kubelet."""


@dataclass(frozen=True)
class Verdict:
    """What a run of checks said."""

    exit_code: int
    stderr: str
    checks: dict[str, dict[str, Any]]

    @property
    def failed(self) -> set[str]:
        """Ids of the checks that failed or broke, of those of this page."""
        bad = {id_ for id_, check in self.checks.items() if check["outcome"] in ("fail", "error")}
        return {id_ for id_ in bad if id_.startswith(OWN)}

    def hint(self, id_: str) -> dict[str, str]:
        """The one failure of a check."""
        (bad,) = [result for result in self.checks[id_]["results"] if result["outcome"] in ("fail", "error")]
        return bad


def ask(stack: Stack, *words: str, **variables: str) -> Verdict:
    """Runs gpuctl as a user does."""
    command = [sys.executable, "-m", "gpuctl", *words, "--stack", stack.name, "-o", "json"]
    done = run(stack.environment | variables, *command)
    assert "Traceback" not in done.stderr
    (report,) = json.loads(done.stdout)["stacks"]
    checks = [check for category in report["categories"] for check in category["checks"]]
    return Verdict(done.returncode, done.stderr, {check["id"]: check for check in checks})


def verify(stack: Stack, *words: str, **variables: str) -> Verdict:
    return ask(stack, "verify", *words, **variables)


@pytest.fixture(scope="module")
def deployed(cluster: Cluster, environment: Environment, make_stack: MakeStack) -> Iterator[Stack]:
    """A stack of both nodes after `pulumi up`."""
    stack = make_stack("verify")
    stack.configure(context=cluster.context, namespace=NAMESPACE, nodes=[GPU_1, GPU_2])
    for node, slices in SLICES.items():
        cluster.kwok.advertise(cluster.api, node, slices)
    assert stack.up().errors == ""
    yield stack
    for node in SLICES:
        cluster.kwok.advertise(cluster.api, node, 0)
    stack.remove()
    clear(environment)


@pytest.fixture(scope="module")
def other() -> Iterator[Cluster]:
    """Another cluster."""
    other = Cluster("l1-other")
    other.down()
    try:
        other.up()
        yield other
    finally:
        other.down()


@pytest.fixture(scope="module")
def new(cluster: Cluster, make_stack: MakeStack, deployed: Stack) -> Iterator[Stack]:  # noqa: ARG001
    """A stack that was never deployed, beside one that was."""
    new = make_stack("new")
    new.configure(context=cluster.context, namespace="gpu-new", nodes=[GPU_1])
    yield new
    new.remove()


def fix(stack: Stack, hint: dict[str, str]) -> None:
    """Types the command that the hint names; nobody is there to say yes."""
    stack.shell(f"export PULUMI_SKIP_CONFIRMATIONS=true; {hint['remedy']}")


def kubectl(stack: Stack, *words: str) -> str:
    return output(stack.environment, "kubectl", *words)


class TestHealthy:
    def test_nothing_fails_and_what_cannot_be_told_says_why(self, deployed: Stack) -> None:
        verdict = verify(deployed)
        assert {id_: check["outcome"] for id_, check in verdict.checks.items() if id_.startswith("STK")} == {
            **dict.fromkeys(("STK001", "STK002", "STK003", "STK004", "STK005", "STK006"), "pass"),
            "STK007": "skip",  # kwok's pods write no log
        }
        assert verdict.failed == set()
        assert verdict.checks["API003"]["outcome"] == "pass"
        skipped = [result["fact"] for result in verdict.checks["TAL001"]["results"]]
        assert skipped == [f"node {node}: OS unknown, not Talos" for node in SLICES]

    def test_another_name_for_the_same_cluster_is_the_same_cluster(
        self, deployed: Stack, cluster: Cluster, tmp_path: Path
    ) -> None:
        renamed = json.loads(cluster.kubeconfig.read_text().replace(cluster.context, "renamed"))
        kubeconfig = _kubeconfig(tmp_path, renamed)
        with _configured(deployed, context="renamed"):
            verdict = verify(deployed, KUBECONFIG=kubeconfig)
        assert verdict.checks["API003"]["outcome"] == "pass"

    def test_pulumi_would_change_nothing(self, deployed: Stack) -> None:
        assert verify(deployed, "--check", "DRF001").checks["DRF001"]["outcome"] == "pass"


class TestNodes:
    def test_another_owners_label_is_named_and_the_hint_removes_it(self, deployed: Stack) -> None:
        kubectl(deployed, "label", "node", "gpu-1", f"{PROFILE_LABEL}=theirs", "--overwrite")
        _wait_until_seen(deployed)
        verdict = verify(deployed)
        assert verdict.failed == {"NOD003", "STK005"}
        assert verdict.hint("NOD003")["fact"] == f"node gpu-1: label {PROFILE_LABEL} is theirs and not default"
        assert verdict.hint("STK005")["fact"] == f"DaemonSet {PLUGIN} wants 1 node, and the stack has 2 for it"
        fix(deployed, verdict.hint("NOD003"))
        assert verify(deployed, "--wait", "60s").failed == set()

    def test_a_node_that_is_gone_is_named(self, deployed: Stack, cluster: Cluster) -> None:
        kubectl(deployed, "delete", "node", "gpu-2")
        try:
            _wait_until_seen(deployed)
            verdict = verify(deployed)
        finally:
            cluster.add_kwok_node("gpu-2")
            cluster.kwok.advertise(cluster.api, "gpu-2", SLICES["gpu-2"])
            errors = deployed.up("--refresh").errors  # its labels went with it
        assert verdict.failed == {"NOD001", "STK005"}
        hint = verdict.hint("NOD001")
        assert hint["fact"] == f"context {cluster.context} has no node gpu-2; it has gpu-1"
        assert hint["remedy"] == f"kubectl --context {cluster.context} get nodes"
        assert errors == ""

    def test_a_gpu_node_that_the_stack_does_not_know_is_named_with_its_entry(
        self, deployed: Stack, cluster: Cluster
    ) -> None:
        cluster.add_kwok_node("gpu-3", 4)
        try:
            verdict = verify(deployed)
            assert verdict.failed == {"NOD004"}
            hint = verdict.hint("NOD004")
            assert hint["fact"] == "node gpu-3 is not in the stack file and offers 4 nvidia.com/gpu"
            before = deployed.file.read_text()
            fix(deployed, hint | {"remedy": hint["remedy"].replace("MODEL", "rtx-3090").replace("NUMBER", "1")})
            assert [node.name for node in deployed.settings.nodes] == ["gpu-1", "gpu-2", "gpu-3"]
            deployed.file.write_text(before)
        finally:
            kubectl(deployed, "delete", "node", "gpu-3")


class TestObjects:
    def test_a_deleted_runtime_class_is_named_and_the_hint_makes_it_again(self, deployed: Stack) -> None:
        kubectl(deployed, "delete", "runtimeclass", "nvidia")
        verdict = verify(deployed)
        assert verdict.failed == {"STK002"}
        assert verdict.hint("STK002")["fact"] == "RuntimeClass nvidia is not in the cluster"
        fix(deployed, verdict.hint("STK002"))
        assert verify(deployed).failed == set()

    def test_an_edited_daemon_set_is_named_with_its_field_and_pulumi_says_so_too(self, deployed: Stack) -> None:
        patch = json.dumps({"spec": {"minReadySeconds": 9}})
        kubectl(deployed, "patch", "daemonset", PLUGIN, "-n", NAMESPACE, "-p", patch)
        verdict = verify(deployed)
        assert verdict.failed == {"STK003"}
        assert "minReadySeconds" in verdict.hint("STK003")["fact"]
        drift = verify(deployed, "--check", "DRF001", PULUMI_ENABLE_STREAMING_JSON_PREVIEW="false")
        assert drift.failed == {"DRF001"}
        assert drift.hint("DRF001")["fact"] == f"Pulumi would update DaemonSet {PLUGIN}"
        fix(deployed, verdict.hint("STK003"))
        assert verify(deployed).failed == set()

    def test_a_variable_that_someone_added_to_the_plugin_is_named_and_a_person_is_to_remove_it(
        self, deployed: Stack, cluster: Cluster
    ) -> None:
        kubectl(deployed, "set", "env", f"daemonset/{PLUGIN}", "-n", NAMESPACE, "MIG_STRATEGY=mixed")
        verdict = verify(deployed)
        assert "STK003" in verdict.failed
        assert "env[MIG_STRATEGY]: live {" in verdict.hint("STK003")["fact"]
        edit = f"kubectl --context {cluster.context} edit daemonset {PLUGIN} -n {NAMESPACE}"
        assert verdict.hint("STK003")["remedy"] == edit
        kubectl(deployed, "set", "env", f"daemonset/{PLUGIN}", "-n", NAMESPACE, "MIG_STRATEGY-")
        assert verify(deployed, "--wait", "60s").failed == set()

    def test_a_namespace_that_forbids_the_pods_is_named_and_so_is_the_reason_for_their_absence(
        self, deployed: Stack
    ) -> None:
        label = "pod-security.kubernetes.io/enforce"
        kubectl(deployed, "label", "namespace", NAMESPACE, f"{label}=baseline", "--overwrite")
        kubectl(deployed, "delete", "pods", "--all", "-n", NAMESPACE, "--wait=false")
        verdict = _eventually(deployed, "STK005")
        assert {"STK001", "STK005"} <= verdict.failed
        assert verdict.hint("STK001")["fact"].endswith(f"[{label}]: live baseline, stack privileged")
        causes = [result.get("cause", "") for result in verdict.checks["STK005"]["results"]]
        assert any('violates PodSecurity "baseline' in cause for cause in causes)
        fix(deployed, verdict.hint("STK001"))
        kubectl(deployed, "rollout", "restart", "daemonset", "-n", NAMESPACE)  # its controller has long stopped trying
        assert verify(deployed, "--wait", "90s", "--check", "STK001", "--check", "STK005").failed == set()


class TestIdentity:
    @pytest.fixture
    def misled(self, other: Cluster, cluster: Cluster, tmp_path: Path) -> dict[str, str]:
        """An environment in which the stack's context leads to the other cluster."""
        document = json.loads(other.kubeconfig.read_text().replace(other.context, cluster.context))
        direct = {name: other.environment()[name] for name in ("NO_PROXY", "no_proxy")}
        return direct | {"KUBECONFIG": _kubeconfig(tmp_path, document)}

    def test_another_cluster_behind_the_stacks_context_ends_the_run(
        self, deployed: Stack, cluster: Cluster, misled: dict[str, str]
    ) -> None:
        verdict = verify(deployed, **misled)
        assert (verdict.exit_code, verdict.failed) == (3, {"API003"})
        assert verdict.hint("API003")["fact"].startswith(
            f"context {cluster.context} is another cluster than the one that stack verify was deployed to: its UID is "
        )
        assert verdict.checks["NOD001"]["results"][0]["fact"] == "unknown until API003 passes"

    def test_without_pulumi_the_cluster_is_judged_all_the_same(
        self, deployed: Stack, misled: dict[str, str], tmp_path: Path
    ) -> None:
        verdict = verify(deployed, **misled, PATH=str(tmp_path))
        assert verdict.checks["API003"]["outcome"] == "skip"
        assert verdict.exit_code == 1
        assert "NOD001" in verdict.failed

    def test_a_server_that_dies_half_way_is_told_without_a_traceback(
        self, deployed: Stack, other: Cluster, misled: dict[str, str], tmp_path: Path
    ) -> None:
        """In the middle of the run Pulumi is asked; here that ends the API server."""
        pid = other.control_plane.processes["kube-apiserver"]
        pulumi = tmp_path / "pulumi"
        pulumi.write_text(f"#!/bin/sh\nkill -9 {pid}\nwhile kill -0 {pid} 2>/dev/null; do sleep 0.1; done\n")
        pulumi.chmod(0o755)
        verdict = verify(deployed, **misled, PATH=f"{tmp_path}:{deployed.environment['PATH']}")
        assert verdict.checks["API001"]["outcome"] == "pass"
        assert (verdict.exit_code, verdict.failed) == (3, {"API003"})
        assert "cannot be reached" in verdict.hint("API003")["fact"]
        outcomes = [check["outcome"] for check in verdict.checks.values()]
        assert set(outcomes[list(verdict.checks).index("API003") + 1 :]) == {"skip"}


class TestPrerequisites:
    """Of a stack whose node another stack has."""

    def test_before_the_first_up_all_is_in_place_but_what_another_stack_has(self, new: Stack) -> None:
        verdict = ask(new, "doctor", "--pre")
        assert (verdict.exit_code, verdict.failed) == (1, {"PRE008"})
        assert verdict.hint("PRE008")["subject"] == "gpu/verify"
        assert "node/gpu-1" in verdict.hint("PRE008")["fact"]
        assert verdict.checks["PRE006"]["results"][0]["fact"] == "stack new exists"

    def test_a_cluster_that_was_never_recorded_is_not_judged(self, new: Stack) -> None:
        (result,) = verify(new).checks["API003"]["results"]
        assert result["outcome"] == "skip"
        assert "does not have output property 'clusterUid'" in result["fact"]

    def test_an_object_of_others_is_named_and_the_hint_hands_it_over(self, new: Stack) -> None:
        kubectl(new, "create", "namespace", "gpu-new")
        try:
            verdict = ask(new, "doctor", "--pre")
            in_the_way = {hint["subject"]: hint for hint in verdict.checks["PRE008"]["results"]}
            assert set(in_the_way) == {"Namespace gpu-new", "gpu/verify"}
            fix(new, in_the_way["Namespace gpu-new"])
            assert ask(new, "doctor", "--pre").hint("PRE008")["subject"] == "gpu/verify"
        finally:
            kubectl(new, "delete", "namespace", "gpu-new", "--wait=false")

    def test_a_stack_that_pulumi_does_not_know_and_a_login_that_is_missing_are_told(
        self, new: Stack, tmp_path: Path
    ) -> None:
        nowhere = ask(new, "doctor", "--pre", PULUMI_BACKEND_URL="", PULUMI_HOME=str(tmp_path))
        assert nowhere.failed == {"PRE005", "PRE008"}
        elsewhere = ask(new, "doctor", "--pre", PULUMI_BACKEND_URL=f"file://{tmp_path}")
        assert elsewhere.failed == {"PRE006", "PRE008"}
        assert elsewhere.hint("PRE006")["remedy"] == "pulumi stack init new"


@contextlib.contextmanager
def _configured(stack: Stack, **config: str) -> Generator[None]:
    """Other values for some keys, for a while."""
    before = stack.file.read_text()
    for key, value in config.items():
        stack.pulumi("config", "set", f"gpu:{key}", value)
    yield
    stack.file.write_text(before)


def _kubeconfig(folder: Path, document: object) -> str:
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document))
    return str(path)


def _eventually(stack: Stack, id_: str, seconds: float = 60) -> Verdict:
    """The verdict once a check fails."""
    deadline = time.monotonic() + seconds
    while id_ not in (verdict := verify(stack)).failed:
        assert time.monotonic() < deadline, f"{id_} does not fail within {seconds} s"
    return verdict


def _wait_until_seen(stack: Stack, seconds: float = 180) -> None:
    """Until the DaemonSet controller has noticed that a node left.

    It may learn of a deleted node from the pods alone, which the collector of pods ends after 40 to 60 s.
    """
    deadline = time.monotonic() + seconds
    wanted = ("get", "daemonset", PLUGIN, "-n", NAMESPACE, "-o", "jsonpath={.status.desiredNumberScheduled}")
    while kubectl(stack, *wanted) != "1":
        assert time.monotonic() < deadline, f"its controller has noticed nothing within {seconds} s"
        time.sleep(0.2)
