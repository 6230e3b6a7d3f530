"""The environment that leads to a cluster."""

import os
import sys
from pathlib import Path

import pytest

from testbed import layout
from testbed.environment import environment, prepare
from testbed.go_tools import PROVIDER_VERSION
from testbed.layout import ClusterDir


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterDir:
    monkeypatch.setattr(layout, "CLUSTERS", tmp_path)
    return ClusterDir("demo")


def test_it_leads_to_this_cluster_whatever_was_set_before(
    directory: ClusterDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KUBECONFIG", "KUBECACHEDIR", "PULUMI_BACKEND_URL", "PULUMI_HOME", "TMPDIR"):
        monkeypatch.setenv(name, "/elsewhere")
    found = environment(directory, Path("/commands"), "10.200.255.1")
    assert found["PATH"] == f"/commands:{os.environ['PATH']}"
    assert found["KUBECONFIG"] == str(directory.kubeconfig)
    assert found["PULUMI_BACKEND_URL"] == f"file://{directory.pulumi_state}"
    assert found["GPU_TESTBED_PYTHON"] == sys.executable
    assert "/elsewhere" not in found.values()


@pytest.mark.parametrize(
    ("before", "after"), [(None, "10.200.255.1"), ("example.invalid", "example.invalid,10.200.255.1")]
)
def test_no_proxy_stands_between_a_client_and_the_bridge(
    directory: ClusterDir, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    if before:
        monkeypatch.setenv("no_proxy", before)
    found = environment(directory, Path("/commands"), "10.200.255.1")
    assert (found["NO_PROXY"], found["no_proxy"]) == (after, after)


def test_the_provider_is_installed_where_pulumi_looks_for_it_and_may_change(
    directory: ClusterDir, tmp_path: Path
) -> None:
    for provider in (tmp_path / "old", tmp_path / "new"):
        provider.touch()
        prepare(directory, provider)
    plugin = Path(f"plugins/resource-kubernetes-v{PROVIDER_VERSION}/pulumi-resource-kubernetes")
    assert (directory.pulumi_home / plugin).resolve() == tmp_path / "new"
    assert directory.pulumi_state.is_dir()
    assert directory.temporary.is_dir()


def test_a_cluster_that_does_without_pulumi_has_no_provider(directory: ClusterDir, tmp_path: Path) -> None:
    prepare(directory, tmp_path / "provider")
    prepare(directory, None)
    assert list(directory.pulumi_home.rglob("pulumi-resource-kubernetes")) == []
