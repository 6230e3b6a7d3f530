"""What `gpuctl render` prints, as a real API server judges it."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from gpuctl.cli.options import STACK_FILE
from gpuctl.desired.names import Manifest
from gpuctl.settings import stack_names
from tests.cluster.pulumi_stack import Environment, clear, output, run, snapshot, without_hash

pytestmark = pytest.mark.cluster

APPLY = ("kubectl", "apply", "--server-side", "-f", "-")


@pytest.fixture(scope="module")
def cleared(environment: Environment) -> Iterator[None]:
    """Removes the objects at the end: the shipped stacks may be applied one over the other."""
    yield
    clear(environment)


@pytest.fixture(scope="module", params=stack_names())
def shipped(request: pytest.FixtureRequest) -> str:
    """The name of a stack that comes with the project."""
    return request.param


@pytest.fixture(scope="module")
def applied(shipped: str, environment: Environment, cleared: None) -> str:  # noqa: ARG001
    """The objects of a shipped stack, which are on the cluster then."""
    rendered = render(shipped, environment)
    output(environment, *APPLY, text=rendered)
    return rendered


def render(stack: str, environment: Environment) -> str:
    """Of the stack file that comes with the project, and not of the cluster's own."""
    shipped = {name: value for name, value in environment.items() if name != STACK_FILE}
    return output(shipped, sys.executable, "-m", "gpuctl", "render", "--stack", stack)


def daemon_sets(rendered: str) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(rendered) if document["kind"] == "DaemonSet"]


def pod_of(daemon_set: Manifest, namespace: str) -> str:
    """The pod that a DaemonSet's controller would create."""
    template: dict[str, Any] = daemon_set["spec"]["template"]
    metadata = {**template["metadata"], "name": daemon_set["metadata"]["name"], "namespace": namespace}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})


def test_every_object_is_accepted(applied: str, environment: Environment) -> None:
    documents = yaml.safe_load_all(applied)
    rendered = {(document["kind"], without_hash(document["metadata"]["name"])) for document in documents}
    assert snapshot(environment).objects.keys() >= rendered


@pytest.mark.usefixtures("applied")
def test_rendered_and_applied_again_it_changes_nothing(shipped: str, environment: Environment) -> None:
    before, again = snapshot(environment), render(shipped, environment)
    assert run(environment, "kubectl", "diff", "--server-side", "-f", "-", text=again).returncode == 0
    output(environment, *APPLY, text=again)
    after = snapshot(environment)
    assert before.objects.keys() == after.objects.keys()
    assert after.changed_since(before) == set()


def test_the_api_server_admits_the_pods_in_their_namespace(applied: str, environment: Environment) -> None:
    for daemon_set in daemon_sets(applied):
        pod = pod_of(daemon_set, daemon_set["metadata"]["namespace"])
        output(environment, "kubectl", "create", "--dry-run=server", "-f", "-", text=pod)


def test_a_namespace_at_talos_default_pod_security_refuses_the_pods(applied: str, environment: Environment) -> None:
    """So the labels of the stack's namespace are what admits them."""
    output(environment, "kubectl", "label", "namespace", "default", "pod-security.kubernetes.io/enforce=baseline")
    try:
        for daemon_set in daemon_sets(applied):
            done = run(
                environment, "kubectl", "create", "--dry-run=server", "-f", "-", text=pod_of(daemon_set, "default")
            )
            assert 'violates PodSecurity "baseline' in done.stderr
    finally:
        output(environment, "kubectl", "label", "namespace", "default", "pod-security.kubernetes.io/enforce-")
