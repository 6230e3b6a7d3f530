"""MPS, NVIDIA's multi-process service: slices that run at once, each with memory and threads of its own.

The control daemon has a pod of its own. It needs uid 0, because its clients' files belong to it, and no capability; it
changes no setting of a GPU.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuctl.desired import daemon_set as daemon_sets
from gpuctl.desired.device_plugin import MPS as NAME
from gpuctl.desired.names import CHECKSUM_ANNOTATION, Manifest, node_labels
from gpuctl.desired.profiles import DEFAULT, Profile
from gpuctl.desired.sharing import SharedGpus
from gpuctl.settings import Settings

if TYPE_CHECKING:
    from gpuctl.desired.desired import Desired

SCRIPTS = f"{NAME}-scripts"
"""Of the ConfigMap, without its hash."""
ROOT = "/var/run/gpu-mps"
"""On the node, where daemon and clients meet; gone with a reboot. The kubelet must make it, and that of Talos sees the
node's /run under this name only."""

_SCRIPTS = Path(__file__).parents[1] / "mps_daemon"
_FOLDER = "/mps-daemon"
_CONTROL = "nvidia-cuda-mps-control"
_RUN = daemon_sets.Script(f"{_FOLDER}/daemon.sh")
_STATE = "/run/mps"
_OFFERING = "/run/nvidia-device-plugin/offering"
"""There while the plugin's pod offers slices; written by offer.sh."""
OFFER = ["/busybox/sh", f"{_FOLDER}/offer.sh"]
"""Runs the device plugin while the daemon serves."""
MOUNTS: list[dict[str, Any]] = [
    {"name": "mps-daemon", "mountPath": _FOLDER, "readOnly": True},
    {"name": "mps", "mountPath": "/mps"},
    {"name": "mps-shm", "mountPath": "/dev/shm"},  # noqa: S108 (where clients and server meet, in the container)
]
"""Of daemon and plugin; the folder /mps is fixed in the plugin."""


def scripts(settings: Settings) -> Manifest:
    """The ConfigMap with the daemon's scripts, one of which stands for NVIDIA's control program."""
    data = {path.name: path.read_text() for path in sorted(_SCRIPTS.glob("*.sh"))}
    data[_CONTROL] = data.pop("control.sh")
    return daemon_sets.unchanging(SCRIPTS, settings.namespace, NAME, DEFAULT, data)


def volumes(settings: Settings) -> list[dict[str, Any]]:
    """What `MOUNTS` mounts."""
    config_map = {"name": scripts(settings)["metadata"]["name"], "defaultMode": 0o555}
    return [
        {"name": "mps-daemon", "configMap": config_map},
        {"name": "mps", "hostPath": {"path": ROOT, "type": "DirectoryOrCreate"}},
        {"name": "mps-shm", "hostPath": {"path": f"{ROOT}/shm", "type": "DirectoryOrCreate"}},
    ]


def environment(group: SharedGpus) -> list[dict[str, Any]]:
    """By which the control program finds the daemon of some GPUs."""
    return [{"name": "CUDA_MPS_PIPE_DIRECTORY", "value": f"/mps/{group.resource}/pipe"}]


def liveness(serves: list[str]) -> dict[str, Any]:
    """The plugin must serve while its pod offers slices; while no daemon serves there is nothing to restart."""
    return {"exec": {"command": ["/busybox/sh", "-c", f"[ ! -e {_OFFERING} ] || {' '.join(serves)}"]}}


def daemon_set(settings: Settings, profile: Profile, group: SharedGpus) -> Manifest:
    """The MPS control daemon on the nodes of one profile, for the GPUs that they share.

    Two daemons cannot serve in one folder, so the old one ends first, and with it the programs that use the GPUs. Its
    checksum is of all that its pods are made from: with another one they are replaced.
    """
    memory = [{"name": "MPS_MEMORY_MIB", "value": str(group.limit_mib)}] if group.limit_mib else []
    container: dict[str, Any] = {
        "name": NAME,
        "command": _RUN.command("run"),
        "env": [
            {"name": "MPS_SLICES", "value": str(group.slices)},
            {"name": "MPS_THREADS_PERCENT", "value": str(group.threads_percent)},
            *memory,
            *environment(group),
            {"name": "CUDA_DEVICE_ORDER", "value": "PCI_BUS_ID"},
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": group.visible},
            {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "compute,utility"},
        ],
        "securityContext": daemon_sets.security_context(),
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"cpu": "1", "memory": "2Gi"},
        },
        "startupProbe": _RUN.probe("ready") | {"periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": _RUN.probe("ready") | {"periodSeconds": 5},
        "livenessProbe": _RUN.probe("ready") | {"periodSeconds": 20, "failureThreshold": 3},
        "volumeMounts": [*MOUNTS, {"name": "state", "mountPath": _STATE}],
    }
    state = {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    return daemon_sets.checked(
        daemon_sets.daemon_set(
            settings,
            NAME,
            None,
            container,
            [*volumes(settings), state],
            placement={"nodeSelector": node_labels(profile.label)},
            rollout=daemon_sets.NODE_BY_NODE,
            profile=profile.name,
        )
    )


def checksums(desired: "Desired") -> dict[str, str]:
    """Node -> the checksum of the daemon that it is to have; with another one, that is replaced."""
    found: dict[str, str] = {}
    for manifest in desired.manifests:
        if manifest["kind"] == "DaemonSet" and manifest["metadata"]["labels"]["app.kubernetes.io/name"] == NAME:
            annotations = manifest["spec"]["template"]["metadata"]["annotations"]
            found |= {node.name: annotations[CHECKSUM_ANNOTATION] for node in desired.selected_by(manifest)}
    return found
