"""What a node is and offers on one side of a change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gpuctl.desired.desired import Desired, DesiredNode


@dataclass(frozen=True)
class NodeFigures:
    """One node as a stack file describes it."""

    gpus: str
    """How many of which model, such as `2 x rtx-3090`."""
    slices: int
    """Per GPU."""
    offered: int
    """Schedulable slices of the node, whole GPUs among them."""
    offers: Mapping[str, int] = field(compare=False)
    """Resource -> how many of it they are; another name alone is a consequence of its own."""
    memory_mib: int | None
    """Average memory of a slice of its smallest GPU; None where the model is not known."""
    limits: tuple[int, ...]
    """Watts per GPU, each different limit once; none without power management."""
    watts: int | None
    """What its GPUs may draw together; None where it is not known."""


class Less(NamedTuple):
    """That a node will offer less of a resource."""

    node: str
    resource: str
    was: int
    instead: str
    """The resource that counts from then on: another one where nothing of the stack has that name any more."""
    will_be: int


def less_offered(before: Desired, after: Desired) -> Iterator[Less]:
    """What nodes offer less of, also those that are gone."""
    for node, offers in before.capacity.offers.items():
        for resource, was in offers.items():
            instead = resource if resource in after.resources else after.resource
            will_be = after.capacity.offers.get(node, {}).get(instead, 0)
            if will_be < was:
                yield Less(node, resource, was, instead, will_be)


def node_figures(desired: Desired) -> dict[str, NodeFigures]:
    """Node -> its figures, in the order of the stack file."""
    return {name: _figures(node) for name, node in desired.nodes.items()}


def _figures(node: DesiredNode) -> NodeFigures:
    return NodeFigures(
        gpus=", ".join(f"{group.count} x {group.gpu}" for group in node.declared.cards),
        slices=node.slices,
        offered=sum(node.offers.values()),
        offers=node.offers,
        memory_mib=node.memory_mib,
        limits=node.limits,
        watts=node.watts,
    )
