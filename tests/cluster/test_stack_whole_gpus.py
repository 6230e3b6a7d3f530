"""Whole GPUs beside shared ones, by the real engine: one of two GPUs becomes a whole one, and is shared again."""

import json

import pytest

from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1
from tests.cluster.pulumi_stack import Key, Stack, Step, snapshot

pytestmark = pytest.mark.cluster

PLUGIN, CONFIG = Key("DaemonSet", "nvidia-device-plugin"), Key("ConfigMap", "nvidia-device-plugin-config")
WHOLE, WHOLE_CONFIG = Key("DaemonSet", "nvidia-whole-gpu-plugin"), Key("ConfigMap", "nvidia-whole-gpu-plugin-config")


def test_a_gpu_becomes_a_whole_one_and_is_shared_again(stack: Stack, cluster: Cluster) -> None:
    assert stack.up().succeeded
    before = snapshot(stack.environment)
    stack.configure(context=cluster.context, namespace=stack.settings.namespace, nodes=[GPU_1 | {"wholeGpus": 1}])
    up = stack.up()
    assert up.succeeded, up.errors
    assert {Step("create", *WHOLE), Step("create", *WHOLE_CONFIG), Step("update", *PLUGIN)} <= up.steps
    assert {Key(step.kind, step.name) for step in up.steps} == {PLUGIN, CONFIG, WHOLE, WHOLE_CONFIG}
    both = snapshot(stack.environment)
    assert both.objects.keys() - before.objects.keys() == {WHOLE, WHOLE_CONFIG}
    assert both.uids()[PLUGIN] == before.uids()[PLUGIN], "it is updated in place"
    ready = [both.objects[key]["status"]["numberReady"] for key in (PLUGIN, WHOLE)]
    assert ready == [1, 1]
    offered = json.loads(stack.pulumi("stack", "output", "gpuCapacity", "--json"))
    assert offered["byResource"] == {"nvidia.com/gpu": 1, "nvidia.com/gpu.shared": 4}
    assert stack.preview("--expect-no-changes").succeeded
    stack.configure(context=cluster.context, namespace=stack.settings.namespace, nodes=[GPU_1])
    again = stack.up()
    assert again.succeeded, again.errors
    assert {Step("delete", *WHOLE), Step("delete", *WHOLE_CONFIG), Step("update", *PLUGIN)} <= again.steps
    assert snapshot(stack.environment).objects.keys() == before.objects.keys()
    assert stack.destroy().succeeded
