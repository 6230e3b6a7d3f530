"""`gpuctl verify` as a CronJob on a real API server: its rights are the ones it needs, and no more.

No image of gpuctl can be built here, so the tests run the verb as the CronJob's service account, outside of a pod.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuctl.cluster import AccessDeniedError, connect_in_cluster
from gpuctl.desired.verify_cronjob import verify_cronjob
from gpuctl.settings import Settings, read_config
from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1
from tests.cluster.pulumi_stack import Environment, clear, output, run
from tests.fixtures.manifests import manifests
from tests.fixtures.names import without_hash

pytestmark = pytest.mark.cluster

NAMESPACE = "gpu-cronjob"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:gpu-verify"
EVERYWHERE = {
    "list nodes",
    "list pods",
    f"get namespaces {NAMESPACE}",
    "get runtimeclasses.node.k8s.io nvidia",
}
IN_ITS_NAMESPACE = {
    "get daemonsets.apps",
    "list daemonsets.apps",
    "get pods/log",
    "get configmaps nvidia-power-limit-agent",
    "get configmaps nvidia-device-plugin-config",
    "get configmaps nvidia-device-plugin-supervisor",
    "get configmaps gpu-verify",
    "patch configmaps gpu-verify",
    "list events",
    "create events",
    "patch events",
}
DENIED = (
    "get secrets",
    "list secrets",
    "create pods",
    "delete pods",
    "create pods --subresource=exec",
    "get pods --subresource=exec",
    "create pods --subresource=attach",
    "patch nodes",
    "update daemonsets.apps",
    "delete daemonsets.apps",
    "create configmaps",
    "list configmaps",
    "patch configmaps/nvidia-power-limit-agent",
    "delete configmaps/gpu-verify",
    "create serviceaccounts --subresource=token",
    "impersonate users",
)
"""Words of `kubectl auth can-i`."""


@pytest.fixture(scope="module")
def settings(cluster: Cluster) -> Settings:
    config = {"context": cluster.context, "namespace": NAMESPACE, "nodes": [GPU_1]}
    return read_config("cronjob", config)


@pytest.fixture(scope="module")
def objects(settings: Settings, environment: Environment) -> Iterator[list[dict[str, Any]]]:
    """The stack without Pulumi, and the CronJob."""
    own = verify_cronjob(settings, "cronjob", "registry.example/gpuctl:1")
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*manifests(settings), *own]})
    output(environment, "kubectl", "apply", "--server-side", "-f", "-", text=text)
    yield own
    output(environment, "kubectl", "delete", "clusterrole,clusterrolebinding", "gpu-verify")
    clear(environment)


@pytest.fixture(scope="module")
def token(objects: object, environment: Environment) -> str:
    assert objects
    return output(environment, "kubectl", "create", "token", "gpu-verify", "-n", NAMESPACE).strip()


def _rights(environment: Environment, account: str, namespace: str) -> set[str]:
    """What the API server says an account may do in a namespace, one action each."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    groups = [f"--as-group={name}" for name in ("system:serviceaccounts", "system:authenticated")]
    words = ("create", "-f", "-", "-o", "json", "--validate=false", f"--as={account}", *groups)
    said = json.loads(output(environment, "kubectl", *words, text=json.dumps(review)))
    rules: list[dict[str, list[str]]] = said["status"]["resourceRules"]
    return {
        " ".join(filter(None, (verb, ".".join(filter(None, (resource, group))), without_hash(name))))
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or ("",)
    }


@pytest.mark.usefixtures("objects")
def test_its_rights_are_these_and_no_others(environment: Environment) -> None:
    """Beyond what every account of the namespace has."""
    usual = f"system:serviceaccount:{NAMESPACE}:default"
    for namespace, rights in ((NAMESPACE, EVERYWHERE | IN_ITS_NAMESPACE), ("default", EVERYWHERE)):
        assert _rights(environment, ACCOUNT, namespace) - _rights(environment, usual, namespace) == rights


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("action", DENIED)
def test_what_it_need_not_do_it_may_not(action: str, environment: Environment) -> None:
    answer = run(environment, "kubectl", "auth", "can-i", *action.split(), "-n", NAMESPACE, f"--as={ACCOUNT}")
    assert answer.stdout.strip() == "no"


