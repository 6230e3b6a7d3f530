"""Exit codes of every command, in one table."""

from enum import IntEnum


class Exit(IntEnum):
    """What the end of a command says to a script."""

    OK = 0
    """Everything holds, nothing changes, nothing was found."""
    FOUND = 1
    """Something does not hold, is missing or is wrong."""
    MISTAKE = 2
    """The command line, or a stack file."""
    UNREACHABLE = 3
    """The cluster does not answer."""
    CHANGED = 10
    """Of a plan: something changes."""
    TIMED_OUT = 124
    """A wait is over, and nothing but time was missing; as of timeout(1)."""
    INTERRUPTED = 130
    """Ctrl-C; as of a program that the signal ended."""


_PRECEDENCE = (Exit.MISTAKE, Exit.UNREACHABLE, Exit.FOUND, Exit.TIMED_OUT)


def worst(codes: set[Exit]) -> Exit:
    """The exit code of several runs: what must be fixed first."""
    return next((code for code in _PRECEDENCE if code in codes), Exit.OK)
