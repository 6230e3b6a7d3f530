"""logfmt, in which the scripts of the stack's pods write their logs.

Each line is `time=... level=... msg=...` and then `key=value`, with double quotes around a value that has blanks.
"""

import re
from datetime import datetime

PAIR = r'([a-z_]+)=("[^"]*"|[^\s"]+)'
"""A key and its value, as a pattern with a group for each."""
_LINE = re.compile(rf"time=\S+ level=(info|warn|error) msg=[a-z_]+( {PAIR})*")


def fields_of_line(line: str) -> dict[str, str] | None:
    """What a line says; None for one that is not of that form, such as one that was cut off."""
    return fields(line) if _LINE.fullmatch(line.rstrip("\n")) else None


def fields(text: str) -> dict[str, str]:
    """The pairs of a text, without quotes."""
    return {key: value.strip('"') for key, value in re.findall(PAIR, text)}


def time_of(text: str) -> datetime:
    """A time of such a line.

    Raises:
        ValueError: it is none, or says no zone, so that it cannot be compared with others.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(text)
    return time
