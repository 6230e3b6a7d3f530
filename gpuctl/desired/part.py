"""A part of a stack: objects that belong together, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuctl.desired.names import Manifest


@dataclass(frozen=True)
class Part:
    """What Pulumi declares as one component.

    Name and type token are part of the identity of every object below it: with others, `pulumi up` would replace all
    objects of a stack that is deployed already.
    """

    name: str
    type_token: str
    """Such as `gpu:index:PowerLimit`."""
    objects: Mapping[str, Manifest] = field(default_factory=dict[str, Manifest])
    """Name -> object, in the order in which they must exist.

    The name stays when the object's own has a hash that changes with its content.
    """
    after: tuple[str, ...] = ()
    """Names of the parts that must be complete before it; one that the stack does not have counts for nothing."""
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    by_profile: bool = False
    """Whether it has exactly one object for each profile of its backend, in the order of the profiles."""
    is_patch: bool = False
    """Whether its objects are somebody else's, and only the fields that stand here are the stack's."""


def by_name(*manifests: Manifest) -> dict[str, Manifest]:
    """Objects that keep their names."""
    return {manifest["metadata"]["name"]: manifest for manifest in manifests}
