"""A cluster with four real nodes on simulated GPUs, and a stack on it that tests deploy as they need it."""

import copy
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import tools
from testbed.cluster import Cluster, capabilities
from testbed.errors import BedError
from testbed.gpus import NodeSpec, SimulatedGpu
from testbed.images import BUSYBOX

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "gpu-device-plugin"
PLUGIN, POWER = "nvidia-device-plugin", "nvidia-power-limit"
GPU = "nvidia.com/gpu"
INTERVAL = 5
"""Seconds between two looks at the limit: the least that the settings allow."""
SECONDS = 120
"""How long a wait for something on a node may take: no test is about speed, and a wait ends with what it waits for.

Deleting a pod takes 30 s longer now and then: when the kubelet breaks off an exec probe that is just starting, the
container's shim (containerd 1.6) waits that long for the reader of its output, and meanwhile neither passes a signal
on nor reports that the container ended.
"""
NODES = (
    NodeSpec.parse("gpu-1=rtx-3090x2"),
    NodeSpec.parse("gpu-2=rtx-4090x1"),
    NodeSpec.parse("gpu-3=rtx-3090x1"),
)
MIXED = NodeSpec.parse("gpu-4=rtx-4090x1+rtx-3090x1")
"""Only the tests about mixed GPUs declare it; otherwise nothing of the stack runs there."""

_STACK = "l2"
_UP = ["pulumi", "up", "--yes", "--skip-preview", "--stack", _STACK]
_UP_SECONDS = 300

Object = dict[str, Any]
Config = dict[str, Any]


def stack_file(**config: object) -> Config:
    """Two nodes that share in the same way, 4 slices at 300 W, and gpu-2 with 2 slices at 250 W."""
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
        {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "slices": 2, "powerLimit": 250},
        {"name": "gpu-3", "gpu": "rtx-3090", "count": 1},
    ]
    return {"powerInterval": INTERVAL, "nodes": nodes} | config


def require_real_nodes() -> None:
    """Builds what is missing; skips the test, with the reason, where no real nodes can run."""
    if problem := capabilities():
        pytest.skip(problem)
    try:
        tools.everything()
    except BedError as error:
        pytest.skip(str(error))


