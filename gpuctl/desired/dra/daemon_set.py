"""The DaemonSet of NVIDIA's DRA driver, which publishes the GPUs of its node and hands them to pods through CDI."""

from typing import Any

from gpuctl.desired import daemon_set as daemon_sets
from gpuctl.desired.dra import DRIVER, NAME
from gpuctl.desired.names import Manifest, node_labels
from gpuctl.desired.profiles import Profile
from gpuctl.settings import Settings

_REGISTRY = "/var/lib/kubelet/plugins_registry"
"""Where the kubelet finds plugins; fixed in the kubelet and the driver."""
_OWN = f"/var/lib/kubelet/plugins/{DRIVER}"
"""The driver's socket, its record of what it has prepared, and the hook that containers' CDI specifications name."""
_CDI = "/var/run/cdi"
_DRIVER_ROOT = "/driver-root"
_PORT = 51516
_HEALTH_GATE = "NVMLDeviceHealthCheck=true"
"""Without it nothing notices a GPU that reports an Xid."""


def daemon_set(settings: Settings, profile: Profile) -> Manifest:
    """The driver for all GPUs of the nodes of one profile.

    Where the nodes have NVIDIA's container toolkit it may do nothing: the RuntimeClass gives it the GPUs. Without the
    toolkit only `privileged` opens their device nodes to it. Of the folder of NVIDIA's driver it sees `bin` and
    `lib64` only: a bare `dev` in it would be taken for the place of the device nodes, and every pod would wait for a
    CDI specification without devices, with the driver Ready.
    """
    bare = profile.sharing.bare
    container: dict[str, Any] = {
        "name": NAME,
        "image": settings.driver_image,
        "command": ["gpu-kubelet-plugin", "-v", "4"],
        "env": [
            *_shares(profile.slices),
            {"name": "NVIDIA_DRIVER_ROOT", "value": settings.driver_root},
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void" if bare else "all"},
            {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "utility"},
            {"name": "CDI_ROOT", "value": _CDI},
            {"name": "HEALTHCHECK_PORT", "value": str(_PORT)},
            {"name": "IMAGE_NAME", "value": settings.driver_image},
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "securityContext": daemon_sets.privileged() if bare else daemon_sets.security_context(),
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"cpu": "500m", "memory": "256Mi"},
        },
        "startupProbe": _LIVES | {"periodSeconds": 1, "failureThreshold": 600},
        "livenessProbe": _LIVES | {"periodSeconds": 30, "timeoutSeconds": 10},
        "volumeMounts": [
            {"name": "registry", "mountPath": _REGISTRY},
            {"name": "own", "mountPath": _OWN},
            {"name": "cdi", "mountPath": _CDI},
            *daemon_sets.driver_mounts(_DRIVER_ROOT),
        ],
    }
    volumes: list[dict[str, Any]] = [
        {"name": "registry", "hostPath": {"path": _REGISTRY, "type": "Directory"}},
        {"name": "own", "hostPath": {"path": _OWN, "type": "DirectoryOrCreate"}},
        {"name": "cdi", "hostPath": {"path": _CDI, "type": "DirectoryOrCreate"}},
        *daemon_sets.driver_volumes(settings.driver_root),
    ]
    return daemon_sets.daemon_set(
        settings,
        NAME,
        None,
        container,
        volumes,
        placement={"nodeSelector": node_labels(profile.label)},
        rollout=daemon_sets.NODE_BY_NODE,
        profile=profile.name,
        toolkit=not bare,
        account=NAME,
    )


_LIVES: dict[str, Any] = {"grpc": {"port": _PORT, "service": "liveness"}}


def _shares(slices: int) -> list[dict[str, str]]:
    """One share per GPU is no sharing at all: the API server refuses a slice with it while the driver is Ready."""
    if slices == 1:
        return [{"name": "FEATURE_GATES", "value": _HEALTH_GATE}]
    gates = f"ConsumableShares=true,{_HEALTH_GATE}"
    return [{"name": "FEATURE_GATES", "value": gates}, {"name": "CONSUMABLE_SHARES", "value": str(slices)}]
