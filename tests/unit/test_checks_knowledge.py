"""What follows from what: for each row of knowledge a cause with an effect, and the row that is missed when it goes."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gpuctl.checks import diagnosis
from gpuctl.checks.diagnosis import KNOWLEDGE, Knowledge, diagnose
from gpuctl.checks.model import Subject, failed
from gpuctl.checks.registry import CHECKS
from gpuctl.checks.report import Entry, Report

BY_ID = {check.id: check for check in CHECKS}
COMPONENTS = {
    "plugin": "nvidia-device-plugin",
    "agent": "nvidia-power-limit",
    "watcher": "nvidia-gpu-usage",
    "mps": "nvidia-mps-control-daemon",
}

FOLLOWS = """
    NOD001@gpu-1 > NOD003@gpu-1  NOD001@gpu-1 > TAL001@gpu-1  NOD001@gpu-1 > RUN001@gpu-1
    NOD001@gpu-1 > CAP001@gpu-1  NOD001@gpu-1 > PWR002@gpu-1  NOD001@gpu-1 > POD001@gpu-1
    NOD002@gpu-1 > NOD003@gpu-1  NOD002@gpu-1 > TAL002@gpu-1  NOD002@gpu-1 > RUN002@gpu-1
    NOD002@gpu-1 > CAP002@gpu-1  NOD002@gpu-1 > PWR001@gpu-1  NOD002@gpu-1 > POD001@gpu-1
    NOD001@gpu-1 > STK005:plugin  NOD002@gpu-1 > STK005:agent  NOD003@gpu-1 > STK005:plugin
    NOD003@gpu-1 > CAP001@gpu-1  NOD003@gpu-1 > CAP002@gpu-1  NOD003@gpu-1 > PWR001@gpu-1
    TAL001@gpu-1 > TAL002@gpu-1  TAL001@gpu-1 > TAL003@gpu-1  TAL001@gpu-1 > TAL004@gpu-1
    TAL002@gpu-1 > TAL005@gpu-1  TAL003@gpu-1 > TAL005@gpu-1  TAL004@gpu-1 > TAL005@gpu-1
    TAL002@gpu-1 > RUN001@gpu-1  TAL002@gpu-1 > CAP001@gpu-1  TAL002@gpu-1 > CAP002@gpu-1
    TAL002@gpu-1 > PWR001@gpu-1  TAL002@gpu-1 > PWR002@gpu-1
    TAL003@gpu-1 > RUN001@gpu-1  TAL005@gpu-1 > RUN001@gpu-1
    TAL002@gpu-1 > STK005:plugin  TAL003@gpu-1 > STK005:plugin  TAL005@gpu-1 > STK005:agent
    RUN001@gpu-1 > CAP001@gpu-1  RUN001@gpu-1 > CAP002@gpu-1  RUN001@gpu-1 > PWR001@gpu-1
    RUN001@gpu-1 > PWR002@gpu-1  RUN001@gpu-1 > STK005:plugin
    STK001 > STK003:plugin  STK001 > POD020:plugin  STK001 > DRF001
    STK002 > POD020:plugin
    STK001 > STK005:plugin  STK001 > CAP001@gpu-1  STK001 > CAP002@gpu-1  STK001 > PWR001@gpu-1
    STK002 > STK005:plugin  STK002 > CAP001@gpu-1
    STK002 > DRF001  STK003:plugin > DRF001
    STK003:plugin > CAP001@gpu-1:plugin  STK003:plugin > CAP002@gpu-1:plugin  STK003:agent > PWR001@gpu-1:agent
    STK005:plugin > CAP001@gpu-1:plugin  STK005:agent > PWR001@gpu-1:agent  POD020:plugin > CAP002@gpu-1:plugin
    STK003:plugin > STK005:plugin  POD020:agent > STK005:agent
    STK003:plugin > STK006@gpu-1:plugin  STK003:plugin > STK007@gpu-1:plugin
    STK006@gpu-1 > STK007@gpu-1  STK006@gpu-1 > CAP001@gpu-1  STK007@gpu-1 > CAP001@gpu-1
    STK004 > CAP001@gpu-1  STK004 > CAP002@gpu-1  STK004 > CAP004@gpu-1  POD010 > CAP001@gpu-1
    POD012 > PWR003@gpu-1  POD012 > PWR006@gpu-1  PWR006@gpu-1 > PWR003@gpu-1
    PWR002@gpu-1 > PWR001@gpu-1  PWR002@gpu-1 > CAP001@gpu-1  PWR002@gpu-1 > CAP002@gpu-1  PWR002@gpu-1 > RUN002@gpu-1
    PWR003@gpu-1 > PWR001@gpu-1
    PWR002@gpu-1 > STK005:agent  PWR003@gpu-1 > STK005:agent
    CAP003@gpu-1 > CAP002@gpu-1  CAP003@gpu-1 > POD001@gpu-1
    CAP001@gpu-1 > POD001@gpu-1  CAP002@gpu-1 > POD001@gpu-1
    CAP001@gpu-1 > POD006@gpu-1
    CAP004@gpu-1 > CAP005@gpu-1
    NOD001@gpu-1 > USE001@gpu-1  NOD002@gpu-1 > USE001@gpu-1  NOD003@gpu-1 > USE001@gpu-1
    TAL002@gpu-1 > USE001@gpu-1  TAL005@gpu-1 > USE001@gpu-1  RUN001@gpu-1 > USE001@gpu-1  PWR002@gpu-1 > USE001@gpu-1
    STK001 > USE001@gpu-1  STK003:watcher > USE001@gpu-1:watcher  STK005:watcher > USE001@gpu-1:watcher
    POD020:watcher > USE001@gpu-1:watcher
    NOD001@gpu-1 > MPS001@gpu-1  NOD002@gpu-1 > MPS002@gpu-1
    TAL002@gpu-1 > MPS001@gpu-1  TAL003@gpu-1 > MPS001@gpu-1  TAL005@gpu-1 > MPS001@gpu-1  RUN001@gpu-1 > MPS001@gpu-1
    STK003:mps > MPS001@gpu-1:mps  STK005:mps > MPS001@gpu-1:mps  POD020:mps > MPS001@gpu-1:mps
    STK003:mps > MPS002@gpu-1:mps
    MPS001@gpu-1 > CAP001@gpu-1  MPS001@gpu-1 > CAP002@gpu-1  MPS001@gpu-1 > MPS004@gpu-1
