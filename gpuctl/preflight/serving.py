"""What keeps a declared node from serving, however right its objects are: before an update, and at its end.

Kubernetes counts neither a node that its kubelet has left nor one whose taints keep the pods off among those that a
DaemonSet wants: `pulumi up` would be done while such a node offers the old slices or none, and holds no limit.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gpuctl.cluster import Cluster, Node
from gpuctl.cluster.objects import Taint
from gpuctl.desired.desired import Desired
from gpuctl.desired.tolerations import tolerates, tolerations
from gpuctl.forms.command import command
from gpuctl.settings import Settings

_OF_EVERY_DAEMON_SET = frozenset(
    f"node.kubernetes.io/{name}"
    for name in ("not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
)
"""Taints that the pods of every DaemonSet tolerate, or that say what the node's conditions say already; not so
`out-of-service`, which an administrator sets, and `network-unavailable`."""

COUNTING_SECONDS = 30.0
"""Within which Kubernetes counts a node among those of a DaemonSet; a second, when it is not busy."""
_TURN_SECONDS = 0.5


def keeping_off(node: Node, settings: Settings) -> list[Taint]:
    """The taints of a node that keep the stack's pods off it."""
    return untolerated(node, tolerations(settings))


def untolerated(node: Node, tolerated: Iterable[Mapping[str, str]]) -> list[Taint]:
    """The taints that keep pods with these tolerations off a node, but for those that every DaemonSet tolerates."""
    known = list(tolerated)
    return [taint for taint in node.spec.taints if _keeps_off(taint, known)]


def tolerating(settings: Settings, stack: str, keys: Sequence[str], key: str) -> str:
    """The command that adds a toleration.

    Args:
        settings: of the stack.
        stack: its name.
        keys: of all taints that need one: each gets a place of its own in the list.
        key: of the taint.
    """
    place = len(settings.tolerations) + keys.index(key)
    return command("pulumi", "config", "set", "--stack", stack, "--path", f"gpu:tolerations[{place}].key", key)


def is_of_kubernetes(taint: Taint) -> bool:
    """Whether it says that something is wrong with the node, so that no pod should tolerate it."""
    return taint.key.startswith("node.kubernetes.io/")


def taking_away(settings: Settings, node: Node, taint: Taint) -> str:
    """The command that takes a taint from a node."""
    return command("kubectl", "--context", settings.context, "taint", "node", node.name, f"{_said(taint)}-")


def why_not_serving(nodes: Iterable[Node], settings: Settings, stack: str) -> Iterator[str]:
    """Why nodes would not be served, each with what fixes it.

    Args:
        nodes: those of the stack.
        settings: of the stack.
        stack: its name.
    """
    found = list(nodes)
    taints = [taint for node in found for taint in keeping_off(node, settings) if not is_of_kubernetes(taint)]
    keys = list(dict.fromkeys(taint.key for taint in taints))
    for node in found:
        yield from _why_not_serving(node, settings, stack, keys)


def left_behind(desired: Desired, stack: str, cluster: Cluster) -> Iterator[str]:
    """Which nodes an update has not come to although it was done, each with what fixes it.

    A node that stops being Ready meanwhile is one that no DaemonSet counts, and none waits for. One whose labels
    the update has just put back is counted a moment later.

    Raises:
        ClusterError: the cluster does not answer.
    """
    declared = (node for node in cluster.nodes() if node.name in desired.nodes)
    found = list(why_not_serving(declared, desired.settings, stack))
    yield from found
    until = time.monotonic() + (0 if found else COUNTING_SECONDS)
    for wanted in (each for each in desired.manifests if each["kind"] == "DaemonSet"):
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
        nodes = len(desired.selected_by(wanted))
        while (updated := _updated(cluster, name, namespace)) < nodes and time.monotonic() < until:
            time.sleep(_TURN_SECONDS)
        if updated < nodes:
            pods = ("get", "pods", "-n", namespace, "-o", "wide")
            show = command("kubectl", "--context", desired.settings.context, *pods)
            yield f"DaemonSet {name} is up to date on {updated} of {nodes} nodes; see: {show}"


def _updated(cluster: Cluster, name: str, namespace: str) -> float:
    """On how many nodes a DaemonSet has a pod of its last revision; one that is not there leaves no node behind."""
    live = cluster.get("DaemonSet", name, namespace)
    return live.get("status", {}).get("updatedNumberScheduled", 0) if live else math.inf


def _why_not_serving(node: Node, settings: Settings, stack: str, keys: Sequence[str]) -> Iterator[str]:
    kubectl = ("kubectl", "--context", settings.context)
    if not node.ready:
        yield (
            f"node {node.name} is not Ready, so nothing would reach it: it would stay on what it has. Bring it back, "
            f"or take it out of gpu:nodes until then; see: {command(*kubectl, 'describe', 'node', node.name)}"
        )
    for taint in keeping_off(node, settings):
        fact = (
            f"node {node.name} has the taint {_said(taint)}, which keeps the stack's pods off it: no slice would be "
            "offered and no power limit held. "
        )
        if is_of_kubernetes(taint):
            yield f"{fact}Once the node is in order, take the taint away: {taking_away(settings, node, taint)}"
        else:
            fix = tolerating(settings, stack, keys, taint.key)
            yield f"{fact}Fix it: {fix}; or take the taint away: {taking_away(settings, node, taint)}"


def _said(taint: Taint) -> str:
    return f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"


def _keeps_off(taint: Taint, tolerated: Iterable[Mapping[str, str]]) -> bool:
    is_tolerated = taint.key in _OF_EVERY_DAEMON_SET or any(
        tolerates(each, taint.key, taint.value, taint.effect) for each in tolerated
    )
    return taint.effect != "PreferNoSchedule" and not is_tolerated
