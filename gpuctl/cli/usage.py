"""gpuctl usage: who had and used the GPUs of a stack over a time."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from gpuctl.cli.options import Stack, duration, output_option, settings_of
from gpuctl.forms.command import command
from gpuctl.forms.exits import Exit
from gpuctl.forms.output import Output, complain, show
from gpuctl.usage.account import Level

_PARTS = 24
"""Characters of the picture of a row."""


def usage(
    stack: Stack,
    since: Annotated[
        timedelta,
        typer.Option(parser=duration, metavar="DURATION", show_default="1d", help="How far back, such as 12h or 7d."),
    ] = timedelta(days=1),
    by: Annotated[Level, typer.Option(help="What the rows are.")] = Level.workload,
    output: Annotated[
        Output,
        output_option(
            "For people, a report, a spreadsheet or machines.",
            *(Output.table, Output.markdown, Output.csv, Output.json),
        ),
    ] = Output.table,
) -> None:
    """Print GPU hours held and used, GiB hours and Wh of each namespace, workload or pod, idle holders first.

    It reads the logs of the usage watchers (gpu:usage): they reach back to the start of a pod or to where the kubelet
    rotated them, and the time that is really covered is part of the answer.

    Exit codes: 0, 1 no watcher has said anything, 3 the cluster does not answer.
    """
    from gpuctl.cli.running import context_of
    from gpuctl.cluster import ClusterError
    from gpuctl.status.usage_history import from_logs
    from gpuctl.usage import forms
    from gpuctl.usage.history import Window

    if not since:
        raise typer.BadParameter("0 is no time at all: write 12h or 7d", param_hint="--since")
    if not settings_of(stack).usage:
        ways = [("pulumi", "config", "set", "--stack", stack, "gpu:usage", "true"), ("pulumi", "up", "--stack", stack)]
        fix = " && ".join(command(*each) for each in ways)
        problem = f"{stack} has gpu:usage false, so nobody watches who uses the GPUs. Fix it: {fix}"
        raise typer.BadParameter(problem, param_hint="--stack")
    context, now = context_of(stack), datetime.now(UTC)
    try:
        found = from_logs(context, Window(now - since, now, _PARTS), by)
    except ClusterError as error:
        complain(f"gpuctl: error: {error}")
        raise typer.Exit(Exit.UNREACHABLE) from None
    show(
        output,
        table=lambda: forms.lines(found, sys.stdout.encoding),
        document=lambda: {"stack": stack, "context": context.settings.context} | forms.document(found),
        markdown=lambda: forms.markdown(found),
        csv=lambda: forms.spreadsheet(found),
    )
    if not found.hours:
        raise typer.Exit(Exit.FOUND)
