"""What a run of checks found about one stack."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.desired.sharing import RESOURCE
from gpuctl.forms.exits import Exit, worst


@dataclass(frozen=True, slots=True)
class Entry:
    """One check and what it found."""

    check: Check
    results: tuple[Result, ...]
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """The worst of its results; of nothing but skipped ones, that."""
        found = {result.outcome for result in self.results}
        order = (Outcome.ERROR, Outcome.FAIL, Outcome.WARN, Outcome.PASS, Outcome.SKIP)
        return next(outcome for outcome in order if outcome in found)

    @property
    def is_bad(self) -> bool:
        """Whether it failed or broke."""
        return self.outcome in (Outcome.ERROR, Outcome.FAIL)


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """What a node must offer of one resource, and what it offers; None where that was not seen."""

    node: str
    gpus: int
    slices: int
    expected: int
    capacity: int | None
    allocatable: int | None
    resource: str = RESOURCE


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a run found about one stack."""

    stack: str
    context: str
    """Context of the kubeconfig; empty when the stack file could not be read."""
    started: datetime
    seconds: float
    entries: tuple[Entry, ...]
    capacity: tuple[CapacityRow, ...] = ()
    timed_out: bool = False
    """Whether `--wait` ended with checks that were still failing."""
    unreachable: bool = False
    """Whether the cluster stopped answering on the way."""

    @property
    def counts(self) -> Counter[Outcome]:
        """How many checks ended in which way."""
        return Counter(entry.outcome for entry in self.entries)

    @property
    def bad(self) -> list[Entry]:
        """The entries that failed or broke."""
        return [entry for entry in self.entries if entry.is_bad]

    @property
    def ready(self) -> bool:
        """Whether nothing failed."""
        return not self.bad

    def exit_code(self, *, strict: bool = False) -> Exit:
        """0 ready, 1 not ready, 2 wrong settings, 3 unreachable, 124 still not ready when the wait was over.

        Args:
            strict: a warning counts as a failure.
        """
        codes = {Exit(entry.check.category.exit_code) for entry in self.bad}
        if self.unreachable:
            codes.add(Exit.UNREACHABLE)
        if strict and self.counts[Outcome.WARN]:
            codes.add(Exit.FOUND)
        if self.timed_out and codes == {Exit.FOUND}:
            return Exit.TIMED_OUT
        return worst(codes)
