"""A plan for the terminal."""

from collections.abc import Iterator, Sequence

from gpuctl.forms.line import Line, line
from gpuctl.forms.table import table
from gpuctl.plan.differences import Difference
from gpuctl.plan.stack_plan import StackPlan
from gpuctl.plan.words import COLUMNS, cells, headline, unchanged

_SIGNS = {"create": "+", "update": "~", "delete": "-"}
_LABELS = {"removal": "removed:", "warning": "warning:", "note": "note:"}


def screen(plans: Sequence[StackPlan], *, diff: bool) -> Iterator[Line]:
    """The sentence, the nodes that change, and what follows.

    Args:
        plans: one for each stack.
        diff: say how each object differs, and not only which.
    """
    yield line(f"GPU capacity: {headline(plans)}")
    if any(plan.nodes for plan in plans):
        yield line()
        yield from _table(plans)
        yield line()
    for plan in plans:
        if mistakes := plan.after.mistakes or plan.before.mistakes:
            yield from (line(each) for each in f"{plan.stack}: {mistakes}".splitlines())
        for found in plan.consequences:
            yield line(f"{plan.stack}: {_LABELS[found.kind]} {found.text}")
        yield from _differences(plan.stack, "objects", plan.objects, diff=diff)
        yield from _differences(plan.stack, "Talos patches", plan.talos, diff=diff)
    if same := unchanged(plans):
        yield line(f"unchanged: {same}")


def _table(plans: Sequence[StackPlan]) -> Iterator[Line]:
    figures = [name.upper() for name, _ in COLUMNS]
    rows = [(plan.stack, change.name, *cells(change)) for plan in plans for change in plan.nodes]
    return table(("STACK", "NODE", *figures), rows, right=figures)


def _differences(stack: str, title: str, found: Sequence[Difference], *, diff: bool) -> Iterator[Line]:
    if not found:
        return
    yield line(f"{stack}: {title}: " + ", ".join(f"{_SIGNS[each.action]}{each.name}" for each in found))
    for each in found if diff else ():
        yield line()
        yield line(f"{each.action} {each.name}")
        yield from (line(changed) for changed in each.diff.splitlines())
