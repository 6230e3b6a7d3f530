"""Profiles: the nodes that share their GPUs in the same way, and so need the same objects.

A node belongs to the profile `default` unless it overrides the slices; then its profile carries the name of the first
node with the same slices, which stays the same when the value changes. Power limits make no profile: a node that moved
to another would lose its device plugin and its agent for a moment.
"""

import hashlib
from dataclasses import dataclass

from gpuctl.settings import GpuNode, Settings

DEFAULT = "default"

_LONGEST_NAME = 35
"""So that `nvidia-device-plugin-config-NAME`, but for its hash, and the label value stay within 63 characters."""


@dataclass(frozen=True)
class Profile:
    """Nodes with the same slices."""

    name: str
    slices: int
    """Time slices per GPU."""
    nodes: tuple[GpuNode, ...]

    def named(self, base: str) -> str:
        """The name of one of its objects: the plain name in the default profile."""
        return named(base, self.name)


def named(base: str, profile: str) -> str:
    """The name of an object of a profile, by the profile's name."""
    return base if profile == DEFAULT else f"{base}-{profile}"


def profiles(settings: Settings) -> tuple[Profile, ...]:
    """The profiles of a cluster, in the order of its nodes; each node is in exactly one."""
    groups: dict[int, list[GpuNode]] = {}
    for node in settings.nodes:
        groups.setdefault(settings.slices_of(node), []).append(node)
    usual = next(iter(groups)) if len(groups) == 1 else settings.slices
    return tuple(
        Profile(DEFAULT if slices == usual else _name(nodes[0].name), slices, tuple(nodes))
        for slices, nodes in groups.items()
    )


def profile_of(settings: Settings, node: GpuNode) -> Profile:
    """The profile that a node of the cluster belongs to."""
    slices = settings.slices_of(node)
    return next(profile for profile in profiles(settings) if profile.slices == slices)


def _name(node: str) -> str:
    digest = hashlib.sha256(node.encode()).hexdigest()[:8]
    if node == DEFAULT:  # a node may be called so; its profile may not
        return f"{node}-{digest}"
    return node if len(node) <= _LONGEST_NAME else f"{node[: _LONGEST_NAME - 9].rstrip('-.')}-{digest}"
