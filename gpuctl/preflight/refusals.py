"""Why a cluster cannot take a stack, each with what fixes it.

Pulumi itself makes a phantom of a node that does not exist, and takes over a namespace that does, so that
`pulumi destroy` deletes what others have in it.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gpuctl.cluster import Cluster, Node, Pod
from gpuctl.desired.desired import Desired
from gpuctl.forms.command import command
from gpuctl.observed import shares
from gpuctl.preflight.backends import changing_in_use, too_old
from gpuctl.preflight.interruptions import Pods, interruptions
from gpuctl.preflight.ownership import Find, foreign, of_other_stacks
from gpuctl.preflight.provided import lacking
from gpuctl.preflight.serving import why_not_serving
from gpuctl.preflight.talos_nodes import going_back, held_by_talos, without_ground


class Seen(NamedTuple):
    """What is asked of the cluster, each once."""

    nodes: Sequence[Node]
    find: Find
    pods: Pods = lambda *_: ()
    version: Callable[[], str] = str
    """Of Kubernetes."""
    holders: Callable[[frozenset[str]], Sequence[Pod]] = lambda _: ()
    """All pods, with what claims hold where these nodes are of the DRA driver."""


def see(cluster: Cluster) -> Seen:
    """The nodes of a cluster, a way to its objects that asks for none a second time, and one to its pods.

    Raises:
        ClusterError: the cluster does not answer; so does `find`.
    """
    holders = functools.partial(shares.pods, cluster)
    return Seen(cluster.nodes(), functools.cache(cluster.get), cluster.pods, cluster.version, holders)


def refusals(desired: Desired, owner: str, seen: Seen) -> list[str]:
    """Every reason why a stack must not be deployed; none when it may.

    Args:
        desired: what the stack asks for.
        owner: the stack, as `PROJECT/STACK`.
        seen: the cluster it goes to.

    Raises:
        ClusterError: the cluster does not answer.
    """
    return [reason for rule in _RULES for reason in rule(desired, owner, seen)]


def obstacles(desired: Desired, owner: str, seen: Seen) -> list[str]:
    """The same without what is about the ownership of objects, which can be settled."""
    return [reason for rule in _RULES if rule not in _OF_OWNERSHIP for reason in rule(desired, owner, seen)]


def _missing_nodes(desired: Desired, _: str, seen: Seen) -> Iterator[str]:
    present, context = {node.name for node in seen.nodes}, desired.settings.context
    missing = [name for name in desired.nodes if name not in present]
    if missing:
        yield (
            f"context {context} has no node {', '.join(missing)}; it has {', '.join(sorted(present))}. "
            "Fix gpu:nodes, or gpu:context when this is another cluster; "
            f"see: {command('kubectl', '--context', context, 'get', 'nodes')}"
        )


def _nodes_that_cannot_serve(desired: Desired, owner: str, seen: Seen) -> Iterator[str]:
    nodes = [node for node in seen.nodes if node.name in desired.nodes]
    return why_not_serving(nodes, desired.settings, _stack(owner))


def _nodes_without_ground(desired: Desired, _: str, seen: Seen) -> Iterator[str]:
    for node in seen.nodes:
        wanted = desired.nodes.get(node.name)
        if wanted and not wanted.profile.sharing.bare and (fact := without_ground(node)):
            yield f"{fact}. What ran before: {going_back(wanted)}"


def _labels_that_talos_holds(desired: Desired, owner: str, seen: Seen) -> Iterator[str]:
    """Only those in the way: Pulumi's own words for it name a field manager and no way out."""
    for found in held_by_talos(desired, _stack(owner), seen.nodes):
        if found.is_in_the_way:
            yield f"{found.fact}. Take them out, and run this again: {found.remedy}"


def _namespace_that_ends(desired: Desired, _: str, seen: Seen) -> Iterator[str]:
    """The API server takes nothing for it, and Pulumi would try again and again without saying so."""
    name, context = desired.settings.namespace, desired.settings.context
    ends = (seen.find("Namespace", name) or {}).get("metadata", {}).get("deletionTimestamp")
    if ends:
        yield (
            f"namespace {name} of context {context} is being deleted since {ends}, so nothing can be created in it. "
            "Wait until it is gone, then repeat: "
            + command("kubectl", "--context", context, "wait", "--for=delete", f"namespace/{name}", "--timeout=5m")
        )


def _objects_of_others(desired: Desired, owner: str, seen: Seen) -> Iterator[str]:
    for found in foreign(desired, _stack(owner), seen.find):
        yield f"{found.fact}. {found.advice}"


def _objects_that_others_provide(desired: Desired, owner: str, seen: Seen) -> Iterator[str]:
    for found in lacking(desired, _stack(owner), seen.find, seen.nodes):
        yield f"{found.fact}. Fix it: {found.remedy}"


def _other_stacks(desired: Desired, owner: str, seen: Seen) -> Iterator[str]:
    for found in of_other_stacks(desired, owner, seen.find, seen.nodes):
        yield found.reason


def _programs_that_would_end(desired: Desired, owner: str, seen: Seen) -> Iterator[str]:
    return interruptions(desired, _stack(owner), seen.pods)


def _kubernetes_that_is_too_old(desired: Desired, _: str, seen: Seen) -> Iterator[str]:
    if desired.by_dra and (reason := too_old(desired, seen.version())):
        yield reason


def _backends_in_use(desired: Desired, _: str, seen: Seen) -> Iterator[str]:
    return changing_in_use(desired, seen.nodes, seen.holders)


def _stack(owner: str) -> str:
    return owner.rpartition("/")[2]


_RULES: tuple[Callable[[Desired, str, Seen], Iterator[str]], ...] = (
    _missing_nodes,
    _nodes_that_cannot_serve,
    _nodes_without_ground,
    _kubernetes_that_is_too_old,
    _backends_in_use,
    _labels_that_talos_holds,
    _namespace_that_ends,
    _objects_of_others,
    _objects_that_others_provide,
    _other_stacks,
    _programs_that_would_end,
)
_OF_OWNERSHIP = (_objects_of_others, _other_stacks)
