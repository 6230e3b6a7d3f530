"""gpuctl doctor: why a stack's cluster is not what the stack says, and what fixes it."""

from typing import Annotated

import typer

from gpuctl.cli.options import OutputOption, SomeStacks
from gpuctl.forms.exits import worst
from gpuctl.forms.output import Output, json_text


def doctor(
    stack: SomeStacks,
    pre: Annotated[
        bool, typer.Option("--pre", help="Look at this machine and the stack instead, before the first `pulumi up`.")
    ] = False,
    output: OutputOption = Output.table,
) -> None:
    """Find out why a cluster is not what its stack says: every finding with its cause and what fixes it.

    It asks all that `gpuctl verify` asks, and looks deeper: into logs and pods of others. Nothing is changed.

    Exit codes are those of `gpuctl verify`.
    """
    from gpuctl.checks.registry import PREREQUISITES, selected
    from gpuctl.cli.printing import Screen
    from gpuctl.cli.running import runs
    from gpuctl.report.doctor import Doctor, doctor_document

    screen = Screen(Doctor) if output is Output.table else None
    checks = PREREQUISITES if pre else selected(deep=True)
    found = [run.report for run in runs(stack, checks, watch=screen)]
    if screen:
        screen.close()
    else:
        print(json_text(doctor_document(found)))
    raise typer.Exit(worst({report.exit_code() for report in found}))
