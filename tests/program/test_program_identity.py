"""The stack says which cluster it was deployed to, so that another one of the same name is not taken for it."""

import asyncio
import json
import runpy

import pulumi
import pytest

from components import program
from gpuctl.cluster import ClusterError
from tests.fixtures.fake_cluster import UID, FakeCluster
from tests.fixtures.pulumi_program import Deployment, deploy
from tests.fixtures.stack_files import ROOT, config_of

LAB = config_of(ROOT / "config" / "Pulumi.homelab.yaml")


def _run(*, preview: bool) -> Deployment:
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in LAB.items()}
    return deploy(lambda: runpy.run_path(str(ROOT / "__main__.py")), texts, preview=preview)


def _connect(monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster) -> None:
    def connect(*_: object) -> FakeCluster:
        return cluster

    monkeypatch.setattr(program, "connect", connect)


@pytest.mark.parametrize("preview", [True, False])
def test_the_cluster_is_named_by_the_uid_of_its_oldest_namespace(
    monkeypatch: pytest.MonkeyPatch, preview: bool
) -> None:
    cluster = FakeCluster()
    cluster.add_node("gpu-1")
    _connect(monkeypatch, cluster)
    assert _run(preview=preview).outputs["clusterUid"] == UID


def test_a_preview_without_the_cluster_does_not_claim_to_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it forget what the last update found: Pulumi shows no change of an output that is not known yet."""

    def unreachable(*_: object) -> FakeCluster:
        raise ClusterError("it cannot be reached")

    monkeypatch.setattr(program, "connect", unreachable)
    output: pulumi.Output[str] = _run(preview=True).outputs["clusterUid"]

    async def is_known() -> bool:
        return await output.is_known()

    assert not asyncio.run(is_known())


def test_what_is_no_kubernetes_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    cluster.add_node("gpu-1")
    del cluster.objects["Namespace", None, "kube-system"]
    _connect(monkeypatch, cluster)
    deployment = _run(preview=False)
    assert deployment.refusal == (
        "there is no namespace kube-system, so this is no Kubernetes cluster; nothing was changed"
    )
    assert deployment.resources == []
