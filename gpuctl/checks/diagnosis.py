"""What is behind a report: its findings, each with what follows from it, the most likely cause first.

A broken node fails many checks. What is known of how failures follow from each other is written down here, so that a
person is sent to where it begins and not to each of its symptoms.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.checks.report import Report
from gpuctl.desired.power_limit import NAME as POWER_LIMIT


class Failure(NamedTuple):
    """A result that is not as it should be, and the check that found it."""

    check: Check
    result: Result


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, wherever it shows."""

    check: Check
    cause: str
    """Why, as one sentence; empty when the check itself broke."""
    results: tuple[Result, ...]
    """What the check found that has this cause, one for each subject."""
    consequences: tuple[Failure, ...] = ()
    """What other checks found that follows from it."""

    @property
    def outcome(self) -> Outcome:
        """Failure, error or advice."""
        return self.results[0].outcome

    @property
    def remedies(self) -> tuple[str, ...]:
        """The commands that fix it, or show more, each once."""
        return tuple(dict.fromkeys(result.remedy for result in self.results if result.remedy))


@dataclass(frozen=True, slots=True)
class Knowledge:
    """That failures of some checks follow from a failure of others."""

    causes: tuple[str, ...]
    """Ids."""
    effects: tuple[str, ...]
    """Ids, or what they begin with."""
    on_one_node: bool = False
    """Whether it holds within one node only."""
    of_one_component: bool = False
    """Whether it holds only where both are about the same component."""
    effect_about: str = ""
    """The component that an effect must be about."""

    def explains(self, effect: Failure) -> bool:
        """Whether such a failure can follow from one of the causes."""
        about, id_ = effect.result.about, effect.check.id
        return (
            id_.startswith(self.effects)
            and bool(about.node or not self.on_one_node)
            and bool(about.component or not self.of_one_component)
            and self.effect_about in (about.component, "")
        )

    def joins(self, cause: Failure, effect: Failure) -> bool:
        """Whether both are about what they must have in common."""
        one, other = cause.result.about, effect.result.about
        return (not self.on_one_node or one.node == other.node) and (
            not self.of_one_component or one.component == other.component
        )


KNOWLEDGE = (
    # A node that is gone or down explains all that is missing there, and DaemonSets that are not complete.
    Knowledge(("NOD001", "NOD002"), ("NOD003", "TAL", "RUN", "CAP", "MPS", "PWR", "USE", "POD"), on_one_node=True),
    Knowledge(("NOD001", "NOD002", "NOD003"), ("STK005",)),
    Knowledge(("NOD003",), ("CAP001", "CAP002", "PWR001", "USE001"), on_one_node=True),
    # Without extensions or modules there is no driver, and without a driver no plugin and no agent.
    Knowledge(("TAL001",), ("TAL002", "TAL003", "TAL004"), on_one_node=True),
    Knowledge(("TAL002", "TAL003", "TAL004"), ("TAL005",), on_one_node=True),
    Knowledge(
        ("TAL002", "TAL003", "TAL005"), ("RUN", "CAP001", "CAP002", "PWR001", "PWR002", "USE001"), on_one_node=True
    ),
    Knowledge(("TAL002", "TAL003", "TAL005"), ("STK005",)),
    Knowledge(("RUN001",), ("CAP001", "CAP002", "PWR001", "PWR002", "USE001"), on_one_node=True),
    Knowledge(("RUN001",), ("STK005",)),
    # Objects that are not as they should be explain pods that are not there.
    Knowledge(("STK001",), ("STK003", "POD020", "DRF001")),
    Knowledge(("STK002",), ("POD020",)),
    Knowledge(("STK001", "STK002"), ("STK005", "CAP001", "CAP002", "PWR001", "USE001")),
    Knowledge(("STK002", "STK003"), ("DRF001",)),
    Knowledge(("STK003", "STK005", "POD020"), ("CAP001", "CAP002", "PWR001", "USE001"), of_one_component=True),
    Knowledge(("STK003", "POD020"), ("STK005",), of_one_component=True),
    Knowledge(("STK003",), ("STK006", "STK007"), of_one_component=True),
    Knowledge(("STK006",), ("STK007",), on_one_node=True),
    Knowledge(("STK006", "STK007"), ("CAP001",), on_one_node=True),
    # Without its daemon a plugin offers nothing, and no slice has a limit.
    Knowledge(("TAL002", "TAL003", "TAL005", "RUN001"), ("MPS001",), on_one_node=True),
    Knowledge(("STK003", "STK005", "POD020"), ("MPS001", "MPS002"), of_one_component=True),
    Knowledge(("MPS001",), ("CAP001", "CAP002", "MPS004"), on_one_node=True),
    # Two owners of one thing.
    Knowledge(("STK004", "POD010"), ("CAP001", "CAP002", "CAP004")),
    Knowledge(("POD012",), ("PWR003", "PWR006")),
    Knowledge(("PWR006",), ("PWR003",), on_one_node=True),
    # An unhealthy GPU, and an agent that is not ready because of its GPUs.
    Knowledge(("PWR002",), ("PWR001", "CAP001", "CAP002", "RUN002", "USE001"), on_one_node=True),
    Knowledge(("PWR003",), ("PWR001",), on_one_node=True),
    Knowledge(("PWR002", "PWR003"), ("STK005",), effect_about=POWER_LIMIT),
    Knowledge(("CAP003",), ("CAP002", "POD001"), on_one_node=True),
    Knowledge(("CAP001", "CAP002"), ("POD001",), on_one_node=True),
    Knowledge(("CAP001",), ("POD006",), on_one_node=True),
    Knowledge(("CAP004",), ("CAP005",), on_one_node=True),
)
"""It must have no circle: every failure begins somewhere."""


