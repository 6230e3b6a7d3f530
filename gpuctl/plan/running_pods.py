"""Which pods of the live cluster no longer fit when a node offers less."""

from collections.abc import Callable, Iterator

from gpuctl.cluster import Cluster, ClusterError, Pod
from gpuctl.desired.desired import Desired
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
        pods = connect(before.settings).pods()
    except ClusterError as error:
        return [Consequence("note", f"Which running pods no longer fit is not known: {error}.")]
    return list(_crowded(less, pods))


def _crowded(less: list[Less], pods: list[Pod]) -> Iterator[Consequence]:
    by_resource = {resource: users(pods, resource) for resource in {each.resource for each in less}}
    for node, resource, _, _, slices in less:
        here = by_resource[resource].get(node, [])
        used = held(here, resource)
        if used > slices:
            names = ", ".join(sorted(f"{pod.namespace}/{pod.name}" for pod in here)[:_NAMED])
            more = f" and {len(here) - _NAMED} more" if len(here) > _NAMED else ""
            text = f"{used} slices of {node} are in use and it will offer {slices}: {used - slices} no longer fit"
            yield Consequence("removal", f"{text} ({names}{more}).")
