"""Why a node does not offer all of its slices, in the words of the device plugin, its pod and the kubelet."""

from typing import NamedTuple

from gpuctl.checks.agent_reports import agent_reports
from gpuctl.checks.context import Context
from gpuctl.checks.model import counted, listed
from gpuctl.checks.own_pods import Explanation, daemon_set_of, name_on, pod_on, why_not_working
from gpuctl.cluster import Pod
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.sharing import RESOURCE, SharedGpus
from gpuctl.observed.devices import devices, usage
from gpuctl.observed.plugin_log import UnhealthyGpu, loaded_config, replicas, unhealthy_gpus, waits_without_a_gpu


class OutOfService(NamedTuple):
    """What is known of the GPUs that are out of service on a node."""

    gpus: tuple[UnhealthyGpu, ...]
    pods: tuple[Pod, ...]
    """That run on them."""
    pods_are_known: bool
    """Whether the kubelet reports which device a pod has, or no pod has one."""


def not_serving(context: Context, node: DesiredNode, group: SharedGpus) -> Explanation | None:
    """Why the device plugin of a node serves none of its GPUs; None when it seems to."""
    if why := why_not_working(context, group.component, node.name):
        return why
    if waits_without_a_gpu(plugin_log(context, node, group)):
        reason = "found no GPU when it started, and will not try again"
        return Explanation(f"the device plugin on {node.name} {reason}", _logs(context, node, group), reason)
    return None


def other_sharing(context: Context, node: DesiredNode, group: SharedGpus) -> Explanation | None:
    """That the device plugin of a node has loaded another number of slices; None when it has not, or does not say."""
    loaded = loaded_config(plugin_log(context, node, group))
    if loaded is None:
        return None
    runs = replicas(loaded).get(RESOURCE, 1)
    if runs == group.slices:
        return None
    reason = f"runs with {counted(runs, 'slice')} per GPU"
    return Explanation(f"the device plugin on {node.name} {reason}", restart(context, node, group), reason)


def plugin_log(context: Context, node: DesiredNode, group: SharedGpus) -> list[str]:
    """What the device plugin of some GPUs has written; nothing when there is none, or it may not be read."""
    pod = pod_on(context, group.component, node.name)
    return context.log(pod) if pod else []


def out_of_service(context: Context, node: DesiredNode, group: SharedGpus) -> Explanation:
    """Which GPU is unhealthy, and since which Xid; what fixes that."""
    found = _out_of_service(context, node, group)
    if not found.gpus:
        cause = "the device plugin's log does not say why: it may have been rotated, or the GPUs come back"
        return Explanation(cause, _logs(context, node, group))
    if not found.gpus[0].uuid and _answers_again(context, node):
        cause = f"the device plugin took every GPU of {node.name} out of service ({found.gpus[0].reason})"
        return Explanation(
            f"{cause}; all of them answer again, and the plugin's supervisor will try them, or this does at once; "
            f"{_pods(found)}",
            _delete_plugin(context, node, group),
        )
    causes = [f"{each.uuid or 'every GPU of the node'}: {each.reason}" for each in found.gpus]
    cause = f"the device plugin took {'a GPU' if len(causes) == 1 else 'GPUs'} out of service ({listed(causes)})"
    return Explanation(f"{cause}; {_pods(found)}", _remedy(context, node, group, found))


def restart(context: Context, node: DesiredNode, group: SharedGpus) -> str:
    """The command that makes the device plugin of a node read its configuration again."""
    name = f"daemonset/{daemon_set_of(context, group.component, node.name)}"
    return context.kubectl("rollout", "restart", "-n", context.settings.namespace, name)


def reboot(context: Context, node: DesiredNode) -> str:
    """The commands that reboot a node once its pods are elsewhere."""
    drain = context.kubectl("drain", node.name, "--ignore-daemonsets", "--delete-emptydir-data")
    return f"{drain} && talosctl -n {node.declared.address or node.name} reboot"


def _out_of_service(context: Context, node: DesiredNode, group: SharedGpus) -> OutOfService:
    """By the plugin's log and the kubelet's report."""
    resource = group.resource
    gpus = {each.uuid: each for each in unhealthy_gpus(plugin_log(context, node, group))}
    users = [pod for pod in context.users.get(node.name, []) if pod.asks_for(resource)] if context.sees_pods else []
    held = usage(users, resource)
    known = context.sees_pods and held.is_complete
    if "" in gpus:
        return OutOfService((gpus[""],), tuple(users), known)
    for device in (device for pod in users for device in devices(pod, resource) if not device.is_healthy):
        gpus.setdefault(device.gpu, UnhealthyGpu(device.gpu, "the kubelet calls it unhealthy", needs_reset=False))
    on_them = {pod.metadata.uid for gpu in gpus for pod in held.pods.get(gpu, ())}
    return OutOfService(tuple(gpus.values()), tuple(pod for pod in users if pod.metadata.uid in on_them), known)


def _pods(found: OutOfService) -> str:
    named = listed([f"{pod.namespace}/{pod.name}" for pod in found.pods])
    if found.pods:
        return f"{counted(len(found.pods), 'pod')} on {'it' if len(found.gpus) == 1 else 'them'}: {named}"
    if found.pods_are_known:
        return "no pod is on it"
    return "which pods are on it is not reported by the kubelet (feature gate ResourceHealthStatus)"


def _remedy(context: Context, node: DesiredNode, group: SharedGpus, found: OutOfService) -> str:
    """A restart of the plugin brings even a GPU back that is still bad."""
    if any(each.needs_reset for each in found.gpus):
        return reboot(context, node)
    return _delete_plugin(context, node, group)


def _answers_again(context: Context, node: DesiredNode) -> bool:
    """Whether every GPU of a node answers its power-limit agent at this moment."""
    if not context.settings.power_management or not context.sees_pods:
        return False
    report = context.once(agent_reports)[node.name]
    lost = any(fault.name == "lost" for fault in report.faults)
    return not report.silence and not lost and len(report.gpus) == node.gpus


def _delete_plugin(context: Context, node: DesiredNode, group: SharedGpus) -> str:
    """The command that restarts the device plugin of a node: no pod with a slice is touched."""
    which = ("-l", f"app.kubernetes.io/name={group.component}", "--field-selector", f"spec.nodeName={node.name}")
    return context.kubectl("delete", "pod", "-n", context.settings.namespace, *which)


def _logs(context: Context, node: DesiredNode, group: SharedGpus) -> str:
    return context.kubectl("logs", "-n", context.settings.namespace, name_on(context, group.component, node.name))
