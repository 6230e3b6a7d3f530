"""The figures a cluster must show: schedulable slices, watts, memory per slice."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpuctl.desired.backends import groups
from gpuctl.desired.sharing import RESOURCE, Mode, SharedGpus
from gpuctl.settings import Settings


@dataclass(frozen=True)
class Capacity:
    """How many pods that ask for one slice can run at once."""

    resource: str
    """What a pod asks for to get a slice: that of the first shared GPU, where nodes offer several resources."""
    total: int
    by_node: Mapping[str, int]
    by_model: Mapping[str, int]
    """Key as in the stack file."""
    offers: Mapping[str, Mapping[str, int]]
    """Node -> resource -> how many of it the node must offer."""

    @property
    def by_resource(self) -> Mapping[str, int]:
        """Resource -> how many of it all nodes must offer."""
        found = Counter[str]()
        for offers in self.offers.values():
            found.update(offers)
        return dict(found)


@dataclass(frozen=True)
class PowerBudget:
    """What the GPUs may draw together, in watts; None where a GPU's own default counts and is not known."""

    total: int | None
    by_node: Mapping[str, int | None]


def capacity(settings: Settings) -> Capacity:
    """The capacity of a cluster: what its nodes offer, added up."""
    by_group = {node.name: groups(settings, node) for node in settings.nodes}
    by_node = {name: sum(group.offered for group in found) for name, found in by_group.items()}
    all_groups = [group for found in by_group.values() for group in found]
    shared = next((group.resource for group in all_groups if group.mode is not Mode.WHOLE), RESOURCE)
    by_model = Counter[str]()
    for group in all_groups:
        by_model.update(group.by_model)
    offers = {name: {group.resource: group.offered for group in found} for name, found in by_group.items()}
    return Capacity(shared, sum(by_node.values()), by_node, dict(by_model), offers)


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
    """Memory of the smallest slice of each node, in MiB; None with a model that is not in the catalogue."""
    return {node.name: smallest(groups(settings, node)) for node in settings.nodes}


def limits_per_slice(settings: Settings) -> dict[str, dict[str, dict[str, int | None]]]:
    """The figure `limitsPerSlice`: MiB, and percent of a GPU's multiprocessors; nothing where no node has MPS."""
    found = {node.name: group for node in settings.nodes for group in groups(settings, node) if group.mps}
    limits = {
        name: {"memoryMiB": group.memory_mib, "threadsPercent": group.threads_percent} for name, group in found.items()
    }
    return {"limitsPerSlice": limits} if limits else {}


def smallest(found: Iterable[SharedGpus]) -> int | None:
    """Memory of the smallest slice of some groups, in MiB; None where it is not known."""
    memory = [group.memory_mib for group in found]
    known = [each for each in memory if each is not None]
    return min(known) if known and len(known) == len(memory) else None
