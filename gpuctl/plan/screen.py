"""A plan for the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gpuctl.plan.differences import Difference
from gpuctl.plan.stack_plan import StackPlan
from gpuctl.plan.words import COLUMNS, cells, headline, unchanged

_SIGNS = {"create": "+", "update": "~", "delete": "-"}
_LABELS = {"removal": "removed:", "warning": "warning:", "note": "note:"}


def show(console: Console, plans: list[StackPlan], *, diff: bool) -> None:
    """Prints the sentence, the nodes that change, and what follows.

    Args:
        console: to print on.
        plans: one for each stack.
        diff: print how each object differs, and not only which.
    """
    _line(console, f"GPU capacity: {headline(plans)}")
    if any(plan.nodes for plan in plans):
        console.print(_table(plans))
    for plan in plans:
        if mistakes := plan.after.mistakes or plan.before.mistakes:
            _line(console, f"{plan.stack}: {mistakes}")
        for found in plan.consequences:
            _line(console, f"{plan.stack}: {_LABELS[found.kind]} {found.text}")
        _show_differences(console, plan.stack, "objects", plan.objects, diff=diff)
        _show_differences(console, plan.stack, "Talos patches", plan.talos, diff=diff)
    if same := unchanged(plans):
        _line(console, f"unchanged: {same}")


def _table(plans: Sequence[StackPlan]) -> Table:
    table = Table("STACK", "NODE", box=SIMPLE_HEAD, pad_edge=False)
    for name, _ in COLUMNS:
        table.add_column(name.upper(), justify="right")
    for plan in plans:
        for change in plan.nodes:
            table.add_row(plan.stack, change.name, *cells(change))
    return table


def _show_differences(console: Console, stack: str, title: str, found: Sequence[Difference], *, diff: bool) -> None:
    if not found:
        return
    _line(console, f"{stack}: {title}: " + ", ".join(f"{_SIGNS[each.action]}{each.name}" for each in found))
    for each in found if diff else ():
        _line(console, f"\n{each.action} {each.name}\n{each.diff}")


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
