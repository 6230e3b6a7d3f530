"""What becomes of an object that a stack finds in its cluster, and what a person does for that, in order."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

from gpuctl.adopt.keepers import Keeper
from gpuctl.cluster import Manifest


class Fate(StrEnum):
    """What becomes of an object."""

    MARKED = "taken over"
    """It is made the stack's now, and `pulumi up` deploys it as it is."""
    DEPLOYED = "the stack's"
    """`pulumi up` takes it as it is."""
    LEFT = "left"
    GOES = "must go"


class When(IntEnum):
    """The order of steps."""

    SETTING = 1
    """Before anything goes: what the stack file says decides what must."""
    REMOVAL = 2
    """Before `pulumi up`: two owners of one thing would undo each other's work."""
    CLEANING = 3
    """After it: what nothing uses any more."""


class Step(NamedTuple):
    """What a person does."""

    when: When
    what: str
    command: str = ""
    """Empty where the tool that keeps it must be told in its own way."""


@dataclass(frozen=True)
class Item:
    """An object, and what becomes of it."""

    object: Manifest
    keeper: Keeper
    fate: Fate
    why: str
    """As a sentence without a full stop."""
    steps: tuple[Step, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """Kind, namespace and name."""
        metadata = self.object["metadata"]
        return self.object["kind"], metadata.get("namespace", ""), metadata["name"]

    @property
    def title(self) -> str:
        """As people name it."""
        kind, namespace, name = self.key
        return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
