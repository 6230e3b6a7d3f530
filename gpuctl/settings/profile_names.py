"""Rules between the names that a stack file gives to profiles."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpuctl.settings.refusal import Path, Problem, RemoveKey, SetValue

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings


def profiles_have_one_name(settings: "Settings") -> Iterator[Problem]:
    """Nodes with the same slices have the same profile, and nodes with others another."""
    names, slices = dict[int, str](), dict[str, int]()
    for index, node in enumerate(settings.nodes):
        if node.profile is None:
            continue
        count = settings.slices_of(node)
        path: Path = ("nodes", index, "profile")
        if (name := names.setdefault(count, node.profile)) != node.profile:
            reason = f"is one profile with the nodes that have {count} slices too, and these are called {name}"
            yield Problem(path, node.profile, reason, [SetValue(name)])
        elif (other := slices.setdefault(node.profile, count)) != count:
            reason = f"is the profile of nodes with {other} slices, and {node.name} has {count}"
            yield Problem(path, node.profile, reason, [RemoveKey()])
