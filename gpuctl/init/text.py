"""A stack file as a person would write it, with comments; whatever a value or a comment is made of, it stays one."""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from gpuctl.forms.text import one_line
from gpuctl.settings.yaml_document import YamlError, load

_WIDTH = 120
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._/-]*")
"""What no YAML reader takes for syntax, in braces too; whether it is a text to Pulumi is asked of its reader."""


class Item(NamedTuple):
    """One entry of a list, as plain data."""

    value: Mapping[str, object] | str
    comments: Sequence[str] = ()


class Entry(NamedTuple):
    """One key of a stack file."""

    key: str
    """Without `gpu:`."""
    value: object
    """A text, a number, a mapping of such, or a list of items."""
    comments: Sequence[str] = ()
    is_set: bool = True
    """Whether it counts; else it stands there as a comment, to be taken out of it."""

    @property
    def plain(self) -> object:
        """The value as plain data."""
        return [each.value for each in self.items] if isinstance(self.value, list) else self.value

    @property
    def items(self) -> list[Item]:
        """Of a list."""
        return cast(list[Item], self.value)


def stack_file(head: Iterable[str], entries: Iterable[Entry]) -> str:
    """The text of a stack file.

    Args:
        head: comments above it.
        entries: in their order.
    """
    lines = ["# yaml-language-server: $schema=schema.json", *_comments(head, "")]
    return "\n".join([*lines, "config:", *(line for entry in entries for line in _entry(entry))]) + "\n"


def _entry(entry: Entry) -> Iterator[str]:
    yield from _comments(entry.comments, "  ")
    mark = "" if entry.is_set else "# "
    if not isinstance(entry.value, list):
        yield f"  {mark}gpu:{entry.key}: {_flow(entry.value)}"
        return
    yield f"  {mark}gpu:{entry.key}:"
    for item in entry.items:
        yield from _comments(item.comments, "    ")
        yield f"  {mark}  - {_flow(item.value)}"


def _comments(texts: Iterable[str], indent: str) -> Iterator[str]:
    for text in texts:
        yield from textwrap.wrap(
            one_line(text),
            _WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}#   ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _flow(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return _scalar(value)
        case dict():
            parts = cast(dict[str, object], value).items()
            return f"{{{', '.join(f'{_scalar(key)}: {_flow(each)}' for key, each in parts)}}}"
        case _:
            return str(value)


def _scalar(text: str) -> str:
    """In quotes, unless Pulumi reads the bare text as that text."""
    if _PLAIN.fullmatch(text):
        try:
            if load(text) == text:
                return text
        except YamlError:
            pass
    return json.dumps(one_line(text), ensure_ascii=False)