def diagnose(report: Report) -> list[Finding]:
    """What is wrong, without what follows from something else: failures before advice, each in the registry's order."""
    causes = _Causes(report)
    groups: dict[tuple[str, Outcome, str], list[int]] = {}
    followers: dict[int, list[Failure]] = defaultdict(list)
    for index, failure in enumerate(causes.failures):
        origin = causes.origin(index)
        if origin == index:
            groups.setdefault((failure.check.id, failure.result.outcome, _shared_cause(failure)), []).append(index)
        else:
            followers[origin].append(failure)
    findings = [
        Finding(
            causes.failures[indexes[0]].check,
            _cause(causes.failures[indexes[0]]),
            tuple(causes.failures[index].result for index in indexes),
            tuple(each for index in indexes for each in followers[index]),
        )
        for indexes in groups.values()
    ]
    return sorted(findings, key=lambda finding: finding.outcome is Outcome.WARN)


class _Causes:
    """All that is wrong, in the order of the registry, and what of it follows from what."""

    def __init__(self, report: Report) -> None:
        wrong = (Outcome.FAIL, Outcome.ERROR, Outcome.WARN)
        results = ((entry.check, result) for entry in report.entries for result in entry.results)
        self.failures = [Failure(check, result) for check, result in results if result.outcome in wrong]
        self._of: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        """Id and node -> failures; under None those of all nodes and of none."""
        for index, failure in enumerate(self.failures):
            self._of[failure.check.id, None].append(index)
            self._of[failure.check.id, failure.result.about.node].append(index)

    def origin(self, index: int) -> int:
        """Where it begins: itself, when nothing else that is wrong explains it, or it says nothing of the cluster."""
        if self.failures[index].result.outcome is Outcome.ERROR:
            return index
        explanations = [found for known in KNOWLEDGE if (found := self._explanation(known, index)) is not None]
        return self.origin(min(explanations)) if explanations else index

    def _explanation(self, known: Knowledge, index: int) -> int | None:
        effect = self.failures[index]
        if not known.explains(effect):
            return None
        node = effect.result.about.node if known.on_one_node else None
        candidates = (found for id_ in known.causes for found in self._of[id_, node])
        return next((found for found in candidates if known.joins(self.failures[found], effect)), None)


def _cause(failure: Failure) -> str:
    if failure.result.outcome is Outcome.ERROR:
        return failure.result.cause
    return failure.result.cause or failure.check.cause


def _shared_cause(failure: Failure) -> str:
    """The same for all failures that are one finding: on ten nodes one cause is one."""
    return failure.result.reason or _cause(failure) or failure.result.fact
