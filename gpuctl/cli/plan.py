"""gpuctl plan: what a change of the stack files does to the GPUs."""

from typing import TYPE_CHECKING, Annotated

import typer

from gpuctl.cli.options import Stacks, by_kubeconfig, output_option
from gpuctl.forms.exits import Exit
from gpuctl.forms.output import Output, show

if TYPE_CHECKING:
    from gpuctl.plan.stack_plan import StackPlan

_HEAD_DEFAULT = "the files as they lie here"


_FORMS = (Output.table, Output.markdown, Output.json)


def plan(
    stack: Stacks = None,
    base: Annotated[
        str, typer.Option(metavar="REF", help="Revision to compare with, as it was when the head left it.")
    ] = "HEAD",
    head: Annotated[
        str | None, typer.Option(metavar="REF", help="Revision that changes something.", show_default=_HEAD_DEFAULT)
    ] = None,
    output: Annotated[
        Output, output_option("For people, for a pull request's comment, or for machines.", *_FORMS)
    ] = Output.table,
    diff: Annotated[bool, typer.Option("--diff", help="In the table, also print how each object differs.")] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 when something changes.")] = False,
) -> None:
    """Print what a change of the stack files does: capacity, watts, restarts, and what is left to do by hand.

    Nothing is checked out, and nothing but git is needed: all figures come from the stack files. Only when a node will
    offer less, its cluster is asked which running pods no longer fit; when it does not answer, that is said.

    Exit codes: 0 nothing changes, 10 something does, 2 usage, or a stack that cannot be deployed.
    """
    from gpuctl.plan.revisions import WORKING_TREE, RevisionError

    newer = head or WORKING_TREE
    try:
        plans = _plans(stack, base, newer)
    except RevisionError as error:
        raise typer.BadParameter(str(error), param_hint="--base or --head") from error
    _print(plans, base, newer, output, diff=diff)
    if any(each.is_invalid for each in plans):
        raise typer.Exit(Exit.MISTAKE)
    if any(each.is_changed for each in plans) and not exit_zero:
        raise typer.Exit(Exit.CHANGED)


def _plans(stacks: list[str] | None, base: str, head: str) -> "list[StackPlan]":
    from gpuctl.plan.revisions import merge_base, stack_texts
    from gpuctl.plan.side import side
    from gpuctl.plan.stack_plan import plan as plan_of

    before, after = stack_texts(merge_base(base, head)), stack_texts(head)
    known = sorted(before.keys() | after.keys())
    unknown = sorted(set(stacks or ()) - set(known))
    if unknown:
        raise typer.BadParameter(
            f"there is no {', '.join(unknown)}; there are: {', '.join(known)}", param_hint="--stack"
        )
    sides = {name: (side(name, before.get(name)), side(name, after.get(name))) for name in stacks or known}
    return [plan_of(name, older, newer, by_kubeconfig) for name, (older, newer) in sides.items()]


def _print(plans: "list[StackPlan]", base: str, head: str, output: Output, *, diff: bool) -> None:
    from gpuctl.plan.document import document
    from gpuctl.plan.markdown import markdown
    from gpuctl.plan.screen import screen

    show(
        output,
        table=lambda: screen(plans, diff=diff),
        markdown=lambda: markdown(plans, base, head),
        document=lambda: document(plans, base, head),
    )
