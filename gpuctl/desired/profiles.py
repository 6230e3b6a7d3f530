"""Profiles: the nodes that share their GPUs in the same way, and so need the same objects.

A node belongs to the profile `default` unless it overrides slices, MPS, its limits or backend, keeps GPUs whole beside
shared ones, or has no container toolkit where the stack's Talos has one; then its profile carries the name of the first
node that does the same, which stays the same when the value changes, or the one that the stack file gives it, which
also outlives that node. Power limits make no profile: a node that moved to another would lose its plugin and its agent
for a moment.
"""

import hashlib
from collections.abc import Set
from dataclasses import dataclass

from gpuctl.settings import GpuNode, Settings
from gpuctl.settings.nodes import Sharing
from gpuctl.settings.values import LONGEST_PROFILE

DEFAULT = "default"


@dataclass(frozen=True)
class Profile:
    """Nodes whose GPUs the same backend offers, in the same slices with the same limits, and the same whole."""

    name: str
    sharing: Sharing
    nodes: tuple[GpuNode, ...]

    @property
    def slices(self) -> int:
        """Pods that share one GPU that is shared."""
        return self.sharing.slices

    @property
    def label(self) -> str:
        """By which its DaemonSets find its nodes.

        It says the backend too: a node that changes that leaves the former one's DaemonSets at once, and no two ever
        offer the same GPUs. No name of a profile has an underscore.
        """
        backend = self.sharing.backend
        return self.name if backend == "device-plugin" else f"{backend}_{self.name}"

    def named(self, base: str) -> str:
        """The name of one of its objects: the plain name in the default profile."""
        return named(base, self.name)


def backend_in(label: str) -> str:
    """The backend that the label of a node says."""
    backend, says, _ = label.partition("_")
    return backend if says else "device-plugin"


def named(base: str, profile: str) -> str:
    """The name of an object of a profile, by the profile's name."""
    return base if profile == DEFAULT else f"{base}-{profile}"


def profiles(settings: Settings) -> tuple[Profile, ...]:
    """The profiles of a cluster, in the order of its nodes; each node is in exactly one."""
    groups: dict[Sharing, list[GpuNode]] = {}
    for node in settings.nodes:
        groups.setdefault(settings.sharing_of(node), []).append(node)
    usual = next(iter(groups)) if len(groups) == 1 else settings.usual_sharing
    given = {sharing: node.profile for sharing, nodes in groups.items() for node in reversed(nodes) if node.profile}
    return tuple(
        Profile(
            given.get(sharing) or (DEFAULT if sharing == usual else _name(nodes[0].name, {DEFAULT, *given.values()})),
            sharing,
            tuple(nodes),
        )
        for sharing, nodes in groups.items()
    )


def profile_of(settings: Settings, node: GpuNode) -> Profile:
    """The profile that a node of the cluster belongs to."""
    sharing = settings.sharing_of(node)
    return next(profile for profile in profiles(settings) if profile.sharing == sharing)


def _name(node: str, taken: Set[str]) -> str:
    if len(node) <= LONGEST_PROFILE and node not in taken:
        return node
    digest = hashlib.sha256(node.encode()).hexdigest()[:8]
    return f"{node[: LONGEST_PROFILE - 9].rstrip('-.')}-{digest}"
