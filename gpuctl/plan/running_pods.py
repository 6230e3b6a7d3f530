"""Which pods of the live cluster no longer fit when a node offers less."""

from collections.abc import Callable, Iterator

from gpuctl.cluster import Cluster, ClusterError, Pod
from gpuctl.desired.desired import Desired
from gpuctl.desired.device_plugin.mps import checksums
from gpuctl.observed import shares
from gpuctl.observed.devices import held, users
from gpuctl.plan.consequence import Consequence
from gpuctl.plan.figures import Less, less_offered
from gpuctl.settings import Settings

_NAMED = 5
"""How many pods are named; the others are counted."""


def crowded(before: Desired, after: Desired, connect: Callable[[Settings], Cluster]) -> list[Consequence]:
    """One sentence for each node whose pods have more slices than it will offer.

    The cluster is asked only when a node offers less, and only that which the stack names before the change.
    """
    less = list(less_offered(before, after))
    if not less:
        return []
    try:
        pods = shares.pods(connect(before.settings), before.by_dra)
    except ClusterError as error:
        return [Consequence("note", f"Which running pods no longer fit is not known: {error}.")]
    return list(_crowded(less, pods))


def clients(before: Desired, after: Desired, connect: Callable[[Settings], Cluster]) -> list[Consequence]:
    """One sentence for each node on which pods with slices must end, as its MPS daemon comes, goes or is replaced.

    The cluster is asked only for such a node.
    """
    was, will_be = (checksums(desired) for desired in (before, after))
    changed = [name for name in before.nodes if name in after.nodes and was.get(name) != will_be.get(name)]
    if not changed:
        return []
    try:
        pods = connect(before.settings).pods()
    except ClusterError as error:
        return [Consequence("note", f"Which running pods must end is not known: {error}.")]
    found = list[Consequence]()
    for name in changed:
        resources = [group.resource for group in before.nodes[name].groups if group.slices > 1]
        if here := users(pods, *resources).get(name, []):
            one = len(here) == 1
            ends = "ends with errors" if one else "end with errors"
            lacks = f"{'has' if one else 'have'} no limit until {'it is' if one else 'they are'} started again"
            pods_there = f"{len(here)} {'pod' if one else 'pods'} of {name}"
            found.append(Consequence("removal", f"{pods_there} {ends if name in was else lacks} ({_names(here)})."))
    return found


def _names(pods: list[Pod]) -> str:
    """The first of them, and how many more there are."""
    names = ", ".join(sorted(f"{pod.namespace}/{pod.name}" for pod in pods)[:_NAMED])
    return f"{names} and {len(pods) - _NAMED} more" if len(pods) > _NAMED else names


def _crowded(less: list[Less], pods: list[Pod]) -> Iterator[Consequence]:
    by_resource = {resource: users(pods, resource) for resource in {each.resource for each in less}}
    for node, resource, _, _, slices in less:
        here = by_resource[resource].get(node, [])
        used = held(here, resource)
        if used > slices:
            text = f"{used} slices of {node} are in use and it will offer {slices}: {used - slices} no longer fit"
            yield Consequence("removal", f"{text} ({_names(here)}).")
