"""YAML as Pulumi reads it, within bounds.

Pulumi reads a stack file with Go's yaml.v3: words such as `yes` are texts, a key that appears twice ends the run, and
keys are texts or become texts. PyYAML's own loaders differ in all three, so only its parser is used here. Whatever the
text is, reading it ends in a value or in a `YamlError`, in bounded time and memory.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from math import isfinite
from typing import Any, NamedTuple, cast

import yaml

MOST_BYTES = 1_048_576
"""Of a file. A stack of 5,000 nodes has a third of it."""
_MOST_VALUES = 200_000
_MOST_DEPTH = 30
_WITHIN_VALUES = 2
"""Mappings from this depth on are within the value of a key, where Pulumi makes texts of their keys."""
_MOST_PROBLEMS = 10
_MOST_TIMES = 100
"""An alias may make a document this many times as large as it is written; yaml.v3 draws the line there too."""

_WORDS: dict[str, object] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_DATE = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)([Tt]\d\d?:\d\d?:\d\d?(\.\d+)?(Z|[-+]\d\d:\d\d)| \d\d?:\d\d?:\d\d?(\.\d+)?)?", re.ASCII
)
_ENDS = re.compile(r"\?(?=\s)")
"""What ends a plain text within brackets for yaml.v3, and not for libyaml."""
_STANDARD = "tag:yaml.org,2002:"
_WHOLE_UP_TO = 1e21
"""Pulumi writes a document again before it takes its types: up to here a float without fraction is an integer."""


class YamlError(Exception):
    """The text is nothing that Pulumi would read; with the reason as the rest of a sentence about the file."""


@dataclass(frozen=True)
class Timestamp:
    """A date or time, which YAML makes of a text such as `2026-11-28` that is not in quotes."""

    text: str

    def __str__(self) -> str:
        return self.text


class _Built(NamedTuple):
    value: object
    size: int
    """Values in it, those that aliases bring in counted each time."""


def load(text: str) -> object:
    """The first document in a text, as Pulumi reads it.

    Raises:
        YamlError: it is no YAML, Pulumi would refuse it, or it is larger than any stack file.
    """
    if len(text) > MOST_BYTES:
        raise YamlError(f"is larger than {MOST_BYTES // 1024} KiB")
    try:
        reader = _Reader(text)
        value = reader.document()
    except (yaml.YAMLError, UnicodeError) as error:
        raise YamlError(f"is not YAML: {' '.join(str(error).split())}") from error
    if reader.problems:
        more = len(reader.problems) - _MOST_PROBLEMS
        rest = f"; and {more} more" if more > 0 else ""
        raise YamlError(f"is refused by Pulumi: {'; '.join(reader.problems[:_MOST_PROBLEMS])}{rest}")
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._flow = 0
        self._events: Iterator[Any] = yaml.parse(text, yaml.CLoader)
        self._anchors: dict[str, _Built | None] = {}
        self._written = self._expanded = 0
        self.problems: list[str] = []

    def document(self) -> object:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                return self._node(next(self._events), 0).value
        return None

    def _node(self, event: Any, depth: int) -> _Built:
        if depth > _MOST_DEPTH:
            raise YamlError(f"is nested deeper than {_MOST_DEPTH} levels ({_line(event)})")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._grow(1, written=1)
        anchor: str | None = event.anchor
        if anchor:
            self._anchors[anchor] = None
        flow = bool(getattr(event, "flow_style", False))
        self._flow += flow
        match event:
            case yaml.SequenceStartEvent():
                built = self._sequence(depth)
            case yaml.MappingStartEvent():
                built = self._mapping(depth)
            case _:
                built = _Built(self._scalar(event), 1)
        self._flow -= flow
        if anchor:
            self._anchors[anchor] = built
        return built

    def _grow(self, values: int, written: int = 0) -> None:
        self._expanded += values
        self._written += written
        if self._expanded > _MOST_VALUES:
            raise YamlError(f"has more than {_MOST_VALUES} values, aliases counted as often as they are used")
        if self._expanded > max(1000, _MOST_TIMES * self._written):
            raise YamlError(f"has aliases that make it more than {_MOST_TIMES} times as large as it is written")

    def _alias(self, event: Any) -> _Built:
        name: str = event.anchor
        if name not in self._anchors:
            raise YamlError(f"uses the alias *{name} before its anchor ({_line(event)})")
        built = self._anchors[name]
        if built is None:
            raise YamlError(f"has an anchor that contains itself: *{name} ({_line(event)})")
        self._grow(built.size, written=1)
        return built

    def _sequence(self, depth: int) -> _Built:
        values: list[object] = []
        size = 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            built = self._node(event, depth + 1)
            values.append(built.value)
            size += built.size
        return _Built(values, size)

    def _mapping(self, depth: int) -> _Built:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        lines: dict[str, str] = {}
        size = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            is_merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            key, value = self._node(event, depth + 1), self._node(next(self._events), depth + 1)
            size += key.size + value.size
            name = "<<" if is_merge else self._key(event, key.value, depth)
            if name is None:
                continue
            if name in lines:
                self.problems.append(f"{_line(event)}: mapping key {name!r} already defined at {lines[name]}")
            lines[name] = _line(event)
            if is_merge:
                self._merge(event, merged, value.value)
            else:
                own[name] = value.value
        return _Built(own | {key: value for key, value in merged.items() if key not in own}, size)

    def _key(self, event: Any, key: object, depth: int) -> str | None:
        if isinstance(key, str):
            return key
        text = _as_go_prints(key) if depth >= _WITHIN_VALUES else None
        if text is None:
            written = f" {event.value}" if isinstance(event, yaml.ScalarEvent) and event.value else ""
            self.problems.append(f"{_line(event)}: the key{written} is {_kind(key)} and must be a text, in quotes")
        return text

    def _merge(self, event: Any, merged: dict[str, object], value: object) -> None:
        for part in cast(list[object], value) if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                self.problems.append(f"{_line(event)}: << takes a mapping or a list of mappings")
                return
            for key, each in cast(dict[str, object], part).items():
                merged.setdefault(key, each)

    def _scalar(self, event: Any) -> object:
        tag, text = event.tag, event.value
        is_plain = event.style in (None, "")
        if self._flow and is_plain and _ENDS.search(self._text, event.start_mark.index, event.end_mark.index + 1):
            self.problems.append(f"{_line(event)}: {text!r} has a question mark before a blank and must be in quotes")
        if tag is None:
            return _as_pulumi_writes(_resolved(text)) if event.implicit[0] else text
        if not tag.startswith(_STANDARD):
            return text
        kind = tag.removeprefix(_STANDARD)
        try:
            return _tagged(kind, text)
        except ValueError:
            self.problems.append(f"{_line(event)}: {text!r} is no !!{kind}")
            return None


def _tagged(kind: str, text: str) -> object:
    value = text if kind in ("str", "binary") else _resolved(text)
    match kind, value:
        case "binary", _:
            try:
                return base64.b64decode(text, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise ValueError(text) from error
        case ("bool", bool()) | ("null", None) | ("timestamp", Timestamp()):
            return value
        case "float", int() | float() if not isinstance(value, bool):
            return _as_pulumi_writes(float(value))
        case "int", int() if not isinstance(value, bool):
            return value
        case (("bool" | "null" | "timestamp" | "float" | "int"), _):
            raise ValueError(text)
        case _:
            return text


def _resolved(text: str) -> object:
    """What a plain scalar means to yaml.v3."""
    if text in _WORDS:
        return _WORDS[text]
    if not text[0].isascii() or text[0] not in "+-.0123456789":
        return text
    if _is_a_time(text):
        return Timestamp(text)
    plain = text if text[0] == "." else text.replace("_", "")
    if text[0] != "." and _INTEGER.fullmatch(plain) and len(plain) < 70:
        value = _integer(plain)
        if -(2**63) <= value < 2**64:
            return value
    is_number = _FLOAT.fullmatch(plain) and isfinite(float(plain))  # else, such as 1e400, too large for one
    return float(plain) if is_number else text


def _integer(text: str) -> int:
    """With the leading zero of an octal number, as Go and YAML 1.1 have it."""
    digits = text.lstrip("+-")
    octal = re.fullmatch(r"0[0-7]+", digits)
    value = int(digits, 8 if octal else 0)
    return -value if text.startswith("-") else value


def _is_a_time(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    try:
        date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return False
    return True


def _as_pulumi_writes(value: object) -> object:
    is_whole = isinstance(value, float) and abs(value) < _WHOLE_UP_TO and value.is_integer()
    return int(value) if is_whole and isinstance(value, float) else value


def _as_go_prints(key: object) -> str | None:
    """A key as the text that Go makes of it, but for dates; None of what no key can be."""
    match key:
        case list() | dict():
            return None
        case None:
            return "<nil>"
        case bool():
            return str(key).lower()
        case _:
            return str(key)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case Timestamp():
            return "a date"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"
