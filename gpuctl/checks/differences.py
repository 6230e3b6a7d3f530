"""How a live object differs from the one that the stack asks for."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from gpuctl.cluster import Manifest

_SHARED = ("labels", "annotations")
"""Maps in which others may have entries of their own."""
_LONGEST = 60


def differences(live: Manifest, wanted: Manifest) -> list[str]:
    """Where a live object is not as wanted: path, live value, wanted value.

    Args:
        live: as the API server has it.
        wanted: with everything in it that the API server would add, such as defaults; of its metadata only labels and
            annotations count, and further ones in the live object do not.
    """
    found = list(_of_metadata("metadata", live, wanted))
    for key in sorted((live.keys() | wanted.keys()) - {"apiVersion", "kind", "metadata", "status"}):
        found += _of(key, live.get(key), wanted.get(key))
    return found


def _of_metadata(path: str, live: Manifest, wanted: Manifest) -> Iterator[str]:
    for key in _SHARED:
        yield from _of(f"{path}.{key}", live["metadata"].get(key, {}), wanted["metadata"].get(key, {}))


def _of(path: str, live: Any, wanted: Any) -> Iterator[str]:
    kinds: set[Any] = {type(live), type(wanted)}
    if kinds == {dict}:
        yield from _of_maps(path, live, wanted)
    elif kinds == {list}:
        yield from _of_lists(path, live, wanted)
    elif kinds == {str} and "\n" in live + wanted and live != wanted:
        yield _of_texts(path, live.splitlines(), wanted.splitlines())
    elif live != wanted:
        yield f"{path}: live {_shown(live)}, stack {_shown(wanted)}"


def _of_maps(path: str, live: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    keys: Iterable[str] = wanted if path.endswith(_SHARED) else live | wanted
    for key in keys:
        inner = f"{path}[{key}]" if "." in key or "/" in key else f"{path}.{key}"
        yield from _of(inner, live.get(key), wanted.get(key))


def _of_lists(path: str, live: list[Any], wanted: list[Any]) -> Iterator[str]:
    """Items that have names, such as containers and variables, are compared by them."""
    ours, theirs = _by_name(wanted), _by_name(live)
    if ours and theirs:
        for name in ours | theirs:
            yield from _of(f"{path}[{name}]", theirs.get(name), ours.get(name))
    else:
        for index in range(max(len(live), len(wanted))):
            yield from _of(f"{path}[{index}]", _at(live, index), _at(wanted, index))


def _of_texts(path: str, live: list[str], wanted: list[str]) -> str:
    index = next((i for i in range(len(live)) if live[i] != _at(wanted, i)), len(live))
    return f"{path}, line {index + 1}: live {_shown(_at(live, index))}, stack {_shown(_at(wanted, index))}"


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
