"""What differs between two sets of named texts."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Action = Literal["create", "update", "delete"]
_CONTEXT_LINES = 3


@dataclass(frozen=True)
class Difference:
    """A text that is on one side only, or not the same on both."""

    name: str
    action: Action
    diff: str
    """Unified, without the two lines that name the files."""


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Difference, ...]:
    """By name, in the order of `after`; what is gone comes first."""
    gone = [name for name in before if name not in after]
    changed = [name for name in after if before.get(name) != after[name]]
    return tuple(
        Difference(name, _action(name, before, after), _diff(before.get(name, ""), after.get(name, "")))
        for name in (*gone, *changed)
    )


def _action(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> Action:
    if name not in before:
        return "create"
    return "update" if name in after else "delete"


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=_CONTEXT_LINES)
    return "\n".join(list(lines)[2:])
