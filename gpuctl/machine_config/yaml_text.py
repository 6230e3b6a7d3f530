"""YAML as Talos reads it, bounded: a stranger's file costs neither the machine's memory nor its time.

Talos' YAML is 1.2: `0o600` and `0600` are numbers, `yes` is a text, and so is what looks like a date. Keys are texts.
"""

import re
from typing import Any

import yaml

MOST_BYTES = 4_000_000
"""Of one file; the configurations that Talos generates have some 10,000."""
DEEPEST = 64
"""Levels of one document; Talos' own have a dozen."""
MOST_NODES = 200_000
"""Of one file with every alias written out."""

_TAG = "tag:yaml.org,2002:"
_TAGS = (None, "!", f"{_TAG}str", f"{_TAG}map", f"{_TAG}seq")
_TRUTH_VALUE = re.compile("true|false")
"""`True` is one too, but as a label's value it stays as it is written."""
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0[0-7]+|0o[0-7]+|0x[0-9a-fA-F]+")
_LEGACY_OCTAL = re.compile(r"0[0-7]+")


def documents_in(text: str) -> list[Any]:
    """Its documents, without empty ones.

    Raises:
        ValueError: it is not YAML, or more than a machine configuration can be; with the reason.
    """
    try:
        if len(text) > MOST_BYTES:
            raise ValueError(f"is longer than {MOST_BYTES} characters")
        _check_bounds(text)
        return [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())}") from error


def _check_bounds(text: str) -> None:
    """Looks at the events alone, so nothing is built of a text that is refused."""
    bounds = _Bounds()
    for event in yaml.parse(text, yaml.CSafeLoader):
        try:
            bounds.see(event)
        except ValueError as error:
            line = event.start_mark.line + 1 if event.start_mark else "unknown"
            raise ValueError(f"{error}, line {line}") from None


class _Bounds:
    """How deep and how large a text is with its aliases written out."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str | None, int]] = []  # anchor, and the count when it began
        self._sizes: dict[str | None, int] = {}  # anchor -> values in it

    def see(self, event: yaml.Event) -> None:
        match event:
            case yaml.AliasEvent():
                if any(anchor == event.anchor for anchor, _ in self._open):
                    raise ValueError(f"has the alias *{event.anchor} inside its own anchor")
                self._count += self._sizes.get(event.anchor, 1)
            case yaml.CollectionEndEvent():
                anchor, before = self._open.pop()
                self._sizes[anchor] = self._count - before
            case yaml.ScalarEvent() | yaml.CollectionStartEvent():
                self._begin(event)
            case _:
                return
        if self._count > MOST_NODES:
            raise ValueError(f"has more than {MOST_NODES} values with its aliases written out")

    def _begin(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag not in _TAGS:
            raise ValueError(f"has the tag {event.tag}, which is not read here")
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, self._count))
        if len(self._open) > DEEPEST:
            raise ValueError(f"is nested deeper than {DEEPEST} levels")
        self._count += 1


class _Loader(yaml.SafeLoader):
    """PyYAML's rules for plain texts, but those in which YAML 1.1 differs."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            if _TRUTH_VALUE.fullmatch(value):
                return f"{_TAG}bool"
            if _NUMBER.fullmatch(value):
                return f"{_TAG}int"
        base: Any = super()  # its types are unknown
        resolved: str = base.resolve(kind, value, implicit)
        return f"{_TAG}str" if resolved.removeprefix(_TAG) in ("bool", "int", "timestamp", "value") else resolved

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Every key as it is written: Talos has no others than texts, and refuses one that appears twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or (key.value in seen and not key.tag.endswith(":merge")):
                problem = "a key stands twice" if isinstance(key, yaml.ScalarNode) else "a key is no text"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        self.flatten_mapping(node)
        base: Any = self
        return {key.value: base.construct_object(value, deep=deep) for key, value in node.value}


def _number(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    digits = str(node.value)
    try:
        return int(digits, 8 if _LEGACY_OCTAL.fullmatch(digits) else 0)
    except ValueError:  # Python reads no number of more than 4,300 digits
        return digits


_Loader.add_constructor(f"{_TAG}int", _number)
