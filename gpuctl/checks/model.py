"""What a check is, and what it finds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from gpuctl.checks.context import Context

DOCS = "docs/checks.md"
_LISTED = 3
"""Names that a fact lists: it stays readable in a large cluster."""


class Outcome(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 (no password)
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"
    """It could not be determined; the reason stands in the fact."""
    ERROR = "error"
    """The check itself broke."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a result is about; all empty for the cluster as a whole."""

    node: str = ""
    gpu: str = ""
    """UUID of a GPU of that node."""
    kind: str = ""
    """Of an object, as kubectl takes it; empty where its name alone says enough."""
    name: str = ""
    """Of an object: with it, the node is only where the object is."""
    component: str = ""
    """The stack's component whose object or pod it is, such as `nvidia-device-plugin`."""

    def __str__(self) -> str:
        """As reports print it: `gpu-1`, `gpu-1/GPU-UUID`, `pod/default/trainer`, `nvidia-device-plugin`."""
        return "/".join(part for part in ((self.kind, self.name) if self.name else (self.node, self.gpu)) if part)


About = Subject | str
"""A subject, or a node by its name."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found about one subject."""

    outcome: Outcome
    fact: str
    """What was observed, as a sentence without a full stop."""
    about: Subject = Subject()
    remedy: str = ""
    """The command that fixes it, or shows more."""
    cause: str = ""
    """Why, as one sentence, where more is known than the check's usual cause."""
    reason: str = ""
    """The cause without its subject, so that it is the same on ten nodes; empty where the cause does not name it."""

    @property
    def subject(self) -> str:
        """What it is about, as reports print it; empty for the cluster as a whole."""
        return str(self.about)


def passed(fact: str, about: About = "") -> Result:
    """It is as it should be."""
    return Result(Outcome.PASS, fact, _subject(about))


def failed(fact: str, remedy: str, about: About = "", cause: str = "", reason: str = "") -> Result:
    """It is not: a failure, or a warning when the check is only advice."""
    return Result(Outcome.FAIL, fact, _subject(about), remedy, cause, reason)


def skipped(reason: str, about: About = "", remedy: str = "") -> Result:
    """It could not be determined, and why; the remedy is what would make it possible."""
    return Result(Outcome.SKIP, reason, _subject(about), remedy)


def counted(number: int, thing: str) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:_LISTED])
    more = len(names) - _LISTED
    return f"{shown} and {more} more" if more > 0 else shown


@dataclass(frozen=True, slots=True)
class Category:
    """Checks that stand together on the screen."""

    name: str
    title: str
    exit_code: int = 1
    """Of the run when one of its checks fails."""


Judge = Callable[[Context], Iterable[Result]]
"""What a check asks of a stack and its cluster."""


def _undecided(_: Context) -> Iterable[Result]:
    return ()


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about a stack and its cluster that is either true or has a remedy; decorates what judges it."""

    id: str
    """Stable and never used again for another statement."""
    category: Category
    title: str
    """The statement when it is true."""
    cause: str
    """The usual reason for a failure, as one sentence."""
    example: str
    """What a failure looks like."""
    confirm: tuple[str, ...]
    """Commands that show more, or say who is to blame."""
    fix: tuple[str, ...]
    """What to do: sentences, with commands in backquotes."""
    severity: Literal["error", "warning"] = "error"
    fatal: bool = False
    """Whether all that comes after it is unknown while it fails."""
    retry: bool = False
    """Whether it may become true by waiting."""
    deep: bool = False
    """Whether only `gpuctl doctor` asks, because it looks into pods of others or runs long."""
    makes_pods: bool = False
    """Whether only `gpuctl verify --sharing` asks, once and after all others."""
    run: Judge = _undecided

    def __call__(self, run: Judge) -> "Check":
        """The check that is judged so."""
        return replace(self, run=run)

    @property
    def anchor(self) -> str:
        """Where the reference explains it."""
        return f"{DOCS}#{self.id.lower()}"


def checks_of(module: Mapping[str, object]) -> tuple[Check, ...]:
    """The checks of a module, in the order in which they are written there."""
    return tuple(each for each in module.values() if isinstance(each, Check))


def _subject(about: About) -> Subject:
    return Subject(about) if isinstance(about, str) else about
