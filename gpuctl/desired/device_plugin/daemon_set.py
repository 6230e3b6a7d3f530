"""The DaemonSet of the NVIDIA device plugin, which offers each GPU to the scheduler as many times as it has slices."""

from typing import Any

from gpuctl.desired import daemon_set as daemon_sets
from gpuctl.desired.device_plugin import mps
from gpuctl.desired.device_plugin.config import CONFIG_KEY, SCRIPT, config_hash, config_map, supervisor
from gpuctl.desired.names import Manifest, node_labels
from gpuctl.desired.profiles import Profile
from gpuctl.desired.sharing import Mode, SharedGpus
from gpuctl.settings import Settings

_STATE = "/run/nvidia-device-plugin"
"""Where the supervisor and the plugin meet."""
_SOCKETS = "/var/lib/kubelet/device-plugins"
"""Fixed in the plugin and the kubelet."""


def daemon_set(settings: Settings, profile: Profile, group: SharedGpus) -> Manifest:
    """The device plugin for some GPUs, or all, of the nodes of one profile; of other GPUs it knows nothing.

    It needs uid 0 for the kubelet's folder and no capability at all. FAIL_ON_INIT_ERROR makes a node without a
    working driver show as a crash; otherwise the pod is Ready and the node offers no GPU for ever. The supervisor is a
    script in the shell of the plugin's image, and may no more than the plugin itself.
    """
    container: dict[str, Any] = {
        "name": group.component,
        "command": ["/busybox/sh", f"/supervisor/{SCRIPT.name}"],
        "env": [
            {"name": "CONFIG_FILE", "value": f"/config/{CONFIG_KEY}"},
            {"name": "FAIL_ON_INIT_ERROR", "value": "true"},
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": group.visible},
            {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "compute,utility"},
        ],
        "securityContext": daemon_sets.security_context(),
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
        "startupProbe": _serves(group) | {"periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": _serves(group) | {"periodSeconds": 5},
        "livenessProbe": _serves(group) | {"periodSeconds": 20, "failureThreshold": 3},
        "volumeMounts": [
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "device-plugins", "mountPath": _SOCKETS},
            {"name": "supervisor", "mountPath": "/supervisor", "readOnly": True},
            {"name": "state", "mountPath": _STATE},
        ],
    }
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": config_map(settings, profile, group)["metadata"]["name"]}},
        {"name": "device-plugins", "hostPath": {"path": _SOCKETS, "type": "Directory"}},
        {"name": "supervisor", "configMap": {"name": supervisor(settings)["metadata"]["name"]}},
        {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    if group.mode is Mode.MPS:
        _beside_the_mps_daemon(container, volumes, settings, group)
    return daemon_sets.daemon_set(
        settings,
        group.component,
        config_hash(settings, group),
        container,
        volumes,
        placement={"nodeSelector": node_labels(profile.label)},
        rollout=daemon_sets.NODE_BY_NODE,
        profile=profile.name,
    )


def _beside_the_mps_daemon(
    container: dict[str, Any], volumes: list[dict[str, Any]], settings: Settings, group: SharedGpus
) -> None:
    """Only Ready while it offers slices, which is while the daemon serves; it may wait for that as long as it takes."""
    container["command"] = mps.OFFER
    container["env"] += mps.environment(group)
    container["volumeMounts"] += mps.MOUNTS
    volumes += mps.volumes(settings)
    del container["startupProbe"]
    container["livenessProbe"] |= mps.liveness(_serves(group)["exec"]["command"])


def _serves(group: SharedGpus) -> dict[str, Any]:
    """Whether the plugin's socket is there: it has no HTTP port to ask."""
    socket = f"{_SOCKETS}/nvidia-{group.resource.partition('/')[2]}.sock"
    return {"exec": {"command": ["/busybox/test", "-S", socket]}}
