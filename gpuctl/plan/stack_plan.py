"""The plan of one stack: both sides read, and what differs between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gpuctl.cluster import Cluster
from gpuctl.desired.desired import Desired
from gpuctl.desired.sharing import offers_text
from gpuctl.plan.consequences import Consequence, consequences
from gpuctl.plan.differences import Difference, differences
from gpuctl.plan.figures import NodeFigures
from gpuctl.plan.running_pods import clients, crowded
from gpuctl.plan.side import Side
from gpuctl.settings import Settings


@dataclass(frozen=True)
class NodeChange:
    """A node whose figures differ; a side that is None does not have it."""

    name: str
    before: NodeFigures | None
    after: NodeFigures | None


@dataclass(frozen=True)
class StackPlan:
    """What changes in one stack."""

    stack: str
    before: Side
    after: Side
    nodes: tuple[NodeChange, ...] = ()
    consequences: list[Consequence] = field(default_factory=list[Consequence])
    objects: tuple[Difference, ...] = ()
    talos: tuple[Difference, ...] = ()

    @property
    def resource(self) -> str:
        """What its slices are called, on the newer side if that is known."""
        known = self.after.desired or self.before.desired
        return known.resource if known else ""

    @property
    def resources(self) -> tuple[str, ...]:
        """All that its nodes offer, on the newer side if that is known."""
        known = self.after.desired or self.before.desired
        return known.resources if known else ()

    @property
    def is_invalid(self) -> bool:
        """Whether the newer side cannot be deployed."""
        return bool(self.after.mistakes)

    @property
    def is_changed(self) -> bool:
        """Whether anything differs, figures or objects."""
        return bool(
            self.is_invalid or self.before.mistakes or self.nodes or self.consequences or self.objects or self.talos
        )


def plan(stack: str, before: Side, after: Side, connect: Callable[[Settings], Cluster]) -> StackPlan:
    """What changes from one side to the other; nothing is compared with a side that has mistakes.

    Args:
        stack: its name.
        before: the older side.
        after: the newer side.
        connect: leads to the cluster of the older side, which is asked for pods only when a node will offer less.
    """
    if before.mistakes or after.mistakes:
        return StackPlan(stack, before, after)
    return StackPlan(
        stack,
        before,
        after,
        _nodes(before.nodes, after.nodes),
        _consequences(before.desired, after.desired, connect),
        differences(before.objects, after.objects),
        differences(before.patches, after.patches),
    )


def _nodes(before: Mapping[str, NodeFigures], after: Mapping[str, NodeFigures]) -> tuple[NodeChange, ...]:
    names = [*(name for name in before if name not in after), *after]
    changes = (NodeChange(name, before.get(name), after.get(name)) for name in names)
    return tuple(change for change in changes if change.before != change.after)


def _consequences(
    before: Desired | None, after: Desired | None, connect: Callable[[Settings], Cluster]
) -> list[Consequence]:
    if before and after:
        live = [*crowded(before, after, connect), *clients(before, after, connect)]
        return [*consequences(before, after), *live]
    if before:
        offered = offers_text(before.capacity.by_resource)
        return [
            Consequence(
                "removal",
                f"The stack's file goes, its {offered} do not: what is deployed "
                f"in context {before.settings.context} stays until `pulumi destroy`, which needs the file.",
            )
        ]
    return []
