"""What the Talos of a node has against a stack: labels that it holds, and a release that has no ground for it."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gpuctl.cluster import Node
from gpuctl.desired.desired import Desired, DesiredNode
from gpuctl.desired.names import contested
from gpuctl.forms.command import command
from gpuctl.observed.nodes import labels_of_talos, talos_release
from gpuctl.settings.talos_tables import WITHOUT_TOOLKIT, WITHOUT_TOOLKIT_FROM, minor_of

_RELEASE = re.compile(r"v\d+\.\d+\.")


class HeldByTalos(NamedTuple):
    """Labels of the stack that a node's machine configuration gives it as well, as patches of older versions did.

    Talos writes them again within a second, so a stack that wants another value ends in a field conflict.
    """

    node: str
    labels: tuple[str, ...]
    is_in_the_way: bool
    """Whether the stack wants another value."""
    remedy: str
    """The commands that take them out of the configuration."""

    @property
    def fact(self) -> str:
        """What Talos holds, as a sentence without a full stop."""
        return (
            f"node {self.node}: its Talos configuration sets {' and '.join(self.labels)}, which the stack sets too: "
            "Talos keeps its value against other slices, and after `pulumi destroy`"
        )


def held_by_talos(desired: Desired, stack: str, nodes: Iterable[Node]) -> Iterator[HeldByTalos]:
    """The nodes whose labels have two owners.

    Args:
        desired: what the stack asks for.
        stack: its name.
        nodes: of the cluster.
    """
    if not desired.settings.label_nodes:
        return
    for node in nodes:
        wanted = desired.nodes.get(node.name)
        if wanted and (held := contested(_set_by_talos(node), wanted.labels)):
            in_the_way = any(node.labels.get(label) != wanted.labels[label] for label in held)
            yield HeldByTalos(node.name, tuple(sorted(held)), in_the_way, _taking_out(wanted, stack))


def without_ground(node: Node) -> str | None:
    """Why nothing of a stack could run on a node, as a sentence without a full stop; None when it can."""
    release = talos_release(node)
    if release is None or not _RELEASE.match(release) or minor_of(release) < WITHOUT_TOOLKIT_FROM:
        return None
    return f"node {node.name} runs Talos {release}, which {WITHOUT_TOOLKIT}; gpu:talosVersion must name that release"


def going_back(node: DesiredNode) -> str:
    """The command that starts what a node ran before its last upgrade."""
    return command("talosctl", "--nodes", node.declared.address or node.declared.name, "rollback")


def _set_by_talos(node: Node) -> dict[str, str]:
    return {label: node.labels.get(label, "") for label in labels_of_talos(node)}


def _taking_out(node: DesiredNode, stack: str) -> str:
    name = node.declared.name
    talosctl = ("talosctl", "--nodes", node.declared.address or name)
    computed = ("gpuctl", "talos", "patch", "--stack", stack, "--node", name, "--config", "now.yaml")
    return " && ".join(
        (
            command(*talosctl, "get", "machineconfig", "v1alpha1", "-o", "yaml") + " >now.yaml",
            command(*computed),
            command(*talosctl, "patch", "machineconfig", "--patch", f"@patches/{name}.yaml"),
        )
    )
