"""The power-limit DaemonSet, which holds every GPU at its limit, and the script it runs."""

import hashlib
from pathlib import Path
from typing import Any

from gpuctl.desired import daemon_set as daemon_sets
from gpuctl.desired.names import Manifest, labels
from gpuctl.desired.profiles import DEFAULT, Profile
from gpuctl.settings import Settings

NAME = "nvidia-power-limit"

_AGENT = Path(__file__).with_name("power_limit_agent.sh")
_AGENT_KEY = "agent.sh"
_STATE = "/run/gpu-power-limit"


def config_map(settings: Settings) -> Manifest:
    """The ConfigMap with the agent's script; every profile runs the same."""
    metadata = {"name": f"{NAME}-agent", "namespace": settings.namespace, "labels": labels(NAME, DEFAULT)}
    data = {_AGENT_KEY: _AGENT.read_text()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def daemon_set(settings: Settings, profile: Profile) -> Manifest:
    """The agent on the nodes of one profile, in the shell of the device plugin's image.

    A pod is Ready exactly while every GPU of its node is at its limit, so `pulumi up` waits for the watts. Setting
    a limit takes uid 0 and SYS_ADMIN, the driver's own check, and nothing else; the pod asks for no GPU, because it
    must see all of them and use up no slice.
    """
    counts = " ".join(f"{node.name}={node.count}" for node in profile.nodes)
    container: dict[str, Any] = {
        "name": NAME,
        "command": _agent("run"),
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "NODE_GPU_COUNTS", "value": counts},
            {"name": "POWER_LIMIT_WATTS", "value": str(profile.power_limit)},
            {"name": "POWER_LIMIT_INTERVAL", "value": str(settings.power_interval)},
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
            {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "utility"},
        ],
        "securityContext": daemon_sets.security_context("SYS_ADMIN"),
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": "500m", "memory": "64Mi"},
        },
        "startupProbe": _probe("alive") | {"periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": _probe("ready") | {"periodSeconds": 5, "failureThreshold": 1},
        "livenessProbe": _probe("alive") | {"periodSeconds": 30},
        "volumeMounts": [
            {"name": "agent", "mountPath": "/agent", "readOnly": True},
            {"name": "state", "mountPath": _STATE},
        ],
    }
    volumes: list[dict[str, Any]] = [
        {"name": "agent", "configMap": {"name": config_map(settings)["metadata"]["name"]}},
        {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    checksum = hashlib.sha256(_AGENT.read_bytes()).hexdigest()
    return daemon_sets.daemon_set(settings, profile, NAME, checksum, container, volumes)


def _agent(verb: str) -> list[str]:
    return ["/busybox/sh", f"/agent/{_AGENT_KEY}", verb]


def _probe(verb: str) -> dict[str, Any]:
    return {"exec": {"command": _agent(verb)}, "timeoutSeconds": 5}
