"""Whose the objects are that a stack would touch: its own, another stack's, or somebody else's.

Asked are the objects outside a namespace, of which a cluster has only one, and the nodes. What is in the stack's
namespace goes with that, unless others had something there before the namespace became the stack's. Objects of this
project that do not say of which stack they are were deployed by a version that did not write it down: whoever deploys
next takes them over, with a warning.
"""

import shlex
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from gpuctl.cluster import Node
from gpuctl.desired.desired import Desired
from gpuctl.desired.names import OWNER, PART_OF, RUNTIME_CLASS, Manifest
from gpuctl.forms.command import command


class Find(Protocol):
    """Looks up an object of the cluster."""

    def __call__(self, kind: str, name: str, namespace: str | None = None, /) -> Manifest | None:
        """The object of a kind and a name, if there is one."""
        ...


class Foreign(NamedTuple):
    """An object that the stack needs, and that others made."""

    kind: str
    name: str
    context: str
    stack: str
    """The stack's own name."""
    namespace: str = ""
    """Of the object; empty where its kind has none."""

    @property
    def fact(self) -> str:
        """What is in the way, as a sentence without a full stop."""
        content = " with all that it holds" if self.kind == "Namespace" else ""
        place = f" of namespace {self.namespace}" if self.namespace else ""
        return (
            f"{self.kind} {self.name}{place} exists already and was not made by this project: it would be taken over, "
            f"and deleted by `pulumi destroy`{content}"
        )

    @property
    def hand_over(self) -> str:
        """The command that makes it the project's."""
        label, value = PART_OF
        return command("kubectl", "--context", self.context, "label", self.kind.lower(), self.name, f"{label}={value}")

    @property
    def show(self) -> str:
        """The command that shows whose it is."""
        shown = ("get", self.kind.lower(), self.name, "-n", self.namespace, "-o", "yaml")
        return command("kubectl", "--context", self.context, *shown)

    @property
    def remedy(self) -> str:
        """The command that fixes it, and leaves it to its owner where it can; in a namespace the one that shows it."""
        if self.namespace:
            return self.show
        use = f"pulumi config set --stack {self.stack} gpu:createRuntimeClass false"
        return use if self.kind == "RuntimeClass" else self.hand_over

    @property
    def advice(self) -> str:
        """Everything that fixes it, without a full stop at the end."""
        if self.kind == "RuntimeClass":
            return f"Use it as it is: {self.remedy}. Or hand it over: {self.hand_over}"
        if self.namespace:
            return f"Choose another gpu:namespace, or remove it with what made it; see: {self.show}"
        other = ", or choose another gpu:namespace" if self.kind == "Namespace" else ""
        return f"Hand it over: {self.hand_over}{other}"


class OfAnotherStack(NamedTuple):
    """What another stack of this project has, and this one would touch."""

    stack: str
    """`PROJECT/STACK`."""
    names: tuple[str, ...]
    """`KIND/NAME`."""
    context: str
    own: str
    """The stack that is asked for, as `PROJECT/STACK`."""

    @property
    def reason(self) -> str:
        """What is in the way and what fixes it, as sentences."""
        taken = shlex.join(["kubectl", "--context", self.context, "annotate", "--overwrite", *self.names])
        belong = "belongs" if len(self.names) == 1 else "belong"
        return (
            f"{', '.join(self.names)} {belong} to stack {self.stack}: two stacks on one cluster would undo each "
            f"other's slices and power limits. Declare these GPU nodes in the stack file of {self.stack}, or run "
            f"`pulumi destroy` there first. If that stack is gone, or was renamed, take them over: "
            f"{taken} {OWNER}={self.own}"
        )


def foreign(desired: Desired, stack: str, find: Find) -> list[Foreign]:
    """What stands in the stack's way and is nobody's of this project.

    Args:
        desired: what the stack asks for.
        stack: its name.
        find: the object of a kind and a name, if there is one.
    """
    context = desired.settings.context
    return [
        Foreign(manifest["kind"], manifest["metadata"]["name"], context, stack, namespace)
        for namespace, manifest in (
            *(("", each) for each in _existing(desired, find)),
            *((desired.settings.namespace, each) for each in _in_the_namespace(desired, find)),
        )
        if not is_the_projects(manifest)
    ]


def of_other_stacks(desired: Desired, own: str, find: Find, nodes: Iterable[Node]) -> list[OfAnotherStack]:
    """What other stacks of this project have, one entry for each.

    Args:
        desired: what the stack asks for.
        own: the stack, as `PROJECT/STACK`.
        find: the object of a kind and a name, if there is one.
        nodes: of the cluster.
    """
    owners = {
        f"{manifest['kind'].lower()}/{manifest['metadata']['name']}": owner_of(manifest)
        for manifest in (*_existing(desired, find), *_used(desired, find))
        if is_the_projects(manifest)
    }
    owners |= {f"node/{node.name}": node.metadata.annotations.get(OWNER) for node in nodes}
    others = dict.fromkeys(stack for stack in owners.values() if stack and stack != own)
    return [
        OfAnotherStack(
            other, tuple(name for name, stack in owners.items() if stack == other), desired.settings.context, own
        )
        for other in others
    ]


def unmarked(desired: Desired, find: Find) -> list[str]:
    """Objects of the project, as `KIND/NAME`, that do not say of which stack they are.

    Args:
        desired: what the stack asks for.
        find: the object of a kind and a name, if there is one.
    """
    found = (each for each in _existing(desired, find) if is_the_projects(each) and owner_of(each) is None)
    return [f"{each['kind'].lower()}/{each['metadata']['name']}" for each in found]


def _existing(desired: Desired, find: Find) -> Iterable[Manifest]:
    for wanted in desired.manifests:
        if not _is_inside(wanted):
            existing = find(wanted["kind"], wanted["metadata"]["name"])
            if existing is not None:
                yield existing


def _in_the_namespace(desired: Desired, find: Find) -> Iterable[Manifest]:
    """What the namespace has under the names of the stack's objects, once it is the project's."""
    namespace = desired.settings.namespace
    there = find("Namespace", namespace)
    if there is None or not is_the_projects(there):
        return
    for wanted in desired.manifests:
        existing = find(wanted["kind"], wanted["metadata"]["name"], namespace) if _is_inside(wanted) else None
        if existing is not None:
            yield existing


def _is_inside(wanted: Manifest) -> bool:
    return "namespace" in wanted["metadata"]


def _used(desired: Desired, find: Find) -> Iterable[Manifest]:
    """The RuntimeClass that the stack does not create: another stack's shows that there is one."""
    existing = None if desired.settings.create_runtime_class else find("RuntimeClass", RUNTIME_CLASS)
    return [] if existing is None else [existing]


def is_the_projects(manifest: Manifest) -> bool:
    """Whether an object is one of this project."""
    label, value = PART_OF
    return manifest["metadata"].get("labels", {}).get(label) == value


def owner_of(manifest: Manifest) -> str | None:
    """The stack of which an object is, as `PROJECT/STACK`; None where it does not say."""
    return manifest["metadata"].get("annotations", {}).get(OWNER)
