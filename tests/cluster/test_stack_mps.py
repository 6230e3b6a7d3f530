"""MPS, by the real engine: a node's slices get limits, other limits, and are time slices again."""

import json

import pytest

from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1
from tests.cluster.pulumi_stack import Key, Stack, Step, snapshot

pytestmark = pytest.mark.cluster

PLUGIN, DAEMON = Key("DaemonSet", "nvidia-device-plugin"), Key("DaemonSet", "nvidia-mps-control-daemon")
SCRIPTS = Key("ConfigMap", "nvidia-mps-control-daemon-scripts")


def test_slices_get_limits_and_are_time_slices_again(stack: Stack, cluster: Cluster) -> None:
    assert stack.up().succeeded
    before = snapshot(stack.environment)
    usual = {"context": cluster.context, "namespace": stack.settings.namespace, "nodes": [GPU_1]}
    stack.configure(**usual, sharing="mps")
    up = stack.up()
    assert up.succeeded, up.errors
    assert {Step("create", *DAEMON), Step("create", *SCRIPTS), Step("update", *PLUGIN)} <= up.steps
    with_mps = snapshot(stack.environment)
    assert with_mps.objects.keys() - before.objects.keys() == {DAEMON, SCRIPTS}
    assert with_mps.uids()[PLUGIN] == before.uids()[PLUGIN], "it is updated in place"
    limits = json.loads(stack.pulumi("stack", "output", "limitsPerSlice", "--json"))
    assert limits == {GPU_1["name"]: {"memoryMiB": 6144, "threadsPercent": 25}}
    assert stack.preview("--expect-no-changes").succeeded
    stack.configure(**usual, sharing="mps", memoryPerSliceMiB=4096)
    other = stack.up()
    assert (other.succeeded, other.steps) == (True, {Step("update", *DAEMON)})
    stack.configure(**usual)
    again = stack.up()
    assert again.succeeded, again.errors
    assert {Step("delete", *DAEMON), Step("delete", *SCRIPTS), Step("update", *PLUGIN)} <= again.steps
    assert snapshot(stack.environment).objects.keys() == before.objects.keys()
    assert stack.destroy().succeeded
