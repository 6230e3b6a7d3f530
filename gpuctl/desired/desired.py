"""The desired state of one cluster: a plain value, computed once from the settings and read by everything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpuctl.desired.capacity import (
    Capacity,
    PowerBudget,
    capacity,
    circuit_budgets,
    memory_per_slice,
    power_budget,
    resource_name,
)
from gpuctl.desired.device_plugin import NAME as PLUGIN
from gpuctl.desired.manifests import manifests
from gpuctl.desired.names import Manifest, node_labels
from gpuctl.desired.profiles import Profile, profiles
from gpuctl.settings import GpuNode, Settings


@dataclass(frozen=True)
class DesiredNode:
    """One GPU node and what it must offer."""

    declared: GpuNode
    """As the stack file has it."""
    profile: Profile
    """The objects that serve it."""
    slices: int
    """Pods that share one GPU."""
    offers: Mapping[str, int]
    """Resource -> how many of it the node must offer to the scheduler."""
    labels: Mapping[str, str]
    """By which the DaemonSets find the node."""
    plugin: str
    """DaemonSet that offers its GPUs."""
    memory_mib: int | None
    """Average memory of one slice of its smallest GPU; None with a model that is not in the catalogue."""
    watts: int | None
    """What its GPUs may draw together; None where a card's own default counts and is not known."""

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.declared.name

    @property
    def gpus(self) -> int:
        """Physical GPUs in the node."""
        return self.declared.count

    def offered(self, resource: str) -> int:
        """How many of a resource the node must offer; 0 of one that it does not have."""
        return self.offers.get(resource, 0)


@dataclass(frozen=True)
class Desired:
    """What a stack file asks for."""

    settings: Settings
    nodes: Mapping[str, DesiredNode]
    """By name, in the order of the stack file."""
    profiles: tuple[Profile, ...]
    resource: str
    """What a pod asks for to get a slice."""
    capacity: Capacity
    power: PowerBudget
    circuits: list[dict[str, Any]]
    manifests: tuple[Manifest, ...]
    """Kubernetes objects, in the order in which they must exist."""


def desired_state(settings: Settings) -> Desired:
    """Everything that follows from the settings of a stack."""
    found, resource = profiles(settings), resource_name(settings)
    profile_by_node = {node.name: profile for profile in found for node in profile.nodes}
    offered, budget, memory = capacity(settings), power_budget(settings), memory_per_slice(settings)
    nodes = {
        node.name: DesiredNode(
            declared=node,
            profile=(profile := profile_by_node[node.name]),
            slices=profile.slices,
            offers={resource: offered.by_node[node.name]},
            labels=node_labels(profile.name),
            plugin=profile.named(PLUGIN),
            memory_mib=memory[node.name],
            watts=budget.by_node[node.name],
        )
        for node in settings.nodes
    }
    return Desired(
        settings, nodes, found, resource, offered, budget, circuit_budgets(settings), tuple(manifests(settings))
    )
