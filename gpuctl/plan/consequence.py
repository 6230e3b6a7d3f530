"""One thing that follows from a change, and how it names nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_MOST_NAMED = 10
"""Nodes that a sentence names."""


@dataclass(frozen=True)
class Consequence:
    """One sentence, with a full stop."""

    kind: Literal["removal", "warning", "note"]
    """Removals are what somebody may miss; warnings are felt, notes are to be done or known."""
    text: str


def named(names: Sequence[str]) -> str:
    """Some nodes in a sentence: the first of them, and how many there are besides."""
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more nodes"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
