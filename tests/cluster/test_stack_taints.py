"""Nodes with taints of the site's own: refused while the stack's pods do not tolerate them, and served when they do."""

import json
import sys
from collections.abc import Iterator

import pytest

from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1
from tests.cluster.pulumi_stack import Environment, Stack, output, run, suggested

pytestmark = pytest.mark.cluster

GPU_2 = {**GPU_1, "name": "gpu-2"}


@pytest.fixture
def tainted(environment: Environment) -> Iterator[None]:
    """gpu-2 as a site keeps a node for pods of its own choice."""
    taints = ("gpu=true:NoSchedule", "dedicated=gpu:NoExecute")
    output(environment, "kubectl", "taint", "nodes", "gpu-2", *taints)
    yield
    output(environment, "kubectl", "taint", "nodes", "gpu-2", *(f"{taint}-" for taint in taints))


@pytest.mark.usefixtures("tainted")
def test_a_tainted_node_is_refused_until_the_stack_tolerates_it_and_then_served(
    stack: Stack, cluster: Cluster, environment: Environment
) -> None:
    stack.configure(context=cluster.context, namespace=stack.settings.namespace, nodes=[GPU_1, GPU_2])
    preview, up = stack.preview(), stack.up()
    assert not up.succeeded
    assert (preview.steps, up.steps) == (set(), set())
    assert preview.errors == up.errors
    for taint in ("gpu=true:NoSchedule", "dedicated=gpu:NoExecute"):
        assert f"node gpu-2 has the taint {taint}, which keeps the stack's pods off it" in up.errors
    for command in suggested(up.errors):
        stack.shell(command.partition(";")[0])
    assert stack.up().succeeded
    listed = output(environment, "kubectl", "get", "daemonsets", "-n", stack.settings.namespace, "-o", "json")
    ready = {each["metadata"]["name"]: each["status"]["numberReady"] for each in json.loads(listed)["items"]}
    assert ready == {"nvidia-device-plugin": 2, "nvidia-power-limit": 2}


@pytest.mark.usefixtures("tainted")
def test_the_doctor_says_before_the_first_update_what_the_update_would(stack: Stack, cluster: Cluster) -> None:
    stack.configure(context=cluster.context, nodes=[GPU_1, GPU_2])
    doctor = (sys.executable, "-m", "gpuctl", "doctor", "--pre", "--stack", stack.name)
    said = run(stack.environment, *doctor)
    assert said.returncode != 0
    assert "node gpu-2 has the taints gpu:NoSchedule, dedicated:NoExecute" in " ".join(said.stdout.split())
    stack.configure(context=cluster.context, nodes=[GPU_1, GPU_2], tolerations=[{"operator": "Exists"}])
    assert "has the taint" not in run(stack.environment, *doctor).stdout
