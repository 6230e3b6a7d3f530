"""What keeps a declared node from serving, however right its objects are.

Kubernetes counts neither a node that its kubelet has left nor one whose taints keep the pods off among those that a
DaemonSet wants: `pulumi up` would be done while such a node offers the old slices or none, and holds no limit.
"""

from collections.abc import Iterator

from gpuctl.cluster import Node
from gpuctl.cluster.objects import Taint
from gpuctl.desired.daemon_set import TOLERATIONS
from gpuctl.forms.command import command

_KUBERNETES = "node.kubernetes.io/"
"""What the keys of taints begin with that the pods of every DaemonSet tolerate."""


def keeping_off(node: Node) -> list[Taint]:
    """The taints of a node that keep the stack's pods off it."""
    return [taint for taint in node.spec.taints if _keeps_off(taint)]


def why_not_serving(node: Node, context: str) -> Iterator[str]:
    """Why a node would not be served, each with what fixes it.

    Args:
        node: one of the stack.
        context: of the kubeconfig.
    """
    kubectl = ("kubectl", "--context", context)
    if not node.ready:
        yield (
            f"node {node.name} is not Ready, so nothing would reach it: it would stay on what it has. Bring it back, "
            f"or take it out of gpu:nodes until then; see: {command(*kubectl, 'describe', 'node', node.name)}"
        )
    for taint in keeping_off(node):
        said = f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"
        yield (
            f"node {node.name} has the taint {said}, which keeps the stack's pods off it: no slice would be offered "
            f"and no power limit held. Fix it: {command(*kubectl, 'taint', 'node', node.name, f'{said}-')}"
        )


def _keeps_off(taint: Taint) -> bool:
    tolerated = taint.key.startswith(_KUBERNETES) or any(
        taint.key == each["key"] and taint.effect == each.get("effect", taint.effect) for each in TOLERATIONS
    )
    return taint.effect != "PreferNoSchedule" and not tolerated
