"""YAML as Pulumi reads it, within bounds.

Pulumi reads a stack file with Go's yaml.v3: words such as `yes` are texts, a key that appears twice ends the run, and
keys are texts or become texts. PyYAML's own loaders differ in all three, so only its parser is used here. Whatever the
text is, reading it ends in a value or in a `YamlError`, in bounded time and memory.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, NamedTuple, cast

import yaml

from gpuctl.settings.yaml_scalars import as_go_prints, as_pulumi_writes, as_yaml_writes, kind_of, resolved, tagged

MOST_BYTES = 1_048_576
"""Of a file. A stack of 5,000 nodes has a third of it."""
_MOST_VALUES = 200_000
_MOST_DEPTH = 30
_MOST_PROBLEMS = 10
_MOST_TIMES = 100
"""An alias may make a document this many times as large as it is written; yaml.v3 draws the line there too."""

_ENDS = re.compile(r"\?(?=\s)")
"""What ends a plain text within brackets for yaml.v3, and not for libyaml."""
_STANDARD = "tag:yaml.org,2002:"


class YamlError(Exception):
    """The text is nothing that Pulumi would read; with the reason as the rest of a sentence about the file."""


class _Place(Enum):
    """Where a mapping is, which says what its keys may be and how often one may be there."""

    TOP = auto()
    CONFIG = auto()
    """The mapping of `config:`."""
    VALUE = auto()
    """Within the value of a key there, of whose keys Pulumi makes texts. It writes them and reads them once more."""
    ELSEWHERE = auto()
    """Below another key at the top, such as `environment:`, which Pulumi reads once."""

    def below(self, key: object) -> "_Place":
        """The place of a key's value."""
        if self is _Place.TOP:
            return _Place.CONFIG if key == "config" else _Place.ELSEWHERE
        return _Place.VALUE if self is _Place.CONFIG else self


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
                return self._node(next(self._events), 0, _Place.TOP).value
        return None

    def _node(self, event: Any, depth: int, place: _Place) -> _Built:
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
                built = self._sequence(depth, place)
            case yaml.MappingStartEvent():
                built = self._mapping(depth, place)
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

    def _sequence(self, depth: int, place: _Place) -> _Built:
        values: list[object] = []
        size = 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            built = self._node(event, depth + 1, place)
            values.append(built.value)
            size += built.size
        return _Built(values, size)

    def _mapping(self, depth: int, place: _Place) -> _Built:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        keys = _Keys()
        size = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            is_merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = self._node(event, depth + 1, place)
            value = self._node(next(self._events), depth + 1, place.below(key.value))
            size += key.size + value.size
            name = "<<" if is_merge else self._key(event, key.value, place)
            if first := keys.earlier(event, key.value, place):
                self.problems.append(f"{_line(event)}: mapping key {name!r} already defined at {first}")
            if is_merge:
                self._merge(event, merged, value.value)
            elif name is not None:
                own[name] = value.value
        return _Built(own | {key: value for key, value in merged.items() if key not in own}, size)

    def _key(self, event: Any, key: object, place: _Place) -> str | None:
        """A key as a text; None of one that is refused, or that Pulumi leaves out."""
        if isinstance(key, str):
            return key
        if key is None and place is _Place.CONFIG:
            return None
        text = as_go_prints(key) if place in (_Place.VALUE, _Place.ELSEWHERE) else None
        if text is None:
            written = f" {event.value}" if isinstance(event, yaml.ScalarEvent) and event.value else ""
            self.problems.append(f"{_line(event)}: the key{written} is {kind_of(key)} and must be a text, in quotes")
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
            return as_pulumi_writes(resolved(text)) if event.implicit[0] else text
        if not tag.startswith(_STANDARD):
            return text
        kind = tag.removeprefix(_STANDARD)
        try:
            return tagged(kind, text)
        except ValueError:
            self.problems.append(f"{_line(event)}: {text!r} is no !!{kind}")
            return None


class _Keys:
    """The keys of one mapping: two are one key to yaml.v3 when they are written alike, whatever they mean."""

    def __init__(self) -> None:
        self._lines: dict[tuple[bool, str], str] = {}
        self._rewritten: dict[str, tuple[object, str]] = {}

    def earlier(self, event: Any, key: object, place: _Place) -> str:
        """The line of the same key before this one; empty where there is none."""
        match event:
            case yaml.ScalarEvent(value=text):
                written = False, str(text)
            case yaml.AliasEvent(anchor=name):
                written = True, str(name)
            case _:
                return ""
        if written in self._lines:
            return self._lines[written]
        self._lines[written] = _line(event)
        if place is not _Place.VALUE:
            return ""
        is_plain = isinstance(event, yaml.ScalarEvent) and event.tag is None and event.implicit[0]
        return self._once_more(resolved(written[1]) if is_plain else key, event)

    def _once_more(self, key: object, event: Any) -> str:
        """The same in what Pulumi writes of the mapping: `8` and `010` are one key there, `8` and `'8'` two alike."""
        written = as_yaml_writes(key)
        if written not in self._rewritten:
            self._rewritten[written] = key, _line(event)
            return ""
        before, first = self._rewritten[written]
        return "" if type(before) is type(key) and before == key else first


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"
