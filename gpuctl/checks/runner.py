"""Runs checks against one stack, once or until they hold."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gpuctl.checks.context import Context
from gpuctl.checks.model import Check, Outcome, Result, skipped
from gpuctl.checks.report import CapacityRow, Entry, Report
from gpuctl.cluster import AccessDeniedError, ClusterError, UnreachableError
from gpuctl.settings import SettingsError

Say = Callable[[str], None]
"""Takes one line of progress."""
Settled = Callable[[Entry], None]
"""Takes what is known for good of one check."""
WAITING = "waiting: "
"""What a line about a wait begins with."""


@dataclass(frozen=True)
class Wait:
    """How long to go on asking, in seconds."""

    deadline: float
    interval: float


def run(
    checks: Sequence[Check], context: Context, say: Say, wait: Wait | None = None, settled: Settled | None = None
) -> Report:
    """Runs checks in their order; with `wait`, those that may become true again and again.

    A check that passed is not asked again. A failure that waiting cannot fix ends the wait at once. Checks that make
    pods are asked once, when all others have been settled.

    Args:
        checks: in the order of the registry.
        context: the stack and its cluster.
        say: takes what is being asked, and while waiting what is still missing, when that changes.
        wait: None asks once.
        settled: takes each check's entry once, in the order of the checks, as soon as it and all before it will not
            change any more.
    """
    begin, started = time.monotonic(), datetime.now(UTC)
    last = [check for check in checks if check.makes_pods]
    stream = _Stream(settled)
    rounds = _Rounds([check for check in checks if not check.makes_pods], say, wait, begin, stream)
    final = rounds.run(context)
    entries = [*rounds.entries, *(stream.take(final.judge(check)) for check in last)]
    return Report(
        stack=context.stack,
        context=context_name(final.context),
        started=started,
        seconds=time.monotonic() - begin,
        entries=tuple(entries),
        capacity=() if final.stopped_by else _capacity(final.context),
        timed_out=rounds.timed_out,
        unreachable=final.unreachable,
    )


class _Stream:
    """Hands each entry on once, in the order in which they stand in the report."""

    def __init__(self, settled: Settled | None) -> None:
        self._settled, self._handed_on = settled, 0

    def take(self, entry: Entry) -> Entry:
        """The next entry of the report."""
        self._handed_on += 1
        if self._settled:
            self._settled(entry)
        return entry

    def take_from(self, entries: Sequence[Entry]) -> None:
        """The entries of the report so far, of which some may have been handed on."""
        for entry in entries[self._handed_on :]:
            self.take(entry)


class _Rounds:
    """One round of checks after another, until waiting for more makes no sense."""

    def __init__(self, checks: Sequence[Check], say: Say, wait: Wait | None, begin: float, stream: _Stream) -> None:
        self._checks, self._say, self._wait, self._begin, self._stream = checks, say, wait, begin, stream
        self.entries: list[Entry] = []
        """Of the last round."""
        self.timed_out = False

    def run(self, context: Context) -> "_Round":
        """The last round."""
        reason_said = ""
        while True:
            current = _Round(context, self._say)
            self._ask(current)
            failing = [entry for entry in self.entries if entry.is_bad]
            if self._wait is None or self._is_over(failing, current, self._wait):
                self._stream.take_from(self.entries)
                return current
            reason = "; ".join(_first_fact(entry) for entry in failing)
            if reason != reason_said:
                self._say(f"{WAITING}{reason}")
                reason_said = reason
            time.sleep(self._wait.interval)
            context = context.again()

    def _ask(self, current: "_Round") -> None:
        """What holds stays; what comes before the first check that may change is handed on."""
        held = {entry.check.id: entry for entry in self.entries if entry.outcome in (Outcome.PASS, Outcome.WARN)}
        self.entries = []
        all_settled = True
        for check in self._checks:
            entry = held.get(check.id) or current.judge(check)
            self.entries.append(entry)
            all_settled = all_settled and (self._wait is None or entry.outcome in (Outcome.PASS, Outcome.WARN))
            if all_settled:
                self._stream.take_from(self.entries)

    def _is_over(self, failing: Sequence[Entry], current: "_Round", wait: Wait) -> bool:
        hopeless = any(not entry.check.retry and not current.unreachable for entry in failing)
        late = time.monotonic() - self._begin >= wait.deadline
        self.timed_out = bool(failing) and late and not hopeless
        return not failing or hopeless or late


class _Round:
    """One pass over the checks."""

    def __init__(self, context: Context, say: Say) -> None:
        self.context, self._say = context, say
        self.stopped_by = ""
        """Why nothing more can be found out; empty while it can."""
        self.unreachable = False

    def judge(self, check: Check) -> Entry:
        """What a check finds, or why it is not asked."""
        begin = time.monotonic()
        if self.stopped_by:
            return Entry(check, (skipped(self.stopped_by),), 0)
        self._say(f"{check.category.title}: {check.title}")
        results = tuple(self._results(check))
        entry = Entry(check, results, time.monotonic() - begin)
        if check.fatal and entry.is_bad:
            self.stopped_by = f"unknown until {check.id} passes"
        return entry

    def _results(self, check: Check) -> Iterable[Result]:
        try:
            found = list(check.run(self.context))
        except UnreachableError as error:
            self.unreachable = True
            self.stopped_by = "unknown, because the cluster stopped answering"
            return [Result(Outcome.ERROR, str(error), remedy=self.context.kubectl("version"))]
        except AccessDeniedError as error:
            return [skipped(str(error))]
        except Exception as error:  # whatever it is, the other checks still find something
            return [Result(Outcome.ERROR, f"the check broke: {type(error).__name__}: {error}")]
        if not found:
            return [skipped("there is nothing to check")]
        if check.severity == "warning":
            return [replace(result, outcome=_softened(result.outcome)) for result in found]
        return found


def _softened(outcome: Outcome) -> Outcome:
    return Outcome.WARN if outcome is Outcome.FAIL else outcome


def _first_fact(entry: Entry) -> str:
    return next(result.fact for result in entry.results if result.outcome in (Outcome.FAIL, Outcome.ERROR))


def context_name(context: Context) -> str:
    """The context that a stack names; empty where the stack file has mistakes."""
    try:
        return context.settings.context
    except SettingsError:
        return ""


def _capacity(context: Context) -> tuple[CapacityRow, ...]:
    """From what the checks saw; nothing when they saw nothing."""
    try:
        desired, nodes = context.desired, context.nodes
    except (SettingsError, ClusterError):
        return ()
    return tuple(
        CapacityRow(
            name,
            group.count,
            group.slices,
            group.offered,
            seen.capacity(group.resource) if (seen := nodes.get(name)) else None,
            seen.allocatable(group.resource) if seen else None,
            group.resource,
        )
        for name, node in desired.nodes.items()
        for group in node.groups
    )
