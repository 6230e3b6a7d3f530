"""Figures of a plan as people write them; the same on the screen and in a comment."""

from collections.abc import Callable, Sequence

from gpuctl.desired.sharing import offers_text
from gpuctl.plan.figures import NodeFigures
from gpuctl.plan.stack_plan import NodeChange, StackPlan

MIB_PER_GIB = 1024
_NONE = "-"

COLUMNS: tuple[tuple[str, Callable[[NodeFigures], str]], ...] = (
    ("GPUs", lambda node: node.gpus),
    ("Slices", lambda node: str(node.slices)),
    ("Offered", lambda node: str(node.offered) if len(node.offers) == 1 else offers_text(node.offers)),
    ("Memory per slice", lambda node: memory(node.memory_mib)),
    ("Limit per GPU", lambda node: limits(node.limits)),
    ("Watts", lambda node: "unknown" if node.watts is None else f"{node.watts} W"),
)
"""What the table of changed nodes shows, beside the stack and the node."""


def headline(plans: Sequence[StackPlan]) -> str:
    """One sentence that says what changes for the people who ask for GPUs, without a full stop."""
    invalid = [plan.stack for plan in plans if plan.is_invalid]
    if invalid:
        return f"{' and '.join(invalid)} cannot be deployed"
    changed = [plan for plan in plans if plan.is_changed]
    if not changed:
        return "nothing changes"
    return "; ".join(_change(plan) for plan in changed)


def unchanged(plans: Sequence[StackPlan]) -> str:
    """The stacks that stay as they are, with their capacity; empty when there are none."""
    return ", ".join(f"{plan.stack} ({plan.after.total})" for plan in plans if not plan.is_changed)


def cells(change: NodeChange) -> list[str]:
    """The columns of one node: a figure that changes as `old → new`, the others once."""
    return [_cell(read, change.before, change.after) for _, read in COLUMNS]


def memory(mib: int | None) -> str:
    """Average memory of a slice."""
    return "unknown" if mib is None else f"{mib / MIB_PER_GIB:.1f} GiB"


def limits(watts: tuple[int, ...]) -> str:
    """The limits of a node's GPUs."""
    return "GPU's default" if not watts else f"{'/'.join(map(str, watts))} W"


def _change(plan: StackPlan) -> str:
    was, will_be, what = plan.before.total, plan.after.total, " and ".join(plan.resources)
    if plan.before.mistakes:
        return f"{will_be} schedulable {what} on {plan.stack}, whose base cannot be read"
    if was == will_be:
        return f"still {will_be} schedulable {what} on {plan.stack}"
    return f"{was} → {will_be} schedulable {what} on {plan.stack} ({will_be - was:+d})"


def _cell(read: Callable[[NodeFigures], str], before: NodeFigures | None, after: NodeFigures | None) -> str:
    old, new = (read(side) if side else _NONE for side in (before, after))
    return new if old == new else f"{old} → {new}"
