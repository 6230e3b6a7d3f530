"""What a stack uses because others provide it: the RuntimeClass, the labels of its nodes, the Prometheus operator.

Without the RuntimeClass or the labels no pod of the stack is made, and a DaemonSet that wants no pod counts as
complete: `pulumi up` would be done although nothing is served.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gpuctl.cluster import Node
from gpuctl.desired.desired import Desired, DesiredNode
from gpuctl.desired.names import OWNER, RUNTIME_CLASS, Manifest
from gpuctl.forms.command import command
from gpuctl.preflight.ownership import Find

_RUNTIME_CLASS = ("RuntimeClass", RUNTIME_CLASS)
_RULES = ("CustomResourceDefinition", "prometheusrules.monitoring.coreos.com")


class Lacking(NamedTuple):
    """What others should provide, and is not as the stack needs it."""

    name: str
    """Of the object: `RuntimeClass nvidia`, or a node's."""
    fact: str
    """What is in the way, as a sentence without a full stop."""
    remedy: str
    """The command that fixes it, or shows more."""


def lacking(desired: Desired, stack: str, find: Find, nodes: Iterable[Node]) -> Iterator[Lacking]:
    """What the stack would use and is not there.

    Args:
        desired: what the stack asks for.
        stack: its name.
        find: looks up an object.
        nodes: of the cluster.
    """
    if not desired.settings.create_runtime_class:
        yield from _runtime_class(desired.settings.context, stack, find(*_RUNTIME_CLASS))
    if not (desired.settings.label_nodes or desired.settings.talos_apply):
        for node in nodes:
            if node.name in desired.nodes:
                yield from _labels(desired.settings.context, desired.nodes[node.name], node)
    if desired.settings.monitoring and not find(*_RULES):
        yield _no_prometheus_operator(desired.settings.context, stack)


def given_up(desired: Desired, owner: str, find: Find) -> bool:
    """Whether the RuntimeClass is one that the stack created, and that its next update deletes.

    Args:
        desired: what the stack asks for.
        owner: the stack, as `PROJECT/STACK`.
        find: looks up an object.
    """
    found = None if desired.settings.create_runtime_class else find(*_RUNTIME_CLASS)
    return found is not None and found["metadata"].get("annotations", {}).get(OWNER) == owner


def _runtime_class(context: str, stack: str, found: Manifest | None) -> Iterator[Lacking]:
    title = " ".join(_RUNTIME_CLASS)
    if found is None:
        yield Lacking(
            title,
            f"gpu:createRuntimeClass is false, and context {context} has no {title}: no pod of the stack could be "
            "made. Whatever owns it must create it first, or let the stack do so",
            command("pulumi", "config", "set", "--stack", stack, "gpu:createRuntimeClass", "true"),
        )
    elif (handler := found.get("handler")) != RUNTIME_CLASS:
        yield Lacking(
            title,
            f"gpu:createRuntimeClass is false, and {title} has the handler {handler}; NVIDIA's Talos extension has "
            f"{RUNTIME_CLASS}, so no pod of the stack would start. A handler cannot be changed: delete it, and have "
            "its owner create it again with the right one",
            command("kubectl", "--context", context, "delete", "runtimeclass", RUNTIME_CLASS),
        )


def _no_prometheus_operator(context: str, stack: str) -> Lacking:
    """The API server would refuse the alerts itself: half-way, and in words about a missing kind."""
    title = " ".join(_RULES)
    return Lacking(
        title,
        f"gpu:monitoring needs the Prometheus operator, and context {context} has no {title}. Install the operator, or "
        f"load the alerts into your Prometheus as a file (gpuctl render --rules --stack {stack}) and do without its "
        "objects",
        command("pulumi", "config", "set", "--stack", stack, "gpu:monitoring", "false"),
    )


def _labels(context: str, wanted: DesiredNode, node: Node) -> Iterator[Lacking]:
    missing = [f"{key}={value}" for key, value in wanted.labels.items() if node.labels.get(key) != value]
    if missing:
        yield Lacking(
            node.name,
            f"gpu:labelNodes is false, and node {node.name} has no label {' and '.join(missing)}: no pod of the stack "
            "would come to it. Apply its Talos patch, or label it yourself",
            command("kubectl", "--context", context, "label", "node", node.name, *missing, "--overwrite"),
        )
