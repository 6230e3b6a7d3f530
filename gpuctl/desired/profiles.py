"""Profiles: the nodes that share their GPUs in the same way, and so need the same objects.

A node belongs to the profile `default` unless it overrides something; then its profile carries the name of the
first node with the same overrides, which stays the same when the values change.
"""

import hashlib
from dataclasses import dataclass

from gpuctl.settings import GpuNode, Settings

DEFAULT = "default"

_LONGEST_NAME = 35
"""So that `nvidia-device-plugin-config-NAME` and the label value stay within 63 characters."""


@dataclass(frozen=True)
class Profile:
    """Nodes with the same slices and power limit."""

    name: str
    slices: int
    """Time slices per GPU."""
    power_limit: int
    """Watts per GPU."""
    nodes: tuple[GpuNode, ...]

    def named(self, base: str) -> str:
        """The name of one of its objects: the plain name in the default profile."""
        return base if self.name == DEFAULT else f"{base}-{self.name}"


def profiles(settings: Settings) -> tuple[Profile, ...]:
    """The profiles of a cluster, in the order of its nodes; each node is in exactly one."""
    groups: dict[tuple[int, int], list[GpuNode]] = {}
    for node in settings.nodes:
        groups.setdefault((settings.slices_of(node), settings.limit_of(node)), []).append(node)
    usual = next(iter(groups)) if len(groups) == 1 else (settings.slices, settings.power_limit)
    return tuple(
        Profile(DEFAULT if key == usual else _name(nodes[0].name), *key, tuple(nodes)) for key, nodes in groups.items()
    )


def profile_of(settings: Settings, node: GpuNode) -> Profile:
    """The profile that a node of the cluster belongs to."""
    return next(profile for profile in profiles(settings) if node in profile.nodes)


def _name(node: str) -> str:
    digest = hashlib.sha256(node.encode()).hexdigest()[:8]
    if node == DEFAULT:  # a node may be called so; its profile may not
        return f"{node}-{digest}"
    return node if len(node) <= _LONGEST_NAME else f"{node[: _LONGEST_NAME - 9].rstrip('-.')}-{digest}"
