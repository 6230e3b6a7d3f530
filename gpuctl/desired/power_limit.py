"""The power-limit DaemonSet, which holds every GPU at its limit, and the scripts it runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpuctl.desired import daemon_set as daemon_sets
from gpuctl.desired.limits import limits
from gpuctl.desired.names import Manifest
from gpuctl.desired.profiles import DEFAULT
from gpuctl.settings import Settings
from gpuctl.settings.values import NO_LIMIT

NAME = "nvidia-power-limit"
SCRIPTS = f"{NAME}-agent"
"""Of the ConfigMap, without its hash."""

AGENT = Path(__file__).with_name("power_limit_agent")
"""The folder of the scripts; `agent.sh` is the one that is run."""

SCRIPT = daemon_sets.Script("/agent/agent.sh")
_STATE = "/run/gpu-power-limit"
_NODE_STATE = "/var/lib/kubelet/plugins/gpu-power-limit"
"""On Talos too the kubelet, which must make it, sees this folder; it outlives pods and reboots."""


def config_map(settings: Settings) -> Manifest:
    """The ConfigMap with the agent's scripts."""
    data = {script.name: script.read_text() for script in sorted(AGENT.glob("*.sh"))}
    return daemon_sets.unchanging(SCRIPTS, settings.namespace, NAME, DEFAULT, data)


def daemon_set(settings: Settings, ground: daemon_sets.Ground) -> Manifest:
    """The agent on every GPU node, in the shell of the device plugin's image.

    It is one for all profiles and finds the limits of its own node and GPUs among all, so that nothing that changes in
    a stack file moves a node from one DaemonSet to another, with a moment without agent in between. In a rolling update
    the old pod stays until the new one is ready, and hands over to it; all nodes at once, because none depends on
    another and a limit that a GPU refuses changes nothing.

    A pod is Ready exactly while every GPU of its node is held, so `pulumi up` waits for the watts. Setting
    a limit takes uid 0 and SYS_ADMIN, the driver's own check, and nothing else; the pod asks for no GPU, because it
    must see all of them and use up no slice.
    """
    scripts = config_map(settings)
    counts = " ".join(f"{node.name}={node.count}" for node in settings.nodes)
    container: dict[str, Any] = {
        "name": NAME,
        "command": SCRIPT.command("run"),
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            {"name": "NODE_GPU_COUNTS", "value": counts},
            {"name": "POWER_LIMIT_WATTS", "value": str(settings.power_limit)},
            {"name": "POWER_LIMIT_INTERVAL", "value": str(settings.power_interval)},
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
            {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "utility"},
            *_limits(settings),
            *_kept(settings),
        ],
        "securityContext": daemon_sets.security_context("SYS_ADMIN"),
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "500m", "memory": "64Mi"},
        },
        "startupProbe": SCRIPT.probe("alive") | {"periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": SCRIPT.probe("ready") | {"periodSeconds": 5, "failureThreshold": 1},
        "livenessProbe": SCRIPT.probe("alive") | {"periodSeconds": 30},
        "volumeMounts": [
            {"name": "agent", "mountPath": "/agent", "readOnly": True},
            {"name": "state", "mountPath": _STATE},
            {"name": "node-state", "mountPath": _NODE_STATE},
        ],
    }
    volumes: list[dict[str, Any]] = [
        {"name": "agent", "configMap": {"name": scripts["metadata"]["name"]}},
        {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "node-state", "hostPath": {"path": _NODE_STATE, "type": "DirectoryOrCreate"}},
    ]
    container, volumes = daemon_sets.reaching_gpus(settings, ground, container, volumes)
    return daemon_sets.daemon_set(
        settings,
        NAME,
        daemon_sets.checksum(scripts),
        container,
        volumes,
        placement=ground.placement,
        rollout=daemon_sets.BESIDE_THE_OLD_POD,
        profile=ground.name,
        toolkit=ground.toolkit,
    )


def kept_on(settings: Settings) -> list[str]:
    """The nodes whose limits protect a circuit that the stack knows, and so outlive an agent that nobody follows.

    An agent cannot tell `pulumi destroy` from a DaemonSet, a namespace or a label that somebody deleted by mistake.
    """
    return [node.name for circuit in settings.circuits for node in circuit.nodes]


def _limits(settings: Settings) -> list[dict[str, Any]]:
    """What differs from `powerLimit`; no variable for nothing, because the API server takes an empty value away."""
    lines = "\n".join(_lines(settings))
    return [{"name": "POWER_LIMITS", "value": lines}] if lines else []


def _kept(settings: Settings) -> list[dict[str, Any]]:
    nodes = kept_on(settings)
    return [{"name": "POWER_LIMIT_KEPT_ON", "value": " ".join(nodes)}] if nodes else []


def _lines(settings: Settings) -> Iterator[str]:
    """One line each: `UUID WATTS`, `NODE WATTS` or `NODE WATTS NAME-OF-THE-MODEL`; `none` for WATTS: left alone."""
    for limit in limits(settings):
        watts = NO_LIMIT if limit.watts is None else limit.watts
        if limit.uuid:
            yield f"{limit.uuid} {watts}"
        elif limit.model or limit.watts != settings.power_limit:
            yield f"{limit.node} {watts} {limit.model}".rstrip()
