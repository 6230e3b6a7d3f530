"""What is behind a report: its findings, each with what follows from it, the most likely cause first.

A broken node fails many checks. What is known of how failures follow from each other is written down here, so that a
person is sent to where it begins and not to each of its symptoms.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.checks.report import Report
from gpuctl.desired.device_plugin import NAME as PLUGIN
from gpuctl.desired.power_limit import NAME as POWER_LIMIT


class Told(NamedTuple):
    """A result, and the check that found it."""

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
    consequences: tuple[Told, ...] = ()
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
    about: str = ""
    """The component that a cause must be about, where its check asks about several."""
    effects_about: str = ""
    """The component that an effect must be about."""


KNOWLEDGE = (
    # A node that is gone or down explains all that is missing there, and DaemonSets that are not complete.
    Knowledge(("NOD001", "NOD002"), ("NOD003", "TAL", "RUN", "CAP", "PWR", "POD"), on_one_node=True),
    Knowledge(("NOD001", "NOD002", "NOD003"), ("STK005",)),
    Knowledge(("NOD003",), ("CAP001", "CAP002", "PWR001"), on_one_node=True),
    # Without extensions or modules there is no driver, and without a driver no plugin and no agent.
    Knowledge(("TAL001",), ("TAL002", "TAL003", "TAL004"), on_one_node=True),
    Knowledge(("TAL002", "TAL003", "TAL004"), ("TAL005",), on_one_node=True),
    Knowledge(("TAL002", "TAL003", "TAL005"), ("RUN", "CAP001", "CAP002", "PWR001", "PWR002"), on_one_node=True),
    Knowledge(("TAL002", "TAL003", "TAL005"), ("STK005",)),
    Knowledge(("RUN001",), ("CAP001", "CAP002", "PWR001", "PWR002"), on_one_node=True),
    Knowledge(("RUN001",), ("STK005",)),
    # Objects that are not as they should be explain pods that are not there.
    Knowledge(("STK001",), ("STK003", "POD020", "DRF")),
    Knowledge(("STK002",), ("POD020",)),
    Knowledge(("STK001", "STK002", "POD020"), ("STK005", "CAP001", "CAP002", "PWR001")),
    Knowledge(("STK002", "STK003"), ("DRF",)),
    Knowledge(("STK003",), ("STK006", "STK007")),
    *(
        Knowledge(("STK003",), ("STK005",), about=component, effects_about=component)
        for component in (PLUGIN, POWER_LIMIT)
    ),
    Knowledge(("STK005",), ("CAP001", "CAP002"), about=PLUGIN, effects_about=PLUGIN),
    Knowledge(("STK005",), ("PWR001",), about=POWER_LIMIT, effects_about=POWER_LIMIT),
    Knowledge(("STK006",), ("STK007",), on_one_node=True),
    Knowledge(("STK006", "STK007"), ("CAP001",), on_one_node=True),
    # Two owners of one thing.
    Knowledge(("STK004", "POD010"), ("CAP001", "CAP002", "CAP004")),
    Knowledge(("POD012",), ("PWR003",)),
    # A sick GPU, and an agent that is not ready because of its GPUs.
    Knowledge(("PWR002",), ("PWR001", "CAP001", "CAP002", "RUN002"), on_one_node=True),
    Knowledge(("PWR003",), ("PWR001",), on_one_node=True),
    Knowledge(("PWR002", "PWR003"), ("STK005",), effects_about=POWER_LIMIT),
    Knowledge(("CAP003",), ("CAP002", "POD001"), on_one_node=True),
    Knowledge(("CAP001", "CAP002"), ("POD001",), on_one_node=True),
    Knowledge(("CAP004",), ("CAP005",), on_one_node=True),
)
"""It must have no circle: every failure begins somewhere."""


def diagnose(report: Report) -> list[Finding]:
    """What is wrong, without what follows from something else: failures before advice, each in the registry's order."""
    cases = _Cases(report)
    groups: dict[tuple[str, Outcome, str], list[int]] = {}
    followers: dict[int, list[Told]] = {}
    for index, each in enumerate(cases.told):
        origin = cases.origin(index)
        if origin == index:
            groups.setdefault((each.check.id, each.result.outcome, cases.pattern(each)), []).append(index)
        else:
            followers.setdefault(origin, []).append(each)
    findings = [
        Finding(
            cases.told[indexes[0]].check,
            _cause(cases.told[indexes[0]]),
            tuple(cases.told[index].result for index in indexes),
            tuple(each for index in indexes for each in followers.get(index, [])),
        )
        for indexes in groups.values()
    ]
    return sorted(findings, key=lambda finding: finding.outcome is Outcome.WARN)


class _Cases:
    """All that is wrong, in the order of the registry, and what of it follows from what."""

    def __init__(self, report: Report) -> None:
        wrong = (Outcome.FAIL, Outcome.ERROR, Outcome.WARN)
        results = ((entry.check, result) for entry in report.entries for result in entry.results)
        self.told = [Told(check, result) for check, result in results if result.outcome in wrong]
        self._nodes = {row.node for row in report.capacity}
        self._of: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        """Id and node -> results; under None those of all nodes and of none."""
        for index, each in enumerate(self.told):
            self._of[each.check.id, None].append(index)
            self._of[each.check.id, self._node(each.result)].append(index)

    def origin(self, index: int) -> int:
        """Where it begins: itself, when nothing else that is wrong explains it, or it says nothing of the cluster."""
        if self.told[index].result.outcome is Outcome.ERROR:
            return index
        explanations = [found for known in KNOWLEDGE if (found := self._explanation(known, index)) is not None]
        return self.origin(min(explanations)) if explanations else index

    def pattern(self, told: Told) -> str:
        """The cause without the name of its node: the same on ten nodes is one finding."""
        cause, node = _cause(told) or told.result.fact, self._node(told.result)
        return cause.replace(node, "") if node else cause

    def _explanation(self, known: Knowledge, index: int) -> int | None:
        effect = self.told[index]
        if not effect.check.id.startswith(known.effects) or not _is_about(effect.result, known.effects_about):
            return None
        node = self._node(effect.result) if known.on_one_node else None
        if node == "":
            return None
        candidates = (found for id_ in known.causes for found in self._of[id_, node])
        return next((found for found in candidates if _is_about(self.told[found].result, known.about)), None)

    def _node(self, result: Result) -> str:
        """The node that a result is about, which its subject begins with; empty when it is about none."""
        name = result.subject.partition("/")[0]
        return name if name in self._nodes else ""


def _is_about(result: Result, component: str) -> bool:
    return any(component in text for text in (result.subject, result.fact, result.cause))


def _cause(told: Told) -> str:
    if told.result.outcome is Outcome.ERROR:
        return told.result.cause
    return told.result.cause or told.check.guide.cause
