"""gpuctl status: what the GPUs of a stack do at this moment."""

import json
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gpuctl.cli.options import Output, OutputOption, Stack, duration, settings_of

if TYPE_CHECKING:
    from gpuctl.checks.context import Context
    from gpuctl.status.rows import Status

_UNREACHABLE = 3


def status(
    stack: Stack,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    interval: Annotated[
        timedelta,
        typer.Option(parser=duration, metavar="DURATION", show_default="5s", help="Between two looks of --watch."),
    ] = timedelta(seconds=5),
    output: OutputOption = Output.table,
) -> None:
    """Print what each GPU does now: who uses its slices, its power limit and draw, how busy, hot and full it is.

    The power-limit agents are asked, or their logs read where running commands in pods is not allowed. Nothing is
    changed.
    """
    from gpuctl.cli.running import INTERRUPTED, context_of
    from gpuctl.cluster import ClusterError

    settings_of(stack)  # its mistakes and warnings are told before anything else
    context, form = context_of(stack), _json if output is Output.json else _text
    try:
        if not watch:
            print(form(context, _look(context)))
            return
        with _screen() as show:
            while True:
                try:
                    show(form(context, _look(context)))
                except ClusterError as error:  # it may answer the next time
                    show(f"gpuctl: error: {error}")
                time.sleep(interval.total_seconds())
                context = context.again()
    except ClusterError as error:
        print(f"gpuctl: error: {error}", file=sys.stderr)
        raise typer.Exit(_UNREACHABLE) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _look(context: "Context") -> "Status":
    from gpuctl.checks.agent_reports import agent_reports
    from gpuctl.status.rows import status

    reports = agent_reports(context) if context.settings.power_management else {}
    return status(context.desired, context.users, reports)


def _text(context: "Context", found: "Status") -> str:
    from gpuctl.status.forms import lines

    clock = time.strftime("%H:%M:%S")
    return "\n".join([f"stack {context.stack}, context {context.settings.context}, {clock}", *lines(found)])


def _json(context: "Context", found: "Status") -> str:
    from gpuctl.status.forms import document

    return json.dumps({"stack": context.stack, "context": context.settings.context} | document(found))


@contextmanager
def _screen() -> Generator[Callable[[str], None]]:
    """Takes one text after another: on a terminal each in the place of the last, elsewhere below it."""
    if not sys.stdout.isatty():
        yield lambda text: print(text, flush=True)
        return
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        yield lambda text: live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
