"""Rules between the names that a stack file gives to profiles."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpuctl.settings.nodes import Sharing
from gpuctl.settings.refusal import Path, Problem, RemoveKey, SetValue

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings


def profiles_have_one_name(settings: "Settings") -> Iterator[Problem]:
    """Nodes that share their GPUs in the same way have the same profile, and nodes that do not another."""
    names, sharings = dict[Sharing, str](), dict[str, Sharing]()
    for index, node in enumerate(settings.nodes):
        if node.profile is None:
            continue
        sharing = settings.sharing_of(node)
        path: Path = ("nodes", index, "profile")
        if (name := names.setdefault(sharing, node.profile)) != node.profile:
            reason = f"is one profile with the nodes that have {sharing} too, and these are called {name}"
            yield Problem(path, node.profile, reason, [SetValue(name)])
        elif (other := sharings.setdefault(node.profile, sharing)) != sharing:
            reason = f"is the profile of nodes with {other}, and {node.name} has {sharing}"
            yield Problem(path, node.profile, reason, [RemoveKey()])
