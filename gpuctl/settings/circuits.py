"""Circuits: what a breaker allows the nodes behind it, and what they may draw.

Functions of settings, which nothing here changes; what to lower where too much is drawn says `circuit_rule`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from gpuctl.settings.catalogue import nearest_common
from gpuctl.settings.nodes import GpuGroup, GpuNode
from gpuctl.settings.values import MOST_WATTS

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings


class Circuit(NamedTuple):
    """The nodes behind one breaker, with what they may draw."""

    nodes: tuple[GpuNode, ...]
    base_watts: int
    """What the nodes draw besides their GPUs."""
    gpu_watts: int | None
    """What their GPUs may draw; None where a GPU's own default counts and is not known."""
    allowed_watts: int

    @property
    def name(self) -> str:
        """Its nodes, because a circuit has no name in a stack file."""
        return ", ".join(node.name for node in self.nodes)

    @property
    def used_watts(self) -> int | None:
        """What is drawn when every GPU is at its limit."""
        return None if self.gpu_watts is None else self.base_watts + self.gpu_watts


def circuits(settings: "Settings") -> tuple[Circuit, ...]:
    """The circuits that are known: the one of the stack, then those of single nodes."""
    shared = tuple(node for node in settings.nodes if node.circuit_watts is None)
    known = [(shared, settings.circuit_watts)] if shared and settings.circuit_watts else []
    known += [((node,), node.circuit_watts) for node in settings.nodes if node.circuit_watts]
    return tuple(
        Circuit(nodes, sum(map(settings.base_of, nodes)), most_watts(settings, nodes), watts) for nodes, watts in known
    )


def most_watts(settings: "Settings", nodes: Iterable[GpuNode], cap: int = MOST_WATTS) -> int | None:
    """What the GPUs of some nodes may draw together; None where a default counts and is not known.

    Which GPU has a UUID is not known here, so a limit by UUID counts only where it is higher: as if the GPU with
    the lowest limit, of those that take it, were meant. The sum is therefore never less than what may be drawn.

    Args:
        settings: of the cluster.
        nodes: of the cluster.
        cap: limits above it count as lowered to it, as far as the GPUs can be.
    """
    total, lowest = 0, dict[str, tuple[GpuGroup, int]]()
    for node in nodes:
        for cards in node.cards:
            watts = watts_of(settings, node, cards, cap)
            if watts is None:
                return None
            total += cards.count * watts
            lowest[cards.gpu] = min(lowest.get(cards.gpu, (cards, watts)), (cards, watts), key=lambda each: each[1])
    for limit in settings.limits_by_uuid.values() if settings.power_management else ():
        more = _more_without(lowest.values()) if limit is None else _more_by_uuid(min(limit, cap), lowest.values())
        if more is None:
            return None
        total += more
    return total


def watts_of(settings: "Settings", node: GpuNode, cards: GpuGroup, cap: int = MOST_WATTS) -> int | None:
    """What each of these GPUs may draw: its limit, or where none is held its default, if that is known."""
    limit = settings.limit_of(node, cards)
    if limit is None:
        return cards.model.watts.default if cards.model else None
    if node.power_limit:
        return _node_limit(node, min(node.power_limit, cap))
    return min(limit, cards.model.watts.nearest(cap) if cards.model else cap)


def takes(cards: GpuGroup, watts: int) -> bool:
    """Whether a GPU takes a limit, as far as that is known."""
    return cards.model is None or cards.model.watts.nearest(watts) == watts


def _node_limit(node: GpuNode, watts: int) -> int:
    """The limit closest to the one asked for that all GPUs of a node with one limit take."""
    nearest = nearest_common(watts, (cards.model.watts for cards in node.cards if cards.model))
    return node.power_limit or watts if nearest is None else min(nearest, node.power_limit or nearest)


def _more_without(lowest: Iterable[tuple[GpuGroup, int]]) -> int | None:
    """What a GPU whose limit is not held may draw besides; None where some default, which may be its, is not known."""
    defaults = [(cards.model.watts.default if cards.model else None, lower) for cards, lower in lowest]
    known = [default - lower for default, lower in defaults if default is not None]
    return max([0, *known]) if len(known) == len(defaults) else None


def _more_by_uuid(watts: int, lowest: Iterable[tuple[GpuGroup, int]]) -> int:
    return max(0, watts - min((lower for cards, lower in lowest if takes(cards, watts)), default=watts))
