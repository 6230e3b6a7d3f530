"""The desired state of one cluster: a plain value, computed once from the settings and read by everything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gpuctl.desired.backends import groups
from gpuctl.desired.capacity import (
    Capacity,
    PowerBudget,
    capacity,
    circuit_budgets,
    limits_per_slice,
    memory_per_slice,
    power_budget,
)
from gpuctl.desired.limits import Limit, limits
from gpuctl.desired.names import RUNTIME_CLASS, Manifest, node_labels
from gpuctl.desired.profiles import Profile, profiles
from gpuctl.desired.sharing import Mode, SharedGpus
from gpuctl.settings import GpuNode, Settings

if TYPE_CHECKING:
    from gpuctl.desired.part import Part


@dataclass(frozen=True)
class DesiredNode:
    """One GPU node and what it must offer."""

    declared: GpuNode
    """As the stack file has it."""
    profile: Profile
    """The objects that serve it."""
    groups: tuple[SharedGpus, ...]
    """Its GPUs by the way they are shared."""
    labels: Mapping[str, str]
    """By which the DaemonSets find the node."""
    memory_mib: int | None
    """Memory of one slice of its smallest GPU; None with a model that is not in the catalogue."""
    limits: tuple[int, ...]
    """Watts of its GPUs, each different limit once, in the order of its models; none of those that are left alone."""
    watts: int | None
    """What its GPUs may draw together; None where a GPU's own default counts and is not known."""

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.declared.name

    @property
    def gpus(self) -> int:
        """Physical GPUs in the node."""
        return self.declared.count

    @property
    def slices(self) -> int:
        """Pods that share one GPU that is shared."""
        return self.profile.slices

    @property
    def offers(self) -> Mapping[str, int]:
        """Resource -> how many of it the node must offer to the scheduler."""
        return {group.resource: group.offered for group in self.groups}

    @cached_property
    def plugins(self) -> Mapping[str, str]:
        """Component -> the DaemonSet that offers its GPUs, or some of them."""
        return {group.component: self.profile.named(group.component) for group in self.groups}

    @cached_property
    def daemons(self) -> Mapping[str, str]:
        """Component -> the DaemonSet that its plugins need beside them."""
        from gpuctl.desired.device_plugin import MPS

        return {MPS: self.profile.named(MPS)} if any(group.mode is Mode.MPS for group in self.groups) else {}

    def group_of(self, uuid: str, index: int | None) -> SharedGpus:
        """The group of one of its GPUs, by what the driver says of that; of one that is in none, the last."""
        said = {uuid, str(index)}
        return next((group for group in self.groups if said & {*group.which}), self.groups[-1])

    def offered(self, resource: str) -> int:
        """How many of a resource the node must offer; 0 of one that it does not have."""
        return self.offers.get(resource, 0)


@dataclass(frozen=True)
class Desired:
    """What a stack file asks for.

    The figures are computed at once; objects and patches, of which a verb that prints figures needs none, when they are
    first asked for.
    """

    settings: Settings
    nodes: Mapping[str, DesiredNode]
    """By name, in the order of the stack file."""
    profiles: tuple[Profile, ...]
    capacity: Capacity
    power: PowerBudget
    circuits: list[dict[str, Any]]
    """What each known circuit may deliver, and what it must when every GPU is at its limit."""

    @property
    def resource(self) -> str:
        """What a pod asks for to get a slice; that of the first shared GPU, where nodes offer several resources."""
        return self.capacity.resource

    @cached_property
    def resources(self) -> tuple[str, ...]:
        """All that its nodes offer."""
        return tuple(self.capacity.by_resource)

    @cached_property
    def by_dra(self) -> frozenset[str]:
        """The nodes whose GPUs the DRA driver offers: what they have is in ResourceSlices and not in their status."""
        return frozenset(name for name, node in self.nodes.items() if node.profile.sharing.backend == "dra")

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """Which power limit is for which GPU; none without power management."""
        return tuple(limits(self.settings)) if self.settings.power_management else ()

    @cached_property
    def parts(self) -> "tuple[Part, ...]":
        """What is deployed, in the order in which a node needs it."""
        from gpuctl.desired.parts import parts

        return parts(self.settings, self.profiles)

    @cached_property
    def manifests(self) -> tuple[Manifest, ...]:
        """The Kubernetes objects, in the order in which they must exist; without the labels of nodes."""
        from gpuctl.desired.parts import manifests

        return manifests(self.parts)

    @cached_property
    def patches(self) -> Mapping[str, str]:
        """Node -> its Talos patch as YAML."""
        from gpuctl.desired.talos import talos_patches

        return talos_patches(self.settings)

    def selected_by(self, daemon_set: Manifest) -> "list[DesiredNode]":
        """The nodes that a DaemonSet selects by their labels."""
        from gpuctl.desired.daemon_set import selects

        pod = daemon_set["spec"]["template"]["spec"]
        return [node for node in self.nodes.values() if selects(pod, node.labels)]

    @property
    def memory_per_slice(self) -> dict[str, int | None]:
        """Memory of one slice of each node's smallest GPU, in MiB; None where it is not known."""
        return {name: node.memory_mib for name, node in self.nodes.items()}

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of the stack; others read them by name (`pulumi stack output gpuCapacity`)."""
        said = {part.name: part.outputs for part in self.parts}
        used = {} if self.settings.create_runtime_class else {"existingRuntimeClass": RUNTIME_CLASS}
        if "dra-driver" in said:
            used |= {"driverImage": self.settings.driver_image}
            used |= {"backends": {name: node.profile.sharing.backend for name, node in self.nodes.items()}}
        return used | {
            "gpuCapacity": {
                "resource": self.resource,
                "total": self.capacity.total,
                "byNode": dict(self.capacity.by_node),
                "byResource": dict(self.capacity.by_resource),
                "offers": {name: dict(offers) for name, offers in self.capacity.offers.items()},
            },
            "powerBudgetWatts": {"total": self.power.total, "byNode": dict(self.power.by_node)},
            "circuits": self.circuits,
            "memoryPerSliceMiB": self.memory_per_slice,
            **limits_per_slice(self.settings),
            "namespace": self.settings.namespace,
            "devicePluginImage": self.settings.image,
            "configHash": said["time-slicing"]["hashes"] if "time-slicing" in said else {},
            "talos": said["talos-patches"],
        }


def desired_state(settings: Settings) -> Desired:
    """Everything that follows from the settings of a stack."""
    found = profiles(settings)
    profile_by_node = {node.name: profile for profile in found for node in profile.nodes}
    budget, memory = power_budget(settings), memory_per_slice(settings)
    nodes = {
        node.name: DesiredNode(
            declared=node,
            profile=(profile := profile_by_node[node.name]),
            groups=groups(settings, node),
            labels=node_labels(profile.label),
            memory_mib=memory[node.name],
            limits=_limits(settings, node),
            watts=budget.by_node[node.name],
        )
        for node in settings.nodes
    }
    return Desired(settings, nodes, found, capacity(settings), budget, circuit_budgets(settings))


def _limits(settings: Settings, node: GpuNode) -> tuple[int, ...]:
    found = (settings.limit_of(node, cards) for cards in node.cards)
    return tuple(dict.fromkeys(watts for watts in found if watts is not None))
