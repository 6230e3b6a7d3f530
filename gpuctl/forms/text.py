"""Text that a terminal or the log of a CI job shows, and never obeys."""

import re
from datetime import timedelta

_COMMAND = re.compile(r"##\[|##(?=vso\[)")
"""How a line anywhere calls the agent of Azure Pipelines, and by an older form that of GitHub Actions."""
_LEADING_COMMAND = re.compile(r"^(\s*):(?=:)")
"""How a line that begins so calls the runner of GitHub Actions."""


def one_line(text: str) -> str:
    r"""Text in which every character shows: control characters and such as escapes, a new line as `\n`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def visible(text: str) -> str:
    """The same of every line of a text: logs and names of others neither steer a terminal nor break XML."""
    return "\n".join(map(one_line, text.splitlines()))


def harmless(text: str) -> str:
    """Text of several lines, each of which shows and is no command to a CI system."""
    return "\n".join(map(inert, visible(text).split("\n")))


def inert(line: str) -> str:
    """A line that is no command to the CI system in whose log it is printed."""
    line = _COMMAND.sub(lambda found: r"\x23" + found[0][1:], line)
    return _LEADING_COMMAND.sub(r"\1\\x3a", line)


def shortened(text: str, most: int) -> str:
    """The beginning of a text that is longer than `most` characters, and how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def span(time: timedelta) -> str:
    """A length of time in its largest unit of which there are two."""
    seconds = int(time.total_seconds())
    for unit, its in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * its:
            return f"{seconds // its} {unit}"
    return f"{seconds} s"


def can_print(text: str, encoding: str | None) -> bool:
    """Whether an output of this encoding can show a text; None is one that is not known."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _escape(character: str) -> str:
    return " " if character == "\t" else character.encode("unicode_escape").decode()
