"""The figures a cluster must show: schedulable slices, watts, memory per slice."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gpuctl.settings import GpuNode, Settings

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
        by_model[node.gpu] += by_node[node.name]
    return Capacity(resource_name(settings), sum(by_node.values()), by_node, dict(by_model))


def power_budget(settings: Settings) -> PowerBudget:
    """The sum of the limits; without power management, of the cards' default limits."""
    by_node = {node.name: _node_watts(settings, node) for node in settings.nodes}
    known = [watts for watts in by_node.values() if watts is not None]
    return PowerBudget(sum(known) if len(known) == len(by_node) else None, by_node)


def memory_per_slice(settings: Settings) -> dict[str, int | None]:
    """Average memory of one slice by node, in MiB; None for a model that is not in the catalogue.

    An average and no reservation: time slicing does not isolate memory, and one pod can take all of it.
    """
    return {
        node.name: node.model.memory_mib // settings.slices_of(node) if node.model else None for node in settings.nodes
    }


def _node_watts(settings: Settings, node: GpuNode) -> int | None:
    if settings.power_management:
        return node.count * settings.limit_of(node)
    return node.count * node.model.watts.default if node.model else None
