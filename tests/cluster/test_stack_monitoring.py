"""Alerts and dashboard on a real API server, with and without the Prometheus operator's kind of object."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuctl.desired.monitoring import dashboard, prometheus_rule
from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1
from tests.cluster.pulumi_stack import Environment, Outcome, Stack, is_subset, output, suggested

pytestmark = pytest.mark.cluster

DEFINITION = "prometheusrules.monitoring.coreos.com"
CUSTOM_RESOURCE = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": DEFINITION},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"kind": "PrometheusRule", "plural": "prometheusrules", "singular": "prometheusrule"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
"""The operator's kind, without its schema: what the rules must be like, promtool judges elsewhere."""


@pytest.fixture
def watched(stack: Stack, cluster: Cluster) -> Stack:
    """A stack with monitoring."""
    stack.configure(context=cluster.context, namespace=stack.settings.namespace, nodes=[GPU_1], monitoring=True)
    return stack


@pytest.fixture
def operator(environment: Environment, tmp_path: Path) -> Iterator[None]:
    """The operator's kind, until the end of the test."""
    path = tmp_path / "definition.json"
    path.write_text(json.dumps(CUSTOM_RESOURCE))
    output(environment, "kubectl", "create", "-f", str(path))
    output(environment, "kubectl", "wait", "--for=condition=Established", f"crd/{DEFINITION}")
    yield
    output(environment, "kubectl", "delete", "crd", DEFINITION)


def test_without_the_operator_the_stack_is_refused_and_the_command_fixes_it(watched: Stack) -> None:
    for outcome in (watched.preview(), watched.up()):
        assert (outcome.succeeded, outcome.steps) == (False, frozenset())
        assert "gpu:monitoring needs the Prometheus operator" in outcome.errors
    (command,) = suggested(watched.preview().errors)
    watched.shell(command)
    assert watched.preview().errors == ""
    assert watched.settings.monitoring is False


@pytest.mark.usefixtures("operator")
def test_with_the_operator_alerts_and_dashboard_come_and_go_with_the_key(
    watched: Stack, environment: Environment
) -> None:
    settings = watched.settings
    assert _errors(watched.up()) == ""
    for manifest in (prometheus_rule(settings), dashboard(settings)):
        kind, name = manifest["kind"].lower(), manifest["metadata"]["name"]
        live = output(environment, "kubectl", "get", kind, name, "-n", settings.namespace, "-o", "json")
        assert is_subset(manifest, json.loads(live))
    assert watched.preview().steps == set()

    watched.configure(
        context=settings.context, namespace=settings.namespace, nodes=[GPU_1], powerLimit=250, monitoring=True
    )
    changed = {(step.operation, step.name) for step in watched.up().steps}
    assert ("update", "gpu-sharing") in changed

    watched.pulumi("config", "set", "gpu:monitoring", "false")
    gone = {(step.operation, step.name) for step in watched.up().steps if step.operation == "delete"}
    assert gone == {("delete", "gpu-sharing"), ("delete", "gpu-sharing-dashboard")}


def _errors(outcome: Outcome) -> str:
    return outcome.errors or ("" if outcome.succeeded else "it failed silently")
