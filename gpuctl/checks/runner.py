"""Runs checks against one stack, once or until they hold."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gpuctl.checks.context import Context
from gpuctl.checks.model import Check, Outcome, Result, skipped
from gpuctl.checks.report import CapacityRow, Entry, Report
from gpuctl.cluster import AccessDeniedError, ClusterError, UnreachableError
from gpuctl.desired.capacity import capacity, resource_name
from gpuctl.settings import SettingsError

Say = Callable[[str], None]
"""Takes one line of progress."""
Settled = Callable[[Entry], None]
"""Takes a check about which nothing changes any more."""
WAITING = "waiting: "
"""What a line about a wait begins with."""
_KEPT = (Outcome.PASS, Outcome.WARN)
"""What is not asked again while waiting."""


@dataclass(frozen=True)
class Wait:
    """How long to go on asking, in seconds."""

    deadline: float
    interval: float


def run(
    checks: Sequence[Check],
    context: Context,
    say: Say,
    wait: Wait | None = None,
    settled: Settled = lambda _: None,
) -> Report:
    """Runs checks in their order; with `wait`, those that may become true again and again.

    A check that passed is not asked again. A failure that waiting cannot fix ends the wait at once. Checks that make
    pods are asked once, when all others have been settled.

    Args:
        checks: in the order of the registry.
        context: the stack and its cluster.
        say: is told what is being looked at, and while waiting what is still missing, when that changes.
        wait: None asks once.
        settled: is given each check once, in their order, as soon as nothing about it can change any more.
    """
    last = [check for check in checks if check.makes_pods]
    checks = [check for check in checks if not check.makes_pods]
    started, begin = datetime.now(UTC), time.monotonic()
    attempt, kept, told, final = context, dict[str, Entry](), "", _Final(settled)
    while True:
        round_ = _Round(attempt, say)
        entries = list[Entry]()
        for check in checks:
            entries.append(kept.get(check.id) or round_.judge(check))
            final.pass_on(entries, only_kept=wait is not None)
        failing = [entry for entry in entries if entry.is_bad]
        hopeless = [entry for entry in failing if not entry.check.retry and not round_.unreachable]
        over = wait is not None and time.monotonic() - begin >= wait.deadline
        if not failing or wait is None or hopeless or over:
            final.pass_on(entries)
            for check in last:
                entries.append(round_.judge(check))
                final.pass_on(entries)
            seconds = time.monotonic() - begin
            rows = () if round_.stopped_by else _capacity(attempt)
            timed_out = bool(failing) and over and not hopeless
            name, found = context_name(attempt), tuple(entries)
            return Report(context.stack, name, started, seconds, found, rows, timed_out, round_.unreachable)
        reason = "; ".join(_first_fact(entry) for entry in failing)
        if reason != told:
            say(f"{WAITING}{reason}")
            told = reason
        kept = {entry.check.id: entry for entry in entries if entry.outcome in _KEPT}
        time.sleep(wait.interval)
        attempt = attempt.again()


class _Final:
    """Passes on entries about which nothing changes any more, each once and in their order."""

    def __init__(self, settled: Settled) -> None:
        self._settled, self._count = settled, 0

    def pass_on(self, entries: Sequence[Entry], *, only_kept: bool = False) -> None:
        for entry in entries[self._count :]:
            if only_kept and entry.outcome not in _KEPT:
                return
            self._settled(entry)
            self._count += 1


class _Round:
    """One pass over the checks."""

    def __init__(self, context: Context, say: Say) -> None:
        self._context, self._say = context, say
        self.stopped_by = ""
        self.unreachable = False

    def judge(self, check: Check) -> Entry:
        begin = time.monotonic()
        if self.stopped_by:
            return Entry(check, (skipped(self.stopped_by),), 0)
        self._say(f"{check.category.title}: {check.title}")
        results = tuple(self._results(check))
        entry = Entry(check, results, time.monotonic() - begin)
        if check.fatal and entry.is_bad:
            self.stopped_by = f"cannot be told while {check.id} fails"
        return entry

    def _results(self, check: Check) -> Iterable[Result]:
        try:
            found = list(check.run(self._context))
        except UnreachableError as error:
            self.unreachable = True
            self.stopped_by = "cannot be told without the cluster, which stopped answering"
            return [Result(Outcome.ERROR, str(error), remedy=self._context.kubectl("version"))]
        except AccessDeniedError as error:
            return [skipped(str(error))]
        except Exception as error:  # whatever it is, the other checks still have something to tell
            return [Result(Outcome.ERROR, f"the check broke: {type(error).__name__}: {error}")]
        if not found:
            return [skipped("there is nothing to look at")]
        if check.severity == "warning":
            return [replace(result, outcome=_softened(result.outcome)) for result in found]
        return found


def _softened(outcome: Outcome) -> Outcome:
    return Outcome.WARN if outcome is Outcome.FAIL else outcome


def _first_fact(entry: Entry) -> str:
    return next(result.fact for result in entry.results if result.outcome in (Outcome.FAIL, Outcome.ERROR))


def context_name(context: Context) -> str:
    """The context that a stack names; empty when its file cannot be read."""
    try:
        return context.settings.context
    except SettingsError:
        return ""


def _capacity(context: Context) -> tuple[CapacityRow, ...]:
    """From what the checks saw; nothing when they saw nothing."""
    try:
        settings, nodes = context.settings, context.nodes
    except (SettingsError, ClusterError):
        return ()
    offered, resource = capacity(settings), resource_name(settings)
    return tuple(
        CapacityRow(
            node.name,
            node.count,
            settings.slices_of(node),
            offered.by_node[node.name],
            nodes[node.name].capacity(resource) if node.name in nodes else None,
            nodes[node.name].allocatable(resource) if node.name in nodes else None,
        )
        for node in settings.nodes
    )
