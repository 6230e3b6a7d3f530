"""Why a node of the DRA driver offers other than its slices, in the words of its ResourceSlice and the driver's pod."""

from gpuctl.checks.context import Context
from gpuctl.checks.model import counted, listed
from gpuctl.checks.own_pods import Explanation, name_on, why_not_working
from gpuctl.checks.serving import reboot
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.sharing import SharedGpus
from gpuctl.observed.devices import usage
from gpuctl.observed.shares import SharedDevice


def of_node(context: Context, name: str) -> list[SharedDevice]:
    """The GPUs that the driver of a node has published."""
    return [each for each in context.devices if each.node == name]


def fewer_shares(context: Context, node: DesiredNode, group: SharedGpus) -> Explanation:
    """Why a node's ResourceSlice has other GPUs or shares than the stack asks for.

    A driver whose slice the API server refuses is Ready all the same, and the former slice stays: so the slice is
    judged and not the pod. A kubelet that restarts withdraws the slice for up to 30 s.
    """
    if why := why_not_working(context, group.component, node.name):
        return why
    devices = of_node(context, node.name)
    log = context.kubectl("logs", "-n", context.settings.namespace, name_on(context, group.component, node.name))
    if not devices:
        reason = "is Ready and has published no ResourceSlice"
        more = "; after a restart of the kubelet it does so within 30 s"
        return Explanation(f"the DRA driver on {node.name} {reason}{more}", log, reason)
    other = sorted({each.shares for each in devices if each.shares != group.slices})
    if other:
        reason = f"has {counted(other[0], 'share')} per GPU in its ResourceSlice"
        why = "the API server refuses a newer one (422 in its log), or the rollout has not come to it"
        return Explanation(f"the DRA driver on {node.name} {reason}: {why}", log, reason)
    few = len(devices) < group.count
    cause = "a GPU is lost, or the stack file's count is too high" if few else "the stack file's count is too low"
    return Explanation(f"{cause}: the ResourceSlice of {node.name} has {counted(len(devices), 'GPU')}", log)


def tainted(context: Context, node: DesiredNode, group: SharedGpus) -> Explanation:
    """Which GPU the driver has tainted, why, and who is on it."""
    devices = of_node(context, node.name)
    sick = [each for each in devices if each.taints]
    users = [pod for pod in context.users.get(node.name, []) if pod.asks_for(group.resource)]
    on = usage(users, group.resource).pods
    pods = {f"{pod.namespace}/{pod.name}" for each in sick for pod in on.get(each.uuid, ())}
    who = f"{counted(len(pods), 'pod')} on {'it' if len(sick) == 1 else 'them'}: {listed(sorted(pods))}"
    rest = len(devices) > len(sick)
    causes = listed([f"{each.uuid}: {', '.join(each.taints)}" for each in sick])
    return Explanation(
        f"the DRA driver has tainted {'a GPU' if len(sick) == 1 else 'GPUs'} ({causes}); "
        f"{who if pods else 'no pod is on it'}; {'new pods take the others' if rest else 'new pods find none there'}",
        reboot(context, node),
    )
