"""Runs of checks against the clusters of stacks, side by side; loaded only by verbs that run checks."""

import os
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from threading import Event, Thread

import typer

from gpuctl.checks.context import Context, Prove
from gpuctl.checks.model import Check
from gpuctl.checks.registry import CHECKS, selected
from gpuctl.checks.report import Report
from gpuctl.checks.runner import Say, Wait, run
from gpuctl.cli.options import STACK_FILE, by_kubeconfig, silent_settings_of
from gpuctl.cli.progress import progress
from gpuctl.cluster import Cluster, connect_in_cluster
from gpuctl.cluster.programs import InstalledPrograms
from gpuctl.settings import Settings, SettingsError
from gpuctl.sharing.proof import Proof, Request
from gpuctl.sharing.record import Record

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of a program that the signal ended."""

Reach = Callable[[Settings], Cluster]
"""How a stack's cluster is reached."""


def from_within(_: Settings) -> Cluster:
    """The cluster in whose pod this runs."""
    return connect_in_cluster()


def chosen(only: Collection[str], but: Collection[str], *, deep: bool = False, sharing: bool = False) -> list[Check]:
    """The checks of a run; what the arguments mean stands at `selected`.

    Raises:
        typer.BadParameter: there is no such check and no such category, or it makes pods and may not.
    """
    known = {name for check in CHECKS for name in (check.id, check.category.name)}
    for option, names in (("--check", only), ("--skip", but)):
        for name in names:
            if name not in known:
                close = get_close_matches(name.upper(), known, n=1) or get_close_matches(name, known, n=1)
                meant = f"did you mean {close[0]}? " if close else ""
                problem = f"{name} is neither a check nor a category; {meant}gpuctl verify --list names them"
                raise typer.BadParameter(problem, param_hint=option)
    for name in only:
        if not sharing and all(check.makes_pods for check in CHECKS if name in (check.id, check.category.name)):
            raise typer.BadParameter(f"{name} makes pods, so it needs --sharing", param_hint="--check")
    return selected(only, but, deep=deep, sharing=sharing)


def refuse_strangers(stacks: Sequence[str], nodes: Collection[str]) -> None:
    """Makes sure that the nodes are those of one of the stacks at least.

    Raises:
        typer.BadParameter: one is not.
    """
    known: set[str] = set()
    for stack in stacks:
        try:
            known |= {node.name for node in silent_settings_of(stack).nodes}
        except SettingsError:  # the report tells
            return
    if strangers := set(nodes) - known:
        problem = f"{', '.join(sorted(strangers))} is no node of the stack, which has {', '.join(sorted(known))}"
        raise typer.BadParameter(problem, param_hint="--node")


@dataclass(frozen=True)
class Run:
    """What was found about one stack."""

    report: Report
    record: Record | None
    """Of the coexistence proof, where that ran to its end."""


def context_of(stack: str, prove: Prove | None = None, reach: Reach = by_kubeconfig) -> Context:
    """What checks look at: nothing is read before a check asks."""
    return Context(stack, lambda: silent_settings_of(stack), reach, InstalledPrograms(), prove)


def runs(
    stacks: Sequence[str],
    checks: Sequence[Check],
    wait: Wait | None = None,
    request: Request | None = None,
    reach: Reach = by_kubeconfig,
) -> list[Run]:
    """Runs checks against each stack's cluster at the same time, in the order given.

    Args:
        stacks: their names.
        checks: in the order of the registry.
        wait: None asks once.
        request: what the coexistence proof is to prove; None when no check needs it.
        reach: how the clusters are reached.

    Raises:
        typer.BadParameter: one stack file is to be several stacks.
        typer.Exit: the user interrupted it.
    """
    if len(stacks) > 1 and os.environ.get(STACK_FILE):
        raise typer.BadParameter(f"{STACK_FILE} names the file of one stack, not of several", param_hint="--stack")
    stop, proofs, futures = Event(), list[Proof](), list[Future[Run]]()
    if request:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what the proof makes it also removes
    try:
        with progress() as tell:
            for stack in stacks:
                proof = Proof(request, partial(tell, stack), stop) if request else None
                proofs += [proof] if proof else []
                context = context_of(stack, proof, reach)
                futures.append(_started(partial(_run, context, checks, partial(tell, stack), wait, proof)))
            return [future.result() for future in futures]
    except KeyboardInterrupt:
        stop.set()
        left = "removing what the proof made" if request else "nothing was changed"
        print(f"gpuctl: interrupted; {left}", file=sys.stderr)
        if request:
            wait_for(futures)
            for left in (left for proof in proofs for left in proof.left):
                print(f"gpuctl: still there, and removed by the next run: {left}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _run(context: Context, checks: Sequence[Check], say: Say, wait: Wait | None, proof: Proof | None) -> Run:
    report = run(checks, context, say, wait)
    return Run(report, proof.record if proof else None)


def _started(job: Callable[[], Run]) -> Future[Run]:
    """Runs a job in a thread that does not keep the program from ending."""
    future = Future[Run]()

    def work() -> None:
        try:
            future.set_result(job())
        except Exception as error:  # whoever asks for the result gets it
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    return future
