"""How a rule of the settings says no: where, with the reason, and with the value or command that fixes it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Such as `("nodes", 0, "powerLimit")`."""


@dataclass(frozen=True)
class SetValue:
    """Fixed by setting a key: `pulumi config set KEY VALUE`."""

    value: str
    path: Path = ()
    """Such as `("nodes", 0, "powerLimit")`; empty is the key at fault."""


@dataclass(frozen=True)
class RemoveKey:
    """Fixed by removing a key: `pulumi config rm KEY`."""

    path: Path = ()


@dataclass(frozen=True)
class StoreSecret:
    """Fixed by storing a secret again, encrypted, from a file: `pulumi config set --secret KEY <FILE`."""

    path: Path = ()


@dataclass(frozen=True)
class StorePlain:
    """Fixed by storing in plain text what is encrypted and no secret."""

    path: Path = ()


@dataclass(frozen=True)
class EditFile:
    """Fixed by hand: no command does what is meant, or none can name the key."""


Remedy = SetValue | RemoveKey | StoreSecret | StorePlain | EditFile

NOT_SET = object()
"""Stands for the value of a key that is not there."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with settings, before it is put into words and commands."""

    path: Path
    value: object
    reason: str
    remedies: Sequence[Remedy]


class SettingRefused(ValueError):  # noqa: N818 (pydantic turns a ValueError into one of its own, and keeps this one in it)
    """A value that is well-formed and still wrong."""

    def __init__(self, reason: str, *remedies: Remedy) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedies = remedies


def listed(items: Sequence[str], most: int = 10, separator: str = ", ") -> str:
    """The first of some items, and how many more there are."""
    rest = len(items) - most
    return separator.join(items[:most]) + (f"{separator}and {rest} more" if rest > 0 else "")


def step(part: int | str) -> str:
    """One step in a property path, as Pulumi reads it: `[0]`, `.name` or `["any text"]`.

    In brackets Pulumi knows one escape, that of a quotation mark, and takes every other character as it is.
    """
    if isinstance(part, int):
        return f"[{part}]"
    if re.fullmatch(r"[-\w]+", part, re.ASCII):
        return f".{part}"
    escaped = part.replace('"', '\\"')
    return f'["{escaped}"]'


def path_text(path: Path) -> str:
    """A path below `gpu:`. Its first step is a key, which Pulumi takes as it is."""
    first, *rest = path
    return f"{first}{''.join(map(step, rest))}"


def is_writable(path: Path) -> bool:
    """Whether a command can name the path: Pulumi's paths have no way to write a backslash before a quotation mark."""
    texts = [part for part in path if isinstance(part, str)]
    return all(map(str.isprintable, texts)) and not any(re.search(r'\\("|$)', part) for part in texts[1:])


def printable(text: str, most: int = 100) -> str:
    """A text for one line of a message: cut, with an escape for each character that does not print as itself."""
    shown = text if len(text) <= most else f"{text[:most]}..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