"""
"""Cause > effect, each ID[@NODE][:COMPONENT]."""

STANDS_ALONE = """
    NOD002@gpu-2 > CAP001@gpu-1  NOD003@gpu-2 > PWR001@gpu-1  TAL001@gpu-2 > TAL002@gpu-1  TAL002@gpu-2 > TAL005@gpu-1
    TAL002@gpu-2 > RUN001@gpu-1  RUN001@gpu-2 > CAP001@gpu-1  STK006@gpu-2 > STK007@gpu-1  STK007@gpu-2 > CAP001@gpu-1
    PWR002@gpu-2 > PWR001@gpu-1  PWR003@gpu-2 > PWR001@gpu-1  CAP003@gpu-2 > CAP002@gpu-1  CAP001@gpu-2 > POD001@gpu-1
    CAP004@gpu-2 > CAP005@gpu-1  CAP001@gpu-2 > POD006@gpu-1  PWR006@gpu-2 > PWR003@gpu-1
    STK003:agent > CAP001@gpu-1:plugin  STK005:agent > CAP002@gpu-1:plugin  POD020:agent > STK005:plugin
    STK003:agent > STK006@gpu-1:plugin  STK005:plugin > CAP001@gpu-1  PWR003@gpu-1 > STK005:plugin
    RUN001@gpu-2 > MPS001@gpu-1  STK005:agent > MPS001@gpu-1:mps  MPS001@gpu-2 > CAP001@gpu-1
    NOD002 > CAP001  RUN001@gpu-2 > USE001@gpu-1  STK005:agent > USE001@gpu-1:watcher
