"""What a check is, and what it finds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from gpuctl.checks.context import Context

DOCS = "docs/checks.md"


class Outcome(StrEnum):
    """How a check ended."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"
    """It could not be told; the reason stands in the fact."""
    ERROR = "error"
    """The check itself broke."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found about one subject."""

    outcome: Outcome
    fact: str
    """What was observed, as a sentence without a full stop."""
    subject: str = ""
    """A node, a pod or an object; empty for the cluster as a whole."""
    remedy: str = ""
    """The command that fixes it, or shows more."""
    cause: str = ""
    """Why, as one sentence, where more is known than the check's usual cause."""


def passed(fact: str, subject: str = "") -> Result:
    """It is as it should be."""
    return Result(Outcome.PASS, fact, subject)


def failed(fact: str, remedy: str, subject: str = "", cause: str = "") -> Result:
    """It is not: a failure, or a warning when the check is only advice."""
    return Result(Outcome.FAIL, fact, subject, remedy, cause)


def skipped(reason: str, subject: str = "", remedy: str = "") -> Result:
    """It cannot be told, and why; the remedy is what would make it possible."""
    return Result(Outcome.SKIP, reason, subject, remedy)


@dataclass(frozen=True, slots=True)
class Category:
    """Checks that stand together on the screen."""

    name: str
    title: str
    exit_code: int = 1
    """Of the run when one of its checks fails."""


@dataclass(frozen=True, slots=True)
class Guide:
    """What the reference says of a check: all that is not about the cluster at hand."""

    cause: str
    """The usual reason for a failure, as one sentence."""
    example: str
    """What a failure looks like."""
    confirm: tuple[str, ...]
    """Commands that show more, or say who is to blame."""
    fix: tuple[str, ...]
    """What to do: sentences, with commands in backquotes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about a stack and its cluster that is either true or has a remedy."""

    id: str
    """Stable and never used again for another statement."""
    category: Category
    title: str
    """The statement when it is true."""
    run: Callable[[Context], Iterable[Result]]
    guide: Guide
    severity: Literal["error", "warning"] = "error"
    fatal: bool = False
    """Whether nothing after it can be told when it fails."""
    retry: bool = False
    """Whether it may become true by waiting."""
    deep: bool = False
    """Whether only `gpuctl doctor` asks, because it looks into pods of others or runs long."""
    makes_pods: bool = False
    """Whether only `gpuctl verify --sharing` asks, once and after all others."""

    @property
    def anchor(self) -> str:
        """Where the reference explains it."""
        return f"{DOCS}#{self.id.lower()}"


def check(
    id_: str,
    category: Category,
    title: str,
    guide: Guide,
    *,
    severity: Literal["error", "warning"] = "error",
    fatal: bool = False,
    retry: bool = False,
    deep: bool = False,
    makes_pods: bool = False,
) -> Callable[[Callable[[Context], Iterable[Result]]], Check]:
    """Makes a check of the function that judges it; what each part means stands at Check."""

    def make(run: Callable[[Context], Iterable[Result]]) -> Check:
        return Check(id_, category, title, run, guide, severity, fatal, retry, deep, makes_pods)

    return make
