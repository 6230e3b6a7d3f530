"""gpuctl status: one row for each GPU, and what is not known stands there as such."""

import json
import subprocess
import sys
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner, Result

from gpuctl.cli import running
from gpuctl.cli import status as verb
from gpuctl.cli.app import app
from gpuctl.cluster import UnreachableError
from gpuctl.settings import Settings
from gpuctl.status.forms import document, lines
from gpuctl.status.rows import Status
from tests.fixtures import agent_lines
from tests.fixtures.agent_lines import look
from tests.fixtures.checks import FakePrograms, context_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.stack_files import ROOT

FIRST, SECOND, THIRD = (f"GPU-{n}0000000-0000-4000-8000-000000000000" for n in (1, 2, 3))
GPU = "nvidia.com/gpu"
_RTX_3090 = "NVIDIA GeForce RTX 3090"


def _cluster(**config: object) -> FakeCluster:
    """Two nodes with two GPUs and one, whose agents answer."""
    fake = healthy(settings_of(**config))
    agent_lines.reports(
        fake, "gpu-1", [look(FIRST, 0, _RTX_3090), look(SECOND, 1, _RTX_3090, draw_w="unknown", util_pct="unknown")]
    )
    agent_lines.reports(fake, "gpu-2", [look(THIRD, 0, "NVIDIA GeForce RTX 4090", limit_w=350, at_limit="false")])
    return fake


def _user(fake: FakeCluster, name: str, node: str, *devices: str, slices: int = 1) -> None:
    pod = fake.add_pod(name, node, "team", **{GPU: slices})
    if devices:
        told = [{"resourceID": device, "health": "Healthy"} for device in devices]
        pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"] = [{"name": GPU, "resources": told}]


def _status(fake: FakeCluster, settings: Settings | None = None) -> Status:
    return verb._look(context_of(fake, settings))[0]  # pyright: ignore[reportPrivateUsage]


def test_the_table(snapshot: SnapshotAssertion) -> None:
    fake = _cluster()
    _user(fake, "trainer", "gpu-1", f"{FIRST}::0", f"{FIRST}::3", slices=2)
    _user(fake, "notebook", "gpu-1", f"{FIRST}::1")
    _user(fake, "silent", "gpu-2")
    assert "\n".join(each.plain for each in lines(_status(fake))) == snapshot


def test_every_slice_counts_and_every_user_stands_there_once() -> None:
    fake = _cluster()
    _user(fake, "trainer", "gpu-1", f"{FIRST}::0", f"{FIRST}::3", slices=2)
    _user(fake, "notebook", "gpu-1", f"{SECOND}::1")
    first, second, third = _status(fake).rows
    assert (first.used, first.slices, first.users) == (2, 4, ("team/trainer",))
    assert (second.used, second.users) == (1, ("team/notebook",))
    assert (third.used, third.users) == (0, ())


def test_pods_of_one_name_in_two_namespaces_are_two() -> None:
    fake = _cluster()
    _user(fake, "trainer", "gpu-1", f"{FIRST}::0")
    fake.pod_objects["other"] = json.loads(json.dumps(fake.pod_objects["trainer"]))
    fake.pod_objects["other"]["metadata"] |= {"namespace": "else", "uid": "other"}
    assert _status(fake).rows[0].users == ("else/trainer", "team/trainer")


def test_a_kubelet_that_does_not_tell_is_named_with_the_feature_gate() -> None:
    fake = _cluster()
    _user(fake, "old", "gpu-1")
    found = _status(fake)
    assert [row.used for row in found.rows] == [None, None, 0]
    (note,) = found.notes
    assert "the kubelet of gpu-1 does not report which GPU a pod has" in note
    assert "ResourceHealthStatus" in note


def test_without_agents_there_is_one_row_for_each_node_and_a_reason() -> None:
    """Even where agents of an earlier state are left."""
    settings, fake = settings_of(powerManagement=False), _cluster()
    _user(fake, "old", "gpu-1", slices=1)
    found = _status(fake, settings)
    assert [(row.node, row.gpu, row.used, row.slices) for row in found.rows] == [
        ("gpu-1", None, 1, 8),
        ("gpu-2", None, 0, 4),
    ]
    assert found.rows[0].users == ("team/old",)
    assert found.notes[0].startswith("gpu:powerManagement is false")
    assert not {"log", "execute"} & set(fake.calls)


def test_an_agent_that_does_not_answer_leaves_its_node_and_the_reason() -> None:
    fake = _cluster()
    fake.node_objects["gpu-2"]["status"]["conditions"][0]["status"] = "False"
    found = _status(fake)
    assert [row.node for row in found.rows] == ["gpu-1", "gpu-1", "gpu-2"]
    assert (found.rows[2].gpu, found.notes) == (None, ("gpu-2 is not Ready",))


def test_machines_get_whole_uuids_and_null_for_what_is_not_known() -> None:
    first, second, _ = document(_status(_cluster()))["gpus"]
    assert (first["uuid"], first["limitWatts"], first["atLimit"]) == (FIRST, 300, True)
    assert (second["drawWatts"], second["utilizationPercent"]) == (None, None)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """What the verb reaches; its stack is one of the project's, with the nodes of that one."""
    fake = _cluster()

    def connect(*_: object) -> FakeCluster:
        return fake

    def settings(_: str) -> Settings:
        return settings_of()

    monkeypatch.setattr("gpuctl.cluster.connect", connect)
    monkeypatch.setattr(running, "silent_settings_of", settings)
    monkeypatch.setattr(running, "InstalledPrograms", FakePrograms)
    return fake


def _run(*options: str) -> Result:
    return CliRunner().invoke(app, ["status", "--stack", "lab", *options])


@pytest.mark.usefixtures("cluster")
def test_a_pipe_gets_plain_text_once() -> None:
    result = _run()
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert result.stdout.count("NODE") == 1


@pytest.mark.usefixtures("cluster")
def test_json_is_one_document() -> None:
    assert len(json.loads(_run("-o", "json").stdout)["gpus"]) == 3


def test_watching_in_a_pipe_prints_block_after_block_and_outlives_an_error(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        cluster.failures = {"nodes": UnreachableError("no answer")} if looks == 1 else {}
        if looks == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(verb.time, "sleep", sleep)
    result = _run("--watch")
    assert result.exit_code == 130
    assert result.stdout.count("NODE") == 2
    assert "gpuctl: error: no answer" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_cluster_that_does_not_answer_is_told() -> None:
    words = [sys.executable, "-m", "gpuctl", "status", "--stack", "lab"]
    environment: dict[str, Any] = {"KUBECONFIG": "/nonexistent/kubeconfig"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "gpuctl: error: kubeconfig /nonexistent/kubeconfig cannot be used" in done.stderr
