"""What a node is and offers on one side of a change."""

from dataclasses import dataclass

from gpuctl.desired.desired import Desired, DesiredNode


@dataclass(frozen=True)
class NodeFigures:
    """One node as a stack file describes it."""

    gpus: str
    """How many of which model, such as `2 x rtx-3090`."""
    slices: int
    """Per GPU."""
    offered: int
    """Schedulable slices of the node."""
    memory_mib: int | None
    """Average memory of a slice of its smallest GPU; None where the model is not known."""
    limits: tuple[int, ...]
    """Watts per GPU, each different limit once; none without power management."""
    watts: int | None
    """What its GPUs may draw together; None where it is not known."""


def node_figures(desired: Desired) -> dict[str, NodeFigures]:
    """Node -> its figures, in the order of the stack file."""
    return {name: _figures(node, desired.resource) for name, node in desired.nodes.items()}


def _figures(node: DesiredNode, resource: str) -> NodeFigures:
    return NodeFigures(
        gpus=", ".join(f"{group.count} x {group.gpu}" for group in node.declared.cards),
        slices=node.slices,
        offered=node.offered(resource),
        memory_mib=node.memory_mib,
        limits=node.limits,
        watts=node.watts,
    )
