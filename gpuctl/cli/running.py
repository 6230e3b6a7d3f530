"""Runs of checks against the clusters of stacks, side by side; loaded only by verbs that run checks."""

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread

import typer

from gpuctl.checks.context import Context, Prove
from gpuctl.checks.model import Check
from gpuctl.checks.registry import CHECKS, selected
from gpuctl.checks.report import Entry, Report
from gpuctl.checks.runner import Say, Wait, context_name, run
from gpuctl.cli.options import STACK_FILE, by_kubeconfig, silent_settings_of
from gpuctl.cli.printing import Screen
from gpuctl.cli.progress import Progress, progress
from gpuctl.cli.signals import interruptible
from gpuctl.cluster import Cluster, connect_in_cluster
from gpuctl.cluster.programs import InstalledPrograms
from gpuctl.forms.exits import Exit
from gpuctl.forms.output import complain
from gpuctl.settings import Settings, SettingsError
from gpuctl.sharing.proof import Proof, Request
from gpuctl.sharing.record import Record

_TURN_SECONDS = 0.5

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
    watch: Screen | None = None,
) -> list[Run]:
    """Runs checks against each stack's cluster at the same time, in the order given.

    Args:
        stacks: their names.
        checks: in the order of the registry.
        wait: None asks once.
        request: what the coexistence proof is to prove; None when no check needs it.
        reach: how the clusters are reached.
        watch: is given what is settled while the runs go on.

    Raises:
        typer.BadParameter: one stack file is to be several stacks.
        typer.Exit: the user interrupted it.
    """
    if len(stacks) > 1 and os.environ.get(STACK_FILE):
        raise typer.BadParameter(f"{STACK_FILE} names the file of one stack, not of several", param_hint="--stack")
    stop, proofs, started = Event(), list[Proof](), list[_Started]()
    with interruptible(also_terminated=request is not None):
        try:
            with progress() as at:
                for stack in stacks:
                    say = partial(at.tell, stack)
                    proof = Proof(request, say, stop) if request else None
                    proofs += [proof] if proof else []
                    started.append(_Started(context_of(stack, proof, reach), checks, say, wait, proof))
                return [_followed(each, at, watch) for each in started]
        except KeyboardInterrupt:
            stop.set()
            left = "removing what the proof made" if request else "nothing was changed"
            complain(f"gpuctl: interrupted; {left}")
            if request:
                _wait_until_removed(started)
                for left in (left for proof in proofs for left in proof.left):
                    complain(f"gpuctl: still there, and removed by the next run: {left}")
            raise typer.Exit(Exit.INTERRUPTED) from None


class _Started:
    """The run of one stack, in a thread that does not keep the program from ending."""

    def __init__(
        self, context: Context, checks: Sequence[Check], say: Say, wait: Wait | None, proof: Proof | None
    ) -> None:
        self.context, self.future = context, Future[Run]()
        self.settled = SimpleQueue[Entry | None]()
        """What is settled, in order; None is the end."""
        self._checks, self._say, self._wait, self._proof = checks, say, wait, proof
        Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            report = run(self._checks, self.context, self._say, self._wait, self.settled.put)
            self.future.set_result(Run(report, self._proof.record if self._proof else None))
        except BaseException as error:  # whoever asks for the result gets it, even the end of a program
            self.future.set_exception(error)
        finally:
            self.settled.put(None)


def _wait_until_removed(started: Sequence[_Started]) -> None:
    """Whoever interrupts once more waits no longer: the next run removes what is left."""
    try:
        while wait_for([each.future for each in started], timeout=_TURN_SECONDS).not_done:
            pass
    except KeyboardInterrupt:
        complain("gpuctl: interrupted again; what the proof made may still be there, and the next run removes it")


def _followed(started: _Started, at: Progress, watch: Screen | None) -> Run:
    while entry := _next(started.settled):
        if watch is None:
            continue
        with at.aside():
            watch.settled(started.context.stack, context_name(started.context), entry)
    done = started.future.result()
    if watch:
        with at.aside():
            watch.end(done.report)
    return done


def _next(settled: SimpleQueue[Entry | None]) -> Entry | None:
    """Waits in short turns: a Ctrl-C that comes just before a wait begins shows only after it."""
    while True:
        with suppress(Empty):
            return settled.get(timeout=_TURN_SECONDS)
