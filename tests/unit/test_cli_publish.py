"""gpuctl verify --publish and --in-cluster: the verdict is left where whoever may look at the cluster finds it."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gpuctl.cli import running
from gpuctl.cli.app import app
from gpuctl.cluster import AccessDeniedError, RejectedError
from gpuctl.settings import read_stack
from tests.fixtures.checks import FakePrograms
from tests.fixtures.fake_cluster import FakeCluster, healthy

NAMESPACE = read_stack("lab").namespace


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    made = healthy(read_stack("lab"), {"gpu-1": 8, "gpu-2": 6, "gpu-3": 8})
    apply = made.apply

    def with_uid(manifest: dict[str, Any]) -> None:
        apply(manifest | {"metadata": {"uid": "4711"} | manifest["metadata"]})

    def connect(*_: object) -> FakeCluster:
        return made

    monkeypatch.setattr(made, "apply", with_uid)
    monkeypatch.setattr("gpuctl.cluster.connect", connect)
    monkeypatch.setattr(running, "InstalledPrograms", FakePrograms)
    return made


def _verify(*options: str) -> Result:
    return CliRunner().invoke(app, ["verify", "--stack", "lab", "--check", "gpu-capacity", *options])


def _published(cluster: FakeCluster, kind: str, name: str) -> Any:
    return cluster.objects[kind, NAMESPACE, name]


def test_without_the_option_nothing_is_written(cluster: FakeCluster) -> None:
    assert _verify().exit_code == 0
    assert not {"apply", "create", "delete"} & set(cluster.calls)


def test_the_verdict_stands_in_a_config_map_and_an_event(cluster: FakeCluster) -> None:
    assert _verify("--publish").exit_code == 0
    assert _published(cluster, "ConfigMap", "gpu-verify")["data"]["verdict"] == "passed"
    assert _published(cluster, "Event", "gpu-verify-passed")["reason"] == "GpuVerifyPassed"


def test_a_second_run_counts_on(cluster: FakeCluster) -> None:
    cluster.node_objects["gpu-1"]["status"]["allocatable"]["nvidia.com/gpu"] = "0"
    assert [_verify("--publish").exit_code for _ in range(2)] == [1, 1]
    event = _published(cluster, "Event", "gpu-verify-failed")
    assert (event["type"], event["count"]) == ("Warning", 2)


def test_a_verdict_that_cannot_be_left_is_told_and_is_no_success(cluster: FakeCluster) -> None:
    def refuse(_: object) -> None:
        raise AccessDeniedError("configmaps is forbidden")

    cluster.apply = refuse  # pyright: ignore[reportAttributeAccessIssue]
    result = _verify("--publish")
    assert result.exit_code == 1
    assert "the verdict about stack lab is not published: configmaps is forbidden" in result.stderr
    assert "ready" in result.stdout


def test_in_the_cluster_no_kubeconfig_is_read(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def kubeconfig(*_: object) -> FakeCluster:
        raise RejectedError("the kubeconfig was asked")

    monkeypatch.setattr("gpuctl.cluster.connect", kubeconfig)
    monkeypatch.setattr(running, "connect_in_cluster", lambda: cluster)
    assert _verify("--in-cluster", "--publish").exit_code == 0


def test_outside_of_a_pod_there_is_no_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert not Path("/var/run/secrets/kubernetes.io/serviceaccount").exists(), "this test runs in a pod"
    result = CliRunner().invoke(app, ["verify", "--stack", "lab", "--in-cluster"], env={"PATH": os.environ["PATH"]})
    assert result.exit_code == 3
    assert "this is no pod with a service account" in result.stdout
