"""Runs of checks against the clusters of stacks, side by side; loaded only by verbs that run checks."""

import os
import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from difflib import get_close_matches
from functools import partial
from threading import Thread

import typer

from gpuctl.checks.context import Context
from gpuctl.checks.model import Check
from gpuctl.checks.registry import CHECKS, selected
from gpuctl.checks.report import Report
from gpuctl.checks.runner import Wait, run
from gpuctl.cli.options import STACK_FILE, silent_settings_of
from gpuctl.cli.progress import progress
from gpuctl.cluster import connect
from gpuctl.cluster.programs import InstalledPrograms

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of a program that the signal ended."""


def chosen(only: Collection[str], but: Collection[str], *, deep: bool = False) -> list[Check]:
    """The checks of a run.

    Raises:
        typer.BadParameter: there is no such check and no such category.
    """
    known = {name for check in CHECKS for name in (check.id, check.category.name)}
    for option, names in (("--check", only), ("--skip", but)):
        for name in names:
            if name not in known:
                close = get_close_matches(name.upper(), known, n=1) or get_close_matches(name, known, n=1)
                meant = f"did you mean {close[0]}? " if close else ""
                problem = f"{name} is neither a check nor a category; {meant}gpuctl verify --list names them"
                raise typer.BadParameter(problem, param_hint=option)
    return selected(only, but, deep=deep)


def context_of(stack: str) -> Context:
    """What checks look at: nothing is read before a check asks."""
    return Context(
        stack,
        lambda: silent_settings_of(stack),
        lambda settings: connect(settings.context, settings.kubeconfig),
        InstalledPrograms(),
    )


def reports(stacks: Sequence[str], checks: Sequence[Check], wait: Wait | None = None) -> list[Report]:
    """Runs checks against each stack's cluster at the same time; a report each, in the order given.

    Raises:
        typer.BadParameter: one stack file is to be several stacks.
        typer.Exit: the user interrupted it.
    """
    if len(stacks) > 1 and os.environ.get(STACK_FILE):
        raise typer.BadParameter(f"{STACK_FILE} names the file of one stack, not of several", param_hint="--stack")
    try:
        with progress() as tell:
            running = [
                _started(partial(run, checks, context_of(stack), partial(tell, stack), wait)) for stack in stacks
            ]
            return [future.result() for future in running]
    except KeyboardInterrupt:
        print("gpuctl: interrupted; nothing was changed", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _started(job: Callable[[], Report]) -> Future[Report]:
    """Runs a job in a thread that does not keep the program from ending."""
    future = Future[Report]()

    def work() -> None:
        try:
            future.set_result(job())
        except Exception as error:  # whoever asks for the result gets it
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    return future
