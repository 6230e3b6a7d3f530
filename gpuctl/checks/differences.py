"""How a live object differs from the one that the stack asks for."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from gpuctl.cluster import Manifest

_SHARED = ("labels", "annotations")
"""Maps in which others may have entries of their own."""
_LONGEST = 60


class Difference(NamedTuple):
    """One place in which a live object is not as wanted."""

    path: str
    live: str
    wanted: str
    is_added: bool
    """Whether the wanted object has nothing there."""

    def __str__(self) -> str:
        return f"{self.path}: live {self.live}, stack {self.wanted}"


def differences(live: Manifest, wanted: Manifest) -> list[Difference]:
    """Where a live object is not as wanted.

    Args:
        live: as the API server has it.
        wanted: with everything in it that the API server would add, such as defaults; of its metadata only labels and
            annotations count, and further ones in the live object do not.
    """
    found = list(_of_metadata("metadata", live, wanted))
    for key in sorted((live.keys() | wanted.keys()) - {"apiVersion", "kind", "metadata", "status"}):
        found += _of(key, live.get(key), wanted.get(key))
    return found


def _of_metadata(path: str, live: Manifest, wanted: Manifest) -> Iterator[Difference]:
    for key in _SHARED:
        yield from _of(f"{path}.{key}", live["metadata"].get(key, {}), wanted["metadata"].get(key, {}))


def _of(path: str, live: Any, wanted: Any) -> Iterator[Difference]:
    kinds: set[Any] = {type(live), type(wanted)}
    if kinds == {dict}:
        yield from _of_maps(path, live, wanted)
    elif kinds == {list}:
        yield from _of_lists(path, live, wanted)
    elif kinds == {str} and "\n" in live + wanted and live != wanted:
        yield _of_texts(path, live.splitlines(), wanted.splitlines())
    elif live != wanted:
        yield Difference(path, _shown(live), _shown(wanted), wanted is None)


def _of_maps(path: str, live: dict[str, Any], wanted: dict[str, Any]) -> Iterator[Difference]:
    keys: Iterable[str] = wanted if path.endswith(_SHARED) else live | wanted
    for key in keys:
        inner = f"{path}[{key}]" if "." in key or "/" in key else f"{path}.{key}"
        yield from _of(inner, live.get(key), wanted.get(key))


def _of_lists(path: str, live: list[Any], wanted: list[Any]) -> Iterator[Difference]:
    """Items that have names, such as containers and variables, are compared by them."""
    ours, theirs = _by_name(wanted), _by_name(live)
    if ours and theirs:
        for name in ours | theirs:
            yield from _of(f"{path}[{name}]", theirs.get(name), ours.get(name))
    else:
        for index in range(max(len(live), len(wanted))):
            yield from _of(f"{path}[{index}]", _at(live, index), _at(wanted, index))


def _of_texts(path: str, live: list[str], wanted: list[str]) -> Difference:
    index = next((i for i in range(len(live)) if live[i] != _at(wanted, i)), len(live))
    return Difference(f"{path}, line {index + 1}", _shown(_at(live, index)), _shown(_at(wanted, index)), is_added=False)


def _by_name(items: list[Any]) -> dict[str, Any]:
    """The items by their names; nothing when they have none of their own each."""
    if {type(item) for item in items} != {dict} or not all("name" in item for item in items):
        return {}
    named = {item["name"]: item for item in items}
    return named if len(named) == len(items) else {}


def _at(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else None


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value.strip() if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
