"""What scripts read of the last release they can read of this one: every key of its JSON, figures included."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from gpuctl.checks.registry import CHECKS
from gpuctl.cli import app
from gpuctl.cluster import Cluster, UnreachableError
from gpuctl.desired.desired import desired_state
from gpuctl.plan import document as plan_document
from gpuctl.plan.side import side
from gpuctl.plan.stack_plan import plan
from gpuctl.report.catalogue import catalogue
from gpuctl.report.doctor import doctor_document
from gpuctl.report.document import document
from gpuctl.settings import Settings, read_stack
from tests.fixtures.reports import large, mixed, wrong_settings
from tests.fixtures.stack_files import ROOT, each_shipped

RELEASED: dict[str, Any] = json.loads((ROOT / "tests" / "fixtures" / "released_json.json").read_text())
"""Capacity and list of the shipped stacks, whole; of the other documents the paths of their keys."""

LAB = """\
config:
  gpu:context: admin@lab
  gpu:slices: 4
  gpu:nodes:
  - {name: gpu-1, gpu: rtx-3090, count: 2}
"""


def paths(value: Any, at: str = "") -> Iterator[str]:
    """The path of every key of a document; what is in a list counts as one."""
    if isinstance(value, dict):
        for key, part in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield f"{at}.{key}"
            yield from paths(part, f"{at}.{key}")
    elif isinstance(value, list):
        for part in value:  # pyright: ignore[reportUnknownVariableType]
            yield from paths(part, f"{at}[]")


def held(old: Any, new: Any) -> bool:
    """Whether a document still has every key and value of an older one."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and held(old[key], new[key]) for key in old)  # pyright: ignore[reportUnknownVariableType]
    return old == new


def _nobody(_: Settings) -> Cluster:
    raise UnreachableError("nobody is asked")


def _plans() -> Any:
    """Of other slices, of a stack that goes, and of a mistake."""
    after = {"lab": LAB.replace("slices: 4", "slices: 6"), "old": None, "bad": LAB.replace("slices: 4", "slices: 0")}
    found = [plan(stack, side(stack, LAB), side(stack, text), _nobody) for stack, text in after.items()]
    return plan_document.document(found, "main", "HEAD")


DOCUMENTS = {
    "verify": lambda: document([mixed(), wrong_settings(), large(1)]),
    "doctor": lambda: doctor_document([mixed(), wrong_settings()]),
    "verify --list": lambda: catalogue(CHECKS),
    "plan": _plans,
}


@pytest.mark.parametrize("verb", DOCUMENTS)
def test_a_document_has_every_key_that_it_had(verb: str) -> None:
    assert sorted(set(RELEASED["keys"][verb]) - set(paths(DOCUMENTS[verb]()))) == []


@each_shipped
def test_the_capacity_of_a_shipped_stack_is_what_it_was(stack: str) -> None:
    printed = json.loads(CliRunner().invoke(app.app, ["capacity", "--stack", stack, "-o", "json"]).stdout)
    assert held(RELEASED["capacity"][stack], printed)


@each_shipped
def test_the_outputs_of_a_shipped_stack_have_the_figures_of_its_capacity(stack: str) -> None:
    """Other projects read them by these names."""
    outputs = desired_state(read_stack(stack)).outputs
    names = ("gpuCapacity", "powerBudgetWatts", "circuits", "memoryPerSliceMiB")
    printed = json.loads(CliRunner().invoke(app.app, ["capacity", "--stack", stack, "-o", "json"]).stdout)
    assert held({name: outputs[name] for name in names}, printed)
    released = RELEASED["capacity"][stack]["gpuCapacity"]
    assert {key: outputs["gpuCapacity"][key] for key in ("resource", "total", "byNode")}.items() <= released.items()


def test_the_stacks_are_listed_with_the_figures_that_they_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    printed = json.loads(CliRunner().invoke(app.app, ["stacks", "-o", "json"]).stdout)
    by_name = {row["stack"]: row for row in printed}
    assert [row["stack"] for row in RELEASED["stacks"] if not held(row, by_name[row["stack"]])] == []


def test_every_check_has_the_id_severity_and_category_that_it_had() -> None:
    """Scripts skip checks by their ids, and reports are sorted by them."""
    now = [[check.id, check.severity, check.category.name] for check in CHECKS]
    assert [row for row in RELEASED["checks"] if row not in now] == []
