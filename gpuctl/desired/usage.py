"""The usage DaemonSet, which says which process of which pod uses which GPU, and the script it runs."""

from pathlib import Path
from typing import Any

from gpuctl.desired import daemon_set as daemon_sets
from gpuctl.desired.names import Manifest, labels
from gpuctl.desired.profiles import DEFAULT
from gpuctl.settings import Settings

NAME = "nvidia-gpu-usage"
SCRIPT = f"{NAME}-watcher"
"""Of the ConfigMap, without its hash."""

PORT = 9836
"""Of its pods, where they serve metrics when the stack file asks for it."""
METRICS = "/metrics.txt"
"""The path there: a web server that knows files only says by its end that it is text."""

_FOLDER = Path(__file__).with_name("usage_watcher")
_WATCH = daemon_sets.Script("/watcher/watch.sh")
_STATE = "/run/gpu-usage"
_METRICS_ENV: tuple[dict[str, Any], ...] = (
    {"name": "USAGE_PORT", "value": str(PORT)},
    {"name": "USAGE_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
)
_USER = 59418
"""Not root, and nobody's in the images that are in use: /proc shows whoever has the same user id the memory and the
environment of a process, and 65532 is that of every distroless image."""


def config_map(settings: Settings) -> Manifest:
    """The ConfigMap with the watcher's scripts."""
    data = {name: (_FOLDER / name).read_text() for name in ("watch.sh", "metrics.awk")}
    return daemon_sets.unchanging(SCRIPT, settings.namespace, NAME, DEFAULT, data)


def network_policy(settings: Settings) -> Manifest:
    """The watcher speaks to nobody; metrics are all that it can be asked for. It holds where the CNI has policies."""
    ingress = [{"ports": [{"protocol": "TCP", "port": PORT}]}] if settings.usage_metrics else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{NAME}-network", "namespace": settings.namespace, "labels": labels(NAME)},
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [],
        },
    }


def daemon_set(settings: Settings, ground: daemon_sets.Ground) -> Manifest:
    """The watcher on every GPU node, in the shell of the device plugin's image.

    The driver lists processes by the ids of the asker's own namespace, so the pod has the node's (`hostPID`), and that
    is all: no capability, not root, no folder of the node, no token. Seen with driver 580. It asks for no GPU,
    because it must see all of them and use up no slice.
    """
    script = config_map(settings)
    container: dict[str, Any] = {
        "name": NAME,
        "command": _WATCH.command("run"),
        "env": [
            {"name": "USAGE_INTERVAL", "value": str(settings.usage_interval)},
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
            {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "utility"},
            *(_METRICS_ENV if settings.usage_metrics else ()),
        ],
        **({"ports": [{"name": "metrics", "containerPort": PORT}]} if settings.usage_metrics else {}),
        "securityContext": daemon_sets.security_context() | {"runAsNonRoot": True, "runAsUser": _USER},
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
        "startupProbe": _WATCH.probe("alive") | {"periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": _WATCH.probe("ready") | {"periodSeconds": 5, "failureThreshold": 1},
        "livenessProbe": _WATCH.probe("alive") | {"periodSeconds": 30},
        "volumeMounts": [
            {"name": "watcher", "mountPath": "/watcher", "readOnly": True},
            {"name": "state", "mountPath": _STATE},
        ],
    }
    volumes: list[dict[str, Any]] = [
        {"name": "watcher", "configMap": {"name": script["metadata"]["name"]}},
        {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    container, volumes = daemon_sets.reaching_gpus(settings, ground, container, volumes)
    return daemon_sets.daemon_set(
        settings,
        NAME,
        daemon_sets.checksum(script),
        container,
        volumes,
        placement=ground.placement | {"hostPID": True},
        rollout=daemon_sets.BESIDE_THE_OLD_POD,
        profile=ground.name,
        toolkit=ground.toolkit,
    )