@pytest.mark.usefixtures("objects")
def test_its_pod_would_be_admitted_where_pod_security_is_restricted(environment: Environment) -> None:
    """Its own namespace is privileged for the sake of the power-limit agent."""
    output(environment, "kubectl", "create", "namespace", "gpu-restricted")
    try:
        output(
            environment,
            "kubectl", "label", "namespace", "gpu-restricted", "pod-security.kubernetes.io/enforce=restricted",
        )  # fmt: skip
        job = ("kubectl", "get", "cronjob", "gpu-verify", "-n", NAMESPACE, "-o", "json")
        template = json.loads(output(environment, *job))["spec"]["jobTemplate"]["spec"]["template"]
        output(environment, "kubectl", "create", "serviceaccount", "gpu-verify", "-n", "gpu-restricted")
        metadata = {"name": "gpu-verify", "namespace": "gpu-restricted"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        output(environment, "kubectl", "create", "--dry-run=server", "-f", "-", text=json.dumps(pod))
    finally:
        output(environment, "kubectl", "delete", "namespace", "gpu-restricted", "--wait=false")


def test_a_pods_credentials_lead_to_its_own_cluster(
    cluster: Cluster, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kubelet lays them down."""
    (tmp_path / "token").write_text(token)
    (tmp_path / "namespace").write_text(NAMESPACE)
    (tmp_path / "ca.crt").write_bytes(cluster.control_plane.access.certificate.read_bytes())
    host, _, port = cluster.control_plane.server.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setenv("NO_PROXY", host)
    found = connect_in_cluster(str(tmp_path))
    assert "gpu-1" in {node.name for node in found.nodes()}
    with pytest.raises(AccessDeniedError):
        found.list("ConfigMap", "default")


@pytest.fixture(scope="module")
def reports(
    cluster: Cluster,
    token: str,
    objects: list[dict[str, Any]],
    environment: Environment,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[dict[str, Any]]:
    """Of two runs, one after the other."""
    folder = tmp_path_factory.mktemp("cronjob")
    kubeconfig = yaml.safe_load(cluster.kubeconfig.read_text())
    kubeconfig["users"][0]["user"] = {"token": token}
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    [stack] = [one for one in objects if one["metadata"]["name"] == "gpu-verify-stack"]
    (folder / "Pulumi.cronjob.yaml").write_text(stack["data"]["Pulumi.cronjob.yaml"])
    within = {
        **environment,
        "KUBECONFIG": str(folder / "kubeconfig"),
        "PULUMI_OPTION_CONFIG_FILE": str(folder / "Pulumi.cronjob.yaml"),
        "PATH": str(folder),
    }
    words = ("-m", "gpuctl", "verify", "--stack", "cronjob", "--publish", "-o", "json")
    done = [run(within, sys.executable, *words) for _ in range(2)]
    assert [one.stderr for one in done if "not published" in one.stderr or "Traceback" in one.stderr] == []
    return [json.loads(one.stdout)["stacks"][0] for one in done]


class TestRun:
    """The verb with the rights of the service account and nothing else."""

    def test_no_check_breaks(self, reports: list[dict[str, Any]]) -> None:
        assert [check for check in _checks(reports[0]) if check["outcome"] == "error"] == []

    def test_only_what_needs_more_rights_is_denied_and_says_so(self, reports: list[dict[str, Any]]) -> None:
        denied = {
            check["id"]: check["results"][0]["fact"]
            for check in _checks(reports[0])
            if any("forbidden" in result["fact"] for result in check["results"])
        }
        assert denied.keys() == {"STK003"}, denied
        assert "cannot update resource" in denied["STK003"]

    def test_the_verdict_is_left_in_the_cluster(self, reports: list[dict[str, Any]], environment: Environment) -> None:
        words = ("kubectl", "get", "configmap", "gpu-verify", "-n", NAMESPACE, "-o", "json")
        data = json.loads(output(environment, *words))["data"]
        assert data["verdict"] == ("passed" if reports[1]["ready"] else "failed")
        assert data["runs"] == "2"
        words = ("kubectl", "get", "events", "-n", NAMESPACE, "-o", "json", "--field-selector")
        events = json.loads(output(environment, *words, "involvedObject.name=gpu-verify,source=gpuctl"))["items"]
        assert [(event["reason"], event["count"]) for event in events] == [
            (f"GpuVerify{data['verdict'].capitalize()}", 2)
        ]


def _checks(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [check for category in report["categories"] for check in category["checks"]]
