"""Asks a person at a terminal, on standard error; elsewhere what is missing is a list of options."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from gpuctl.forms.command import command
from gpuctl.forms.exits import Exit
from gpuctl.forms.output import complain
from gpuctl.forms.text import one_line

if TYPE_CHECKING:
    from gpuctl.init.questions import Question

_Answer = TypeVar("_Answer")


class Person:
    """Who answers, if there is somebody: what is proposed is taken without a question where `--yes` says so."""

    def __init__(self, *, takes_proposals: bool) -> None:
        self._takes_proposals = takes_proposals
        self._missing: list[Question] = []

    @property
    def is_asked(self) -> bool:
        """Whether somebody is there, and wants to be asked."""
        return not self._takes_proposals and sys.stdin.isatty() and sys.stderr.isatty()

    def ask(self, question: "Question", read: Callable[[str], _Answer | None]) -> _Answer | None:
        """The answer to a question; None, and it is missing, where there is nobody.

        Args:
            question: that is asked again until there is an answer to it.
            read: makes an answer of a text; None where it is none.

        Raises:
            typer.Exit: the person wants no more of it.
        """
        if question.is_proposal and self._takes_proposals:
            return read(question.example)
        if not self.is_asked:
            self._missing.append(question)
            return None
        while (answer := read(_typed(question))) is None:
            complain(f"that is no answer to it: write such as {question.example}")
        return answer

    def stop_if_something_is_missing(self, *words: str) -> None:
        """Ends the command where a question has no answer.

        Args:
            words: of the command.

        Raises:
            typer.Exit: it is so.
        """
        if not self._missing:
            return
        number = "1 answer is" if len(self._missing) == 1 else f"{len(self._missing)} answers are"
        why = "of what cannot be proposed" if self._takes_proposals else "and this is no terminal to ask at"
        lines = [one_line(f"  {each.option} {each.example}: {each.text}") for each in self._missing]
        options = [word for each in self._missing for word in (each.option, each.example)]
        fix = command(*words, *options, *(["--yes"] if self._takes_proposals else []))
        complain("\n".join([f"gpuctl: error: {number} missing, {why}: nothing is written", *lines, f"Fix it: {fix}"]))
        raise typer.Exit(Exit.MISTAKE)


def _typed(question: "Question") -> str:
    default = f" [{question.example}]" if question.is_proposal else ""
    print(f"{one_line(question.text)}{default}: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:  # Ctrl-D
        complain("\ngpuctl: interrupted; nothing is written")
        raise typer.Exit(Exit.INTERRUPTED)
    return answer.strip() or (question.example if question.is_proposal else "")