def wait_for(expected: object, read: Callable[[], object]) -> None:
    """Waits until what is read is as expected; the assertion shows what was seen last."""
    deadline = time.monotonic() + SECONDS
    while (seen := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert seen == expected, f"not within {SECONDS} s"


def gpu_pod(name: str, node: str | None = None, gpus: int | None = 1) -> Object:
    """A pod that sleeps, under the NVIDIA runtime.

    Args:
        name: of the pod.
        node: the only one it may run on; None leaves that to the scheduler.
        gpus: how many it asks for; None asks for none.
    """
    resources = {"limits": {GPU: gpus}} if gpus else {}
    main = {"name": "main", "image": BUSYBOX, "command": ["sleep", "infinity"], "resources": resources}
    spec = {
        "runtimeClassName": "nvidia",
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "nodeSelector": {"kubernetes.io/hostname": node} if node else {},
        "containers": [main],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": _STACK}}, "spec": spec}


class Bed:
    """The cluster and what is deployed on it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.environment = cluster.environment()
        self._deployed: Config | None = None
        project = Path(self.environment["TMPDIR"])  # `pulumi stack init` writes into the project it runs in
        (project / "Pulumi.yaml").write_text("name: gpu\nruntime: python\n")
        self.output("pulumi", "stack", "init", _STACK, "--cwd", str(project))

    def deploy(self, config: Config) -> None:
        """Runs `pulumi up` for a configuration, unless it is deployed."""
        if config == self._deployed:
            return
        # Pulumi's records are wrong after a run that was cut off, or after a change by other means
        up = self.start_deploying(config, "--refresh")
        try:
            said, _ = up.communicate(timeout=_UP_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"pulumi up takes more than {_UP_SECONDS} s\n{self.stop_deploying(up)}")
        assert up.returncode == 0, said
        self._deployed = copy.deepcopy(config)

    def start_deploying(self, config: Config, *flags: str) -> subprocess.Popen[str]:
        """Starts `pulumi up`; stop_deploying is for one that will not come to its end."""
        self._deployed = None
        self.write_stack_file(config)
        return subprocess.Popen(
            [*_UP, *flags],
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def write_stack_file(self, config: Config) -> None:
        """Lets the stack say something else, and deploys nothing."""
        keys = config | {"context": self.cluster.context}
        text = yaml.safe_dump({"config": {f"gpu:{key}": value for key, value in keys.items()}})
        self.cluster.stack_file.write_text(text)

    def stop_deploying(self, up: subprocess.Popen[str]) -> str:
        """Cuts a `pulumi up` off as Ctrl-C does; returns what it printed."""
        up.send_signal(signal.SIGINT)
        return up.communicate(timeout=SECONDS)[0]

    def changed_by_hand(self) -> None:
        """What is deployed is not what Pulumi deployed."""
        self._deployed = None

    def destroy(self) -> None:
        """Runs `pulumi destroy`."""
        self._deployed = None
        done = self.run("pulumi", "destroy", "--yes", "--skip-preview", "--stack", _STACK, seconds=_UP_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *command: str, text: str | None = None, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Runs a command in the cluster's environment."""
        return subprocess.run(
            command,
            cwd=REPOSITORY,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def output(self, *command: str, text: str | None = None) -> str:
        """What a command prints; it must succeed."""
        done = self.run(*command, text=text)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, *what: str) -> Object:
        """An object, or a list of them, as kubectl gets it."""
        return json.loads(self.output("kubectl", "get", *what, "-o", "json"))

    def plugin_config(self, daemon_set: str = PLUGIN) -> Object:
        """The ConfigMap that a DaemonSet of the device plugin mounts."""
        template = self.get("daemonset", "-n", NAMESPACE, daemon_set)["spec"]["template"]
        [name] = [volume["configMap"]["name"] for volume in template["spec"]["volumes"] if volume["name"] == "config"]
        return self.get("configmap", "-n", NAMESPACE, name)

    def gpus(self, node: str) -> list[SimulatedGpu]:
        """The GPUs of a node."""
        return self.cluster.every_node[node].gpus

    def allocatable(self, node: str, resource: str = GPU) -> int:
        """How many GPUs a node offers to the scheduler."""
        return int(self.cluster.api.nodes()[node]["status"]["allocatable"].get(resource, "0"))

    def create(self, *pods: Object) -> None:
        """Creates pods in the namespace default."""
        self.output(
            "kubectl", "create", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
        )

    def pods(self) -> dict[str, Object]:
        """The tests' own pods by name."""
        return {pod["metadata"]["name"]: pod for pod in self.get("pods", "-l", f"app={_STACK}")["items"]}

    def phases(self) -> dict[str, str]:
        """Pod -> phase."""
        return {name: pod["status"]["phase"] for name, pod in self.pods().items()}

    def devices(self) -> dict[str, str]:
        """Pod -> device, `GPU-UUID::SLICE` of a shared GPU, of those that got one."""
        found: dict[str, str] = {}
        for name, pod in self.pods().items():
            for status in pod["status"].get("containerStatuses", [{}])[0].get("allocatedResourcesStatus", []):
                found[name] = status["resources"][0]["resourceID"]
        return found

    def delete_pods(self) -> None:
        """Deletes the tests' own pods."""
        self.output("kubectl", "delete", "pods", "-l", f"app={_STACK}")

    def daemon_pod(self, component: str, node: str) -> Object | None:
        """The newest pod of a DaemonSet on a node; None while there is none but one that ends."""
        label, field = f"app.kubernetes.io/name={component}", f"spec.nodeName={node}"
        pods = self.get("pods", "-n", NAMESPACE, "-l", label, "--field-selector", field)["items"]
        staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return max(staying, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)

    def name_of(self, component: str, node: str) -> str:
        """The name of that pod; waits until there is one."""
        deadline = time.monotonic() + SECONDS
        while (pod := self.daemon_pod(component, node)) is None:
            assert time.monotonic() < deadline, f"{component} on {node}: no pod but one that ends, for {SECONDS} s"
            time.sleep(0.1)
        return pod["metadata"]["name"]

    def is_ready(self, component: str, node: str) -> bool:
        """Whether that pod is ready."""
        pod = self.daemon_pod(component, node)
        conditions: list[Object] = pod["status"].get("conditions", []) if pod else []
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    def execute(self, component: str, node: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in that pod."""
        return self.run("kubectl", "exec", "-n", NAMESPACE, self.name_of(component, node), "--", *command)

    def log(self, component: str, node: str) -> str:
        """The log of that pod."""
        return self.output("kubectl", "logs", "-n", NAMESPACE, self.name_of(component, node))

    def restart_plugin(self, node: str) -> None:
        """Deletes the device plugin's pod; waits until the DaemonSet has made another."""
        delete = ("kubectl", "delete", "pod", "--grace-period=1", "--wait=false", "-n", NAMESPACE)
        self.output(*delete, self.name_of(PLUGIN, node))
        self.name_of(PLUGIN, node)
