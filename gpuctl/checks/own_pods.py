"""The pods of the stack's own DaemonSets: which one is on a node, and why it does not work."""

from dataclasses import replace
from typing import NamedTuple

from gpuctl.checks.context import Context
from gpuctl.checks.model import Subject
from gpuctl.cluster import AccessDeniedError, Pod
from gpuctl.observed.pods import PodProblem, State, Warned, last_words, pod_problem, warnings

_LINK = {State.ENDED: " with"}
"""What stands between the state of a pod and its reason, where that is no colon."""


class Explanation(NamedTuple):
    """Why a node or an object is not as it should be."""

    cause: str
    remedy: str
    reason: str = ""
    """The cause without its node; empty where it names none."""
    component: str = ""
    """Of whose pod it speaks; empty where it speaks of something else."""

    def on(self, node: str) -> Subject:
        """The node for which it holds."""
        return Subject(node, component=self.component)


def pod_on(context: Context, component: str, node: str) -> Pod | None:
    """The pod of a DaemonSet on a node: in a rollout the new one; None when there is none but one that ends.

    None as well where pods may not be read.
    """
    if not context.sees_pods:
        return None
    staying = [pod for pod in context.own_pods(component, node) if not pod.metadata.deletion_timestamp]
    return max(staying, key=lambda pod: pod.metadata.creation_timestamp, default=None)


def running_on(context: Context, component: str, title: str, node: str) -> Pod | str:
    """The running pod of a DaemonSet on a node, or why there is none, by the title that people know it by."""
    seen = context.nodes.get(node)
    if seen is None or not seen.ready:
        return f"{node} is {'not Ready' if seen else 'not in the cluster'}"
    pod = pod_on(context, component, node)
    if pod is None or not any(status.state.running for status in pod.status.container_statuses):
        return f"no {title} runs on {node}"
    return pod


def daemon_set_of(context: Context, component: str, node: str) -> str:
    """The DaemonSet of a component on a node: the one that made its pod, else the one that the stack asks for."""
    pod = pod_on(context, component, node)
    owners = pod.metadata.owner_references if pod else ()
    made_by = next((owner.name for owner in owners if owner.kind == "DaemonSet"), "")
    wanted = context.desired.nodes[node]
    return made_by or {**wanted.plugins, **wanted.daemons}.get(component, component)


def name_on(context: Context, component: str, node: str) -> str:
    """What kubectl calls that pod; where there is none, its DaemonSet."""
    pod = pod_on(context, component, node)
    return pod.name if pod else f"daemonset/{daemon_set_of(context, component, node)}"


def why_not_working(context: Context, component: str, node: str) -> Explanation | None:
    """Why the pod of a DaemonSet on a node does not work; None when it is ready, or pods may not be read."""
    namespace, pod = context.settings.namespace, pod_on(context, component, node)
    if pod is None:
        if not context.sees_pods:
            return None
        pods = context.kubectl("get", "daemonsets,pods", "-n", namespace, "-o", "wide")
        return Explanation(f"no pod of {component} is on {node}", pods, "it has no pod", component)
    if (problem := pod_problem(pod)) is None:
        return None
    why = _why(context, pod, problem)
    has_run = problem.state in (State.CRASHING, State.ENDED, State.UNREADY)
    show = context.kubectl(*(("logs",) if has_run else ("describe", "pod")), "-n", namespace, pod.name)
    reason = " ".join(filter(None, (f"{problem.state}{_LINK.get(problem.state, ':') if why else ''}", why)))
    who = f"pod {pod.name}" if problem.state in (State.UNREADY, State.NOT_STARTED) else component
    return Explanation(f"{who} on {node} {reason}", show, reason, component)


def last_warning(context: Context, kind: str, name: str) -> str:
    """The newest warning about an object in the stack's namespace; empty when there is none, or it may not be read."""
    found = context.once(own_warnings).get((kind, name))
    return found[-1].message if found else ""


def own_warnings(context: Context) -> dict[tuple[str, str], list[Warned]]:
    """Kind and name of an object in the stack's namespace -> the warnings about it; none where they may not be read."""
    try:
        return warnings(context.cluster.list("Event", context.settings.namespace, {"type": "Warning"}))
    except AccessDeniedError:
        return {}


def _why(context: Context, pod: Pod, problem: PodProblem) -> str:
    if problem.state is State.CRASHING:
        return last_words(problem, context.log(pod))
    if problem.state is State.WAITING and not problem.message:
        return replace(problem, message=last_warning(context, "Pod", pod.name)).why
    return problem.exit if problem.state is State.ENDED else problem.why
