"""A console on which tables keep their columns; a narrow terminal breaks the lines itself."""

from rich.console import Console

_COLUMNS = 200
"""More than any table here takes."""


def console() -> Console:
    """It writes to standard output."""
    return Console(width=_COLUMNS, highlight=False)
