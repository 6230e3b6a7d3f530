"""Commands that print a figure of the cluster, and how to find the figure in their output."""

import re
from collections import Counter
from typing import NamedTuple

NODES = (
    "kubectl",
    "get",
    "nodes",
    "-o",
    r"custom-columns=NODE:.metadata.name,nvidia.com/gpu:.status.allocatable.nvidia\.com/gpu",
)
"""How many GPUs each node offers."""

PODS = ("kubectl", "get", "pods", "-l", "app=gpu-demo", "-o", "custom-columns-file=demo/pods.columns")
"""The demo's pods, each with the device it got: `GPU-UUID::SLICE`."""

LIMITS = (
    "kubectl",
    "exec",
    "-n",
    "gpu-device-plugin",
    "ds/nvidia-power-limit",
    "--",
    "nvidia-smi",
    "--query-gpu=uuid,power.limit,power.default_limit",
    "--format=csv,noheader,nounits",
)
"""UUID, limit and default limit of every GPU of the node, in watts."""

CONFIG = (
    "kubectl",
    "get",
    "configmaps",
    "-n",
    "gpu-device-plugin",
    "-l",
    "app.kubernetes.io/name=nvidia-device-plugin",
    "-o",
    r"jsonpath={.items[*].data.config\.yaml}",
)
"""The device plugin's configuration; its ConfigMap has another name for each content."""


class Pod(NamedTuple):
    """A line of PODS."""

    name: str
    phase: str
    restarts: str
    device: str
    """`<none>` while it has none."""


def why_pending(pod: str) -> tuple[str, ...]:
    """The command that prints why a pod has no node."""
    condition = '{.status.conditions[?(@.type=="PodScheduled")].message}'
    return ("kubectl", "get", "pod", pod, "-o", f"jsonpath={condition}")


def offered(output: str) -> dict[str, str]:
    """Node -> GPUs, from NODES."""
    return dict(line.split() for line in output.splitlines()[1:])


def limits(output: str) -> dict[str, float]:
    """UUID -> limit in watts, from LIMITS."""
    rows = (line.split(", ") for line in output.splitlines())
    return {row[0]: float(row[1]) for row in rows if len(row) == 3}


def pods(output: str) -> list[Pod]:
    """The pods, from PODS."""
    return [Pod(*line.split()) for line in output.splitlines()[1:]]


def placement(output: str) -> dict[str, int]:
    """UUID -> running pods on that GPU, and `Pending` -> pods without one, from PODS."""
    return dict(Counter(pod.device.partition("::")[0] if pod.phase == "Running" else pod.phase for pod in pods(output)))


def running(output: str) -> dict[str, str]:
    """Name -> how often it was restarted, of the running pods that have a device, from PODS."""
    return {pod.name: pod.restarts for pod in pods(output) if pod.phase == "Running" and pod.device != "<none>"}


def shortage(output: str) -> str | None:
    """What a pod lacks, from why_pending, such as `Insufficient nvidia.com/gpu`."""
    match = re.search(r"Insufficient [a-z0-9.-]+/[a-z0-9.-]*[a-z0-9]", output)
    return match[0] if match else None


def replicas(output: str) -> str | None:
    """The slices per GPU, from CONFIG."""
    match = re.search(r"replicas: (\d+)", output)
    return match[1] if match else None
