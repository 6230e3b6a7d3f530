"""The figures a cluster must show: schedulable slices, watts, memory per slice."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpuctl.settings import Cards, GpuNode, Settings

RESOURCE = "nvidia.com/gpu"
RENAMED_RESOURCE = "nvidia.com/gpu.shared"


@dataclass(frozen=True)
class Capacity:
    """How many pods that ask for one slice can run at once."""

    resource: str
    total: int
    by_node: Mapping[str, int]
    by_model: Mapping[str, int]
    """Key as in the stack file."""


@dataclass(frozen=True)
class PowerBudget:
    """What the GPUs may draw together, in watts; None where a card's own default counts and is not known."""

    total: int | None
    by_node: Mapping[str, int | None]


def resource_name(settings: Settings) -> str:
    """The resource a pod asks for."""
    return RENAMED_RESOURCE if settings.rename_by_default else RESOURCE


def capacity(settings: Settings) -> Capacity:
    """The capacity of a cluster: GPUs times slices on every node."""
    by_node = {node.name: node.count * settings.slices_of(node) for node in settings.nodes}
    by_model = Counter[str]()
    for node in settings.nodes:
        for cards in node.cards:
            by_model[cards.gpu] += cards.count * settings.slices_of(node)
    return Capacity(resource_name(settings), sum(by_node.values()), by_node, dict(by_model))


def power_budget(settings: Settings) -> PowerBudget:
    """The sum of the limits; without power management, of the cards' default limits.

    Which card has a UUID is not known here, so a limit by UUID counts only where it is higher: as if the card with the
    lowest limit, of those that take it, were meant. The total counts each such limit once, and every node's figure as
    if the card were there. A budget is therefore never less than what the cards may draw.
    """
    by_node = {node.name: _watts(settings, [node]) for node in settings.nodes}
    return PowerBudget(_watts(settings, settings.nodes), by_node)


def memory_per_slice(settings: Settings) -> dict[str, int | None]:
    """Average memory of one slice of each node's smallest GPU, in MiB; None with a model that is not in the catalogue.

    An average and no reservation: time slicing does not isolate memory, and one pod can take all of it.
    """
    return {node.name: _memory_per_slice(settings, node) for node in settings.nodes}


def _memory_per_slice(settings: Settings, node: GpuNode) -> int | None:
    models = [cards.model for cards in node.cards]
    known = [model.memory_mib for model in models if model]
    return min(known) // settings.slices_of(node) if len(known) == len(models) else None


def _watts(settings: Settings, nodes: Sequence[GpuNode]) -> int | None:
    """What the GPUs of some nodes may draw together."""
    cards = [(node, each) for node in nodes for each in node.cards]
    if not settings.power_management:
        defaults = [each.count * each.model.watts.default for _, each in cards if each.model]
        return sum(defaults) if len(defaults) == len(cards) else None
    limits = [(settings.limit_of(node, each), each) for node, each in cards]
    return sum(watts * each.count for watts, each in limits) + sum(
        max(0, watts - min((limit for limit, each in limits if _takes(each, watts)), default=watts))
        for watts in settings.limits_by_uuid.values()
    )


def _takes(cards: Cards, watts: int) -> bool:
    return cards.model is None or cards.model.watts.nearest(watts) == watts
