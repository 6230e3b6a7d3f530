"""gpuctl status: what the GPUs of a stack do at this moment."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gpuctl.cli.options import OutputOption, Stack, duration, settings_of
from gpuctl.cli.signals import interruptible
from gpuctl.forms.exits import Exit
from gpuctl.forms.line import Line, line
from gpuctl.forms.output import Output, complain, json_text, live, print_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuctl.checks.context import Context
    from gpuctl.checks.usage_reports import UsageReport
    from gpuctl.status.rows import Status

    Look = tuple[Status, Mapping[str, UsageReport] | None]


def status(
    stack: Stack,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[
        timedelta,
        typer.Option(parser=duration, metavar="DURATION", show_default="5s", help="Between two polls of --watch."),
    ] = timedelta(seconds=5),
    output: OutputOption = Output.table,
) -> None:
    """Print what each GPU does now: who uses its slices, its power limit and draw, how busy, hot and full it is.

    The power-limit agents are asked, or their logs read where running commands in pods is not allowed. With gpu:usage,
    a second table says what each pod has of each GPU, its fair share of the memory, and since when it has computed
    nothing. Nothing is changed.
    """
    from gpuctl.cli.running import context_of
    from gpuctl.cluster import ClusterError

    settings_of(stack)  # its mistakes and warnings come before anything else
    context = context_of(stack)
    as_lines = _document_line if output is Output.json else _lines
    try:
        if not watch:
            print_lines(as_lines(context, _look(context)))
            return
        with interruptible(), live() as show:
            while True:
                try:
                    show(as_lines(context, _look(context)))
                except ClusterError as error:  # it may answer the next time
                    show(line(each) for each in f"gpuctl: error: {error}".splitlines())
                time.sleep(interval.total_seconds())
                context = context.again()
    except ClusterError as error:
        complain(f"gpuctl: error: {error}")
        raise typer.Exit(Exit.UNREACHABLE) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def _look(context: "Context") -> "Look":
    """The GPUs, and who uses them where the stack has that watched."""
    from gpuctl.checks.agent_reports import agent_reports
    from gpuctl.checks.usage_reports import usage_reports
    from gpuctl.status.rows import status

    reports = agent_reports(context) if context.settings.power_management else {}
    gpus = status(context.desired, context.users, reports)
    return gpus, usage_reports(context) if context.settings.usage else None


def _lines(context: "Context", found: "Look") -> Iterator[Line]:
    from gpuctl.status import forms, usage

    gpus, used = found
    clock = time.strftime("%H:%M:%S")
    yield line(f"stack {context.stack}, context {context.settings.context}, {clock}")
    yield from forms.lines(gpus)
    if used is not None:
        yield line("")
        yield from usage.lines(used)


def _document_line(context: "Context", found: "Look") -> Iterator[Line]:
    from gpuctl.status import forms, usage

    gpus, used = found
    document = {"stack": context.stack, "context": context.settings.context} | forms.document(gpus)
    yield line(json_text(document | (usage.document(used) if used is not None else {}), indent=None))