"""
"""On another node, about another component, or about nothing that both have in common."""


def pairs(text: str) -> list[tuple[str, str]]:
    return re.findall(r"(\S+) > (\S+)", text)


def entry(what: str) -> Entry:
    id_, node, component = re.fullmatch(r"([A-Z]+\d+)(?:@([-\w]+))?(?::(\w+))?", what).groups("")  # pyright: ignore[reportOptionalMemberAccess]
    subject = Subject(node, component=COMPONENTS.get(component, ""))
    return Entry(BY_ID[id_], (failed(f"{what} is not as it should be", "fix it", subject),), 0)


def consequences(*found: str) -> list[tuple[str, list[str]]]:
    """Each finding, and what follows from it, of failures in the registry's order."""
    order = list(BY_ID)
    entries = sorted(map(entry, found), key=lambda each: order.index(each.check.id))
    report = Report("lab", "admin@lab", datetime(2026, 1, 1, tzinfo=UTC), 0, tuple(entries))
    return [(each.check.id, [failure.check.id for failure in each.consequences]) for each in diagnose(report)]


def follows(cause: str, effect: str) -> bool:
    return consequences(cause, effect) == [(cause[:6], [effect[:6]])]


def poorer(known: Knowledge) -> Iterator[Knowledge]:
    """A row without one of its causes, or one of its effects."""
    for cause in known.causes if len(known.causes) > 1 else ():
        yield replace(known, causes=tuple(each for each in known.causes if each != cause))
    for effect in known.effects if len(known.effects) > 1 else ():
        yield replace(known, effects=tuple(each for each in known.effects if each != effect))


def bolder(known: Knowledge) -> Iterator[Knowledge]:
    """A row without one of its conditions."""
    if known.on_one_node:
        yield replace(known, on_one_node=False)
    if known.of_one_component:
        yield replace(known, of_one_component=False)
    if known.effect_about:
        yield replace(known, effect_about="")


@pytest.mark.parametrize(("cause", "effect"), pairs(FOLLOWS))
def test_an_effect_is_told_with_its_cause(cause: str, effect: str) -> None:
    assert follows(cause, effect)


@pytest.mark.parametrize(("cause", "effect"), pairs(STANDS_ALONE))
def test_what_has_not_that_in_common_is_a_finding_of_its_own(cause: str, effect: str) -> None:
    assert {id_: len(found) for id_, found in consequences(cause, effect)} == {cause[:6]: 0, effect[:6]: 0}


def all_hold() -> bool:
    return all(follows(*pair) for pair in pairs(FOLLOWS)) and not any(follows(*pair) for pair in pairs(STANDS_ALONE))


@pytest.mark.parametrize("index", range(len(KNOWLEDGE)))
def test_no_row_can_go_or_lose_a_part_unnoticed(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(*instead: Knowledge) -> Sequence[Knowledge]:
        return (*KNOWLEDGE[:index], *instead, *KNOWLEDGE[index + 1 :])

    assert all_hold()
    for changed in ([], *([each] for each in poorer(KNOWLEDGE[index])), *([each] for each in bolder(KNOWLEDGE[index]))):
        monkeypatch.setattr(diagnosis, "KNOWLEDGE", rows(*changed))
        assert not all_hold(), changed or "the whole row"


def test_of_several_causes_the_first_in_the_registrys_order_counts() -> None:
    """A node that is down, a namespace that is gone, an unhealthy GPU: the node comes first."""
    assert consequences("NOD002@gpu-1", "STK001", "PWR002@gpu-2", "CAP001@gpu-1") == [
        ("NOD002", ["CAP001"]),
        ("STK001", []),
        ("PWR002", []),
    ]
