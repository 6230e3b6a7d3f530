"""A large cluster: a stack's nodes and pods, and pods of others that use the GPUs. kwok plays them all."""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gpuctl.desired.desired import Desired, DesiredNode
from testbed.progress import step

_AT_ONCE = 4
_POLL_SECONDS = 3
_SECONDS = 900
_LOAD = "app=load"

Object = dict[str, Any]
Environment = Mapping[str, str]


def populate(environment: Environment, desired: Desired, pods: int) -> None:
    """Creates a stack's nodes and objects and as many pods in all as asked for; returns when all of them run."""
    nodes = [_node(node) for node in desired.nodes.values()]
    own = desired.manifests
    load = pods - len(nodes) * sum(one["kind"] == "DaemonSet" for one in own)
    with step(f"{len(nodes)} nodes"):
        _in_parts(environment, "create", nodes)
    with step(f"{pods} pods"):
        _kubectl(environment, "apply", "--server-side", "-f", "-", objects=own)
        names = list(desired.nodes)
        _in_parts(environment, "create", [_pod(i, names[i % len(names)], desired.resource) for i in range(load)])
        deadline = time.monotonic() + _SECONDS
        while (left := _not_running(environment, pods)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if left:
            raise TimeoutError(f"{left} of {pods} pods do not run after {_SECONDS} s")


def add_managed_fields(environment: Environment, managers: int) -> None:
    """Lets the pods of others have as many more managers, each of which owns every field that kubectl set."""
    with step(f"{managers} more managers for every pod"):
        found = json.loads(_kubectl(environment, "get", "pods", "-l", _LOAD, "-o", "json", "--show-managed-fields"))
        pods: list[Object] = found["items"]
        for pod in pods:
            del pod["metadata"]["resourceVersion"], pod["status"]
            [created] = [one for one in pod["metadata"]["managedFields"] if one["manager"] == "kubectl-create"]
            copies = [created | {"manager": f"manager-{i}", "operation": "Apply"} for i in range(managers)]
            pod["metadata"]["managedFields"] += copies
        _in_parts(environment, "replace", pods)


def _node(node: DesiredNode) -> Object:
    offered = {resource: str(amount) for resource, amount in node.offers.items()}
    resources = {"cpu": "64", "memory": "256Gi", "pods": "110"} | offered
    labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux"} | dict(node.labels)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": resources, "allocatable": resources},
    }


def _pod(number: int, node: str, resource: str) -> Object:
    """A pod that has a node already, so that the scheduler is spared."""
    variables = [{"name": f"SETTING_{i}", "value": f"value-{i}"} for i in range(8)]
    container = {
        "name": "main",
        "image": "registry.example/load:1",
        "args": ["--serve", "--port=8080"],
        "env": variables,
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m"}, "limits": {resource: "1", "memory": "1Gi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"load-{number}", "namespace": "default", "labels": {"app": "load"}},
        "spec": {"nodeName": node, "containers": [container]},
    }


def _not_running(environment: Environment, pods: int) -> int:
    """Asked so that the server need not send all pods again and again."""
    first = json.loads(_kubectl(environment, "get", "--raw", "/api/v1/pods?limit=1"))
    there = len(first["items"]) + first["metadata"].get("remainingItemCount", 0)
    waiting = json.loads(_kubectl(environment, "get", "--raw", "/api/v1/pods?fieldSelector=status.phase!=Running"))
    return pods - there + len(waiting["items"])


def _in_parts(environment: Environment, verb: str, objects: Sequence[Object]) -> None:
    """Several kubectl at once: one alone waits for the server most of the time."""

    def part(number: int) -> str:
        return _kubectl(environment, verb, "-f", "-", objects=objects[number::_AT_ONCE])

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(part, range(_AT_ONCE)))


def _kubectl(environment: Environment, *words: str, objects: Sequence[Object] = ()) -> str:
    """What kubectl prints; it must succeed."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}) if objects else None
    done = subprocess.run(
        ["kubectl", *words], env=dict(environment), input=text, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout
