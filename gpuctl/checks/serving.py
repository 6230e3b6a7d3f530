"""Why a node does not offer all of its slices, in the words of the device plugin, its pod and the kubelet."""

from typing import NamedTuple

from gpuctl.checks.context import Context
from gpuctl.checks.daemon_pods import Trouble, log, name_on, pod_on, trouble
from gpuctl.checks.plugin_log import Sick, sick_gpus, waits_without_a_gpu
from gpuctl.checks.wording import counted, listed
from gpuctl.cluster import Pod
from gpuctl.desired.capacity import resource_name
from gpuctl.desired.device_plugin import NAME as PLUGIN
from gpuctl.settings import GpuNode


class Sickness(NamedTuple):
    """What is known of the GPUs that are out of service on a node."""

    gpus: tuple[Sick, ...]
    pods: tuple[Pod, ...]
    """That run on them."""
    pods_are_known: bool
    """Whether the kubelet reports which device a pod has, or no pod has one."""


def not_serving(context: Context, node: GpuNode) -> Trouble | None:
    """Why the device plugin of a node serves no GPU; None when it seems to."""
    if why := trouble(context, PLUGIN, node.name):
        return why
    if waits_without_a_gpu(plugin_log(context, node)):
        return Trouble(
            f"the device plugin on {node.name} found no GPU when it started, and will not look again",
            _logs(context, node),
        )
    return None


def plugin_log(context: Context, node: GpuNode) -> list[str]:
    """What the device plugin of a node has written; nothing when there is none, or it may not be read."""
    pod = pod_on(context, PLUGIN, node.name)
    return log(context, pod) if pod else []


def sickness(context: Context, node: GpuNode) -> Sickness:
    """Which GPUs of a node are out of service, by the plugin's log and the kubelet's report, and who runs on them."""
    resource = resource_name(context.settings)
    gpus = {sick.uuid: sick for sick in sick_gpus(plugin_log(context, node))}
    users = context.users.get(node.name, []) if context.sees_pods else []
    devices = {pod.metadata.uid: pod.devices(resource) for pod in users}
    known = context.sees_pods and all(devices.values())
    if "" in gpus:
        return Sickness((gpus[""],), tuple(users), known)
    for device in (device for found in devices.values() for device in found if device.health == "Unhealthy"):
        uuid = _gpu(device.resource_id)
        gpus.setdefault(uuid, Sick(uuid, "the kubelet calls it unhealthy", needs_reset=False))
    sick = (pod for pod in users if any(_gpu(each.resource_id) in gpus for each in devices[pod.metadata.uid]))
    return Sickness(tuple(gpus.values()), tuple(sick), known)


def out_of_service(context: Context, node: GpuNode) -> Trouble:
    """Which GPU is sick, and since which Xid; what fixes that."""
    found = sickness(context, node)
    if not found.gpus:
        cause = "the device plugin's log does not tell why: it may have been rotated, or the GPUs come back"
        return Trouble(cause, _logs(context, node))
    causes = [f"{sick.uuid or 'every GPU of the node'}: {sick.reason}" for sick in found.gpus]
    cause = f"the device plugin took {'a GPU' if len(causes) == 1 else 'GPUs'} out of service ({listed(causes)})"
    return Trouble(f"{cause}; {_pods(found)}", _remedy(context, node, found))


def reboot(context: Context, node: GpuNode) -> str:
    """The commands that reboot a node once its pods are elsewhere."""
    drain = context.kubectl("drain", node.name, "--ignore-daemonsets", "--delete-emptydir-data")
    return f"{drain} && talosctl -n {node.address or node.name} reboot"


def _pods(found: Sickness) -> str:
    named = listed([f"{pod.namespace}/{pod.name}" for pod in found.pods])
    if found.pods:
        return f"{counted(len(found.pods), 'pod')} on {'it' if len(found.gpus) == 1 else 'them'}: {named}"
    if found.pods_are_known:
        return "no pod is on it"
    return "which pods are on it is not reported by the kubelet (feature gate ResourceHealthStatus)"


def _remedy(context: Context, node: GpuNode, found: Sickness) -> str:
    """A restart of the plugin brings even a GPU back that is still bad."""
    if any(sick.needs_reset for sick in found.gpus):
        return reboot(context, node)
    which = ("-l", f"app.kubernetes.io/name={PLUGIN}", "--field-selector", f"spec.nodeName={node.name}")
    return context.kubectl("delete", "pod", "-n", context.settings.namespace, *which)


def _logs(context: Context, node: GpuNode) -> str:
    return context.kubectl("logs", "-n", context.settings.namespace, name_on(context, PLUGIN, node.name))


def _gpu(device: str) -> str:
    """The UUID in a device's id, `GPU-UUID::SLICE` of a shared GPU."""
    return device.partition("::")[0]
