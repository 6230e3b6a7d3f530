"""A stack of backend dra on a real API server: what it makes, what it refuses the driver, and how a node gets there."""

import json
from typing import Any

import pytest

from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1
from tests.cluster.pulumi_stack import Environment, Stack, output, run, snapshot

pytestmark = pytest.mark.cluster

DRIVER = "nvidia-dra-driver"
NAMESPACE = "gpu-by-dra"
GPU_2 = {"name": "gpu-2", "gpu": "rtx-3090", "count": 2}
KINDS = (
    "serviceaccount,clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,"
    "deviceclass"
)


def _made(environment: Environment) -> set[tuple[str, str]]:
    label = ("-l", "app.kubernetes.io/part-of=gpu-sharing")
    found = json.loads(output(environment, "kubectl", "get", KINDS, "-A", *label, "-o", "json"))["items"]
    return {(live["kind"], live["metadata"]["name"]) for live in found}


def _slice_of(node: str) -> str:
    device: dict[str, Any] = {
        "name": "gpu-0",
        "allowMultipleAllocations": True,
        "attributes": {"type": {"string": "gpu"}},
        "capacity": {"shares": {"value": "4"}},
    }
    spec = {
        "driver": "gpu.nvidia.com",
        "nodeName": node,
        "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
        "devices": [device],
    }
    metadata = {"name": f"{node}-gpu.nvidia.com"}
    whole = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": metadata, "spec": spec}
    return json.dumps(whole)


def _as_driver_of(node: str, environment: Environment, *words: str, text: str | None = None) -> str:
    """What the API server says to the driver on a node: nothing but errors, whose token names that node."""
    account = f"system:serviceaccount:{NAMESPACE}:{DRIVER}"
    extra = ("--as", account, "--as-user-extra", f"authentication.kubernetes.io/node-name={node}")
    return run(environment, "kubectl", *words, *extra, text=text).stderr


def test_a_node_moves_to_the_driver_and_back_and_nothing_is_left(
    stack: Stack, cluster: Cluster, environment: Environment
) -> None:
    stack.configure(context=cluster.context, namespace=NAMESPACE, nodes=[GPU_1, GPU_2])
    assert stack.up().errors == ""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trainer", "namespace": "default"}}
    resources = {"limits": {"nvidia.com/gpu": "1"}}
    spec = {"nodeName": "gpu-1", "containers": [{"name": "c", "image": "busybox", "resources": resources}]}
    output(environment, "kubectl", "create", "-f", "-", text=json.dumps(pod | {"spec": spec}))
    stack.configure(context=cluster.context, namespace=NAMESPACE, nodes=[GPU_1 | {"backend": "dra"}, GPU_2])
    refused = stack.up()
    assert "node gpu-1 goes from backend device-plugin to dra, and pods hold GPUs of it" in refused.errors
    assert "default/trainer" in refused.errors
    output(environment, "kubectl", "delete", "pod", "trainer", "--force", "--grace-period=0")

    assert stack.up().errors == ""
    after = snapshot(environment)
    labels = {node: after.labels(node)["nvidia.com/device-plugin.config"] for node in ("gpu-1", "gpu-2")}
    assert labels == {"gpu-1": "dra_gpu-1", "gpu-2": "default"}
    assert _made(environment) == {
        ("ServiceAccount", DRIVER),
        ("ClusterRole", DRIVER),
        ("ClusterRoleBinding", DRIVER),
        ("ValidatingAdmissionPolicy", f"{DRIVER}-own-slices"),
        ("ValidatingAdmissionPolicyBinding", f"{DRIVER}-own-slices"),
        ("DeviceClass", "gpu.nvidia.com"),
    }
    assert stack.preview().steps == set()

    assert _as_driver_of("gpu-1", environment, "create", "-f", "-", text=_slice_of("gpu-1")) == ""
    refusal = _as_driver_of("gpu-1", environment, "create", "-f", "-", text=_slice_of("gpu-2"))
    assert "the driver on node gpu-1 may change the ResourceSlices of that node only" in refusal
    refusal = _as_driver_of("gpu-2", environment, "delete", "resourceslice", "gpu-1-gpu.nvidia.com")
    assert "the driver on node gpu-2 may change the ResourceSlices of that node only" in refusal
    assert _as_driver_of("gpu-1", environment, "delete", "resourceslice", "gpu-1-gpu.nvidia.com") == ""

    stack.configure(context=cluster.context, namespace=NAMESPACE, nodes=[GPU_1, GPU_2])
    assert stack.up().errors == ""
    assert _made(environment) == set()
    assert stack.destroy().errors == ""
