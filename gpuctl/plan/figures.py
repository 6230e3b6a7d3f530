"""What a node is and offers on one side of a change."""

from dataclasses import dataclass

from gpuctl.desired.capacity import capacity, memory_per_slice, power_budget
from gpuctl.settings import GpuNode, Settings


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


def node_figures(settings: Settings) -> dict[str, NodeFigures]:
    """Node -> its figures, in the order of the stack file."""
    offered, memory, budget = capacity(settings), memory_per_slice(settings), power_budget(settings)
    return {
        node.name: NodeFigures(
            gpus=", ".join(f"{cards.count} x {cards.gpu}" for cards in node.cards),
            slices=settings.slices_of(node),
            offered=offered.by_node[node.name],
            memory_mib=memory[node.name],
            limits=_limits(settings, node),
            watts=budget.by_node[node.name],
        )
        for node in settings.nodes
    }


def _limits(settings: Settings, node: GpuNode) -> tuple[int, ...]:
    if not settings.power_management:
        return ()
    return tuple(dict.fromkeys(settings.limit_of(node, cards) for cards in node.cards))
