"""How a live object differs from the wanted one, in words that say where to look."""

import copy
from typing import Any

import pytest

from gpuctl.checks.differences import Difference, differences

WANTED: dict[str, Any] = {
    "metadata": {"labels": {"a": "1"}},
    "spec": {
        "template": {"metadata": {"labels": {"a": "1"}}},
        "named": [{"name": "one", "value": "1"}, {"name": "two", "value": "2"}],
        "plain": [1, 2],
        "text": "one\ntwo\n",
    },
}
ONE, TWO = WANTED["spec"]["named"]


def _told(path: str, value: Any) -> list[Difference]:
    """What is told when the value at a path is another; None removes it."""
    live = copy.deepcopy(WANTED)
    *above, last = path.split(".")
    inner = live
    for key in above:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return differences(live, WANTED)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("metadata.labels.a", None, "metadata.labels.a: live nothing, stack 1"),
        ("metadata.labels.a", "2", "metadata.labels.a: live 2, stack 1"),
        ("spec.template.metadata.labels.a", "2", "spec.template.metadata.labels.a: live 2, stack 1"),
        ("spec.more", True, "spec.more: live true, stack nothing"),
        ("spec.a/b", 1, "spec[a/b]: live 1, stack nothing"),
        ("spec.plain", [1], "spec.plain[1]: live nothing, stack 2"),
        ("spec.plain", [1, 3], "spec.plain[1]: live 3, stack 2"),
        ("spec.named", [TWO], 'spec.named[one]: live nothing, stack {"name": "one", "value": "1"}'),
        ("spec.named", [ONE, TWO | {"value": "3"}], "spec.named[two].value: live 3, stack 2"),
        ("spec.named", [ONE, TWO, TWO], 'spec.named[2]: live {"name": "two", "value": "2"}, stack nothing'),
        ("spec.text", "one\n", "spec.text, line 2: live nothing, stack two"),
        ("spec.text", "one\ntwo\nthree\n", "spec.text, line 3: live three, stack nothing"),
        ("spec.text", "x" * 61, f"spec.text, line 1: live {'x' * 60}..., stack one"),
        ("kind", "Secret", None),
        ("status", {"phase": "Bound"}, None),
        ("metadata.uid", "1", None),
        ("metadata.labels.b", "2", None),
        ("spec.template.metadata.labels.b", "2", None),
    ],
)
def test_a_difference_is_told_with_its_path_and_both_values(path: str, value: Any, told: str | None) -> None:
    assert [str(each) for each in _told(path, value)] == ([told] if told else [])


def test_a_part_that_is_missing_is_one_difference() -> None:
    (told,) = _told("spec", None)
    assert str(told).startswith("spec: live nothing, stack {")


def test_what_is_equal_is_no_difference() -> None:
    assert differences(copy.deepcopy(WANTED), WANTED) == []


@pytest.mark.parametrize(
    ("path", "value", "added"),
    [
        ("spec.more", 1, True),
        ("spec.plain", [1, 2, 3], True),
        ("spec.plain", [1], False),
        ("metadata.labels.a", "2", False),
        ("spec.text", "one\ntwo\nthree\n", False),
    ],
)
def test_what_was_added_is_told_apart_from_what_was_changed(path: str, value: Any, added: bool) -> None:
    """Pulumi puts back the one and not the other."""
    (told,) = _told(path, value)
    assert told.is_added == added
