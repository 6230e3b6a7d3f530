"""The pods of the stack's own DaemonSets: which one is on a node, and why it does not work."""

from typing import NamedTuple

from gpuctl.checks.context import Context
from gpuctl.checks.events import last_warning
from gpuctl.cluster import ClusterError, Pod

_LINES = 1000
"""Of a log: the device plugin writes some 100 when it starts, and one for each event."""


class Trouble(NamedTuple):
    """Why a pod does not do its work."""

    cause: str
    remedy: str


def pod_on(context: Context, component: str, node: str) -> Pod | None:
    """The pod of a DaemonSet on a node: in a rollout the new one; None when there is none but one that ends.

    None as well where pods may not be read.
    """
    if not context.sees_pods:
        return None
    staying = [pod for pod in context.own_pods(component, node) if not pod.metadata.deletion_timestamp]
    return max(staying, key=lambda pod: pod.metadata.creation_timestamp, default=None)


def name_on(context: Context, component: str, node: str) -> str:
    """What kubectl calls that pod; where there is none, its DaemonSet."""
    pod = pod_on(context, component, node)
    return pod.name if pod else f"daemonset/{component}"


def trouble(context: Context, component: str, node: str) -> Trouble | None:
    """Why the pod of a DaemonSet on a node does not work; None when it is ready, or pods may not be read."""
    namespace, pod = context.settings.namespace, pod_on(context, component, node)
    if pod is None and not context.sees_pods:
        return None
    if pod is None:
        pods = context.kubectl("get", "daemonsets,pods", "-n", namespace, "-o", "wide")
        return Trouble(f"no pod of {component} is on {node}", pods)
    if pod.ready:
        return None
    describe = context.kubectl("describe", "pod", "-n", namespace, pod.name)
    for status in pod.status.container_statuses:
        if waiting := status.state.waiting:
            if status.last_state.terminated or status.restart_count:
                last = log(context, pod)[-1:] or [waiting.message]
                logs = context.kubectl("logs", "-n", namespace, pod.name)
                return Trouble(f"{component} on {node} exits again and again: {last[0]}", logs)
            message = waiting.message or last_warning(context, "Pod", pod.name)
            return Trouble(f"{component} on {node} does not start: {_sentence(waiting.reason, message)}", describe)
        if ended := status.state.terminated:
            what = f"has ended with exit code {ended.exit_code}"
            return Trouble(f"{component} on {node} {what}", context.kubectl("logs", "-n", namespace, pod.name))
    if pod.status.container_statuses:
        return Trouble(f"pod {pod.name} on {node} is not ready", context.kubectl("logs", "-n", namespace, pod.name))
    said = [condition for condition in pod.status.conditions if condition.status == "False"]
    reason = _sentence(said[0].reason, said[0].message) if said else pod.status.reason or pod.status.phase
    return Trouble(f"pod {pod.name} on {node} has not started: {reason}", describe)


def log(context: Context, pod: Pod) -> list[str]:
    """The end of an own pod's log; nothing where it may not be read, or its kubelet does not answer."""
    try:
        return [line for line in context.cluster.log(pod.name, pod.namespace, tail_lines=_LINES) if line]
    except ClusterError:
        return []


def _sentence(reason: str, message: str) -> str:
    return f"{reason}: {message}" if message else reason
