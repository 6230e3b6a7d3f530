"""The figures a cluster must show: schedulable slices, watts, memory per slice."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gpuctl.desired.backends import groups
from gpuctl.desired.sharing import resource_name
from gpuctl.settings import GpuNode, Settings


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
    """What the GPUs may draw together, in watts; None where a GPU's own default counts and is not known."""

    total: int | None
    by_node: Mapping[str, int | None]


def capacity(settings: Settings) -> Capacity:
    """The capacity of a cluster: what its nodes offer, added up."""
    by_group = {node.name: groups(settings, node) for node in settings.nodes}
    by_node = {name: sum(group.offered for group in found) for name, found in by_group.items()}
    by_model = Counter[str]()
    for found in by_group.values():
        for group in found:
            by_model.update(group.by_model)
    return Capacity(resource_name(settings), sum(by_node.values()), by_node, dict(by_model))


def power_budget(settings: Settings) -> PowerBudget:
    """The sum of the limits; without power management, of the GPUs' default limits.

    The total counts a limit by UUID once, and every node's figure as if the GPU were there.
    """
    by_node = {node.name: settings.most_watts([node]) for node in settings.nodes}
    return PowerBudget(settings.most_watts(settings.nodes), by_node)


def circuit_budgets(settings: Settings) -> list[dict[str, object]]:
    """What each known circuit may deliver, and what it must when every GPU is at its limit."""
    return [
        {
            "nodes": [node.name for node in circuit.nodes],
            "usedWatts": circuit.used_watts,
            "allowedWatts": circuit.allowed_watts,
        }
        for circuit in settings.circuits
    ]


def memory_per_slice(settings: Settings) -> dict[str, int | None]:
    """Average memory of one slice of each node's smallest GPU, in MiB; None with a model that is not in the catalogue.

    An average and no reservation: time slicing does not isolate memory, and one pod can take all of it.
    """
    return {node.name: _memory_per_slice(settings, node) for node in settings.nodes}


def _memory_per_slice(settings: Settings, node: GpuNode) -> int | None:
    known = [cards.model.memory_mib for cards in node.cards if cards.model and cards.model.memory_mib]
    return min(known) // settings.slices_of(node) if len(known) == len(node.cards) else None
