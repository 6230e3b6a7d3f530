"""The API server's answers as objects: what cannot be read in one is named, and costs only itself.

A page of a list is decoded straight from its bytes. Only when that fails is each of its objects decoded by itself, and
only one that fails again is read field by field. Null is the zero value, as it is for Go: a time of year 1 is null.
"""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec
from msgspec import inspect

from gpuctl.cluster.objects import Manifest, Node, Pod

Item = TypeVar("Item")
_ERRORS = (ValueError, RecursionError)
"""Of what cannot be decoded: msgspec's and json's own errors are ValueErrors."""
_NAMES: dict[type[inspect.Type], str] = {
    inspect.StrType: "a text",
    inspect.IntType: "a whole number",
    inspect.BoolType: "true or false",
}
_PARTS = ("metadata", "spec", "status", "data", "involvedObject")
"""Of an object, where it has them."""
_CLASSES: dict[type[inspect.Type], type] = {inspect.StrType: str, inspect.IntType: int, inspect.BoolType: bool}


class Unreadable(NamedTuple):
    """What could not be read of an object."""

    kind: str
    namespace: str
    """Empty for kinds without, and when it could not be read."""
    name: str
    """When it could not be read either: where in its list the object is, such as `items[3]`."""
    reason: str
    """Such as `status.phase is not a text`. A field that could not be read counts as not set."""

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}: {self.reason}"


class Page(NamedTuple, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    rest: str
    """What asks for the next part; empty when this is the last."""
    unreadable: list[Unreadable]


class _PageMetadata(msgspec.Struct, frozen=True, rename={"rest": "continue"}):
    rest: str | None = None


class _Page(msgspec.Struct, Generic[Item], frozen=True):
    items: list[Item] | None
    metadata: _PageMetadata | None = None


_FAST: dict[type, Any] = {kind: msgspec.json.Decoder(_Page[kind]) for kind in (Node, Pod)}
_TYPES: dict[type, inspect.Type] = {kind: inspect.type_info(kind) for kind in (Node, Pod)}
_RAW = msgspec.json.Decoder(_Page[msgspec.Raw])


def page_of(kind: type[Item], content: bytes) -> Page[Item]:
    """Nodes or pods out of an answer.

    Raises:
        ValueError: the answer is no list at all.
    """
    try:
        found: _Page[Item] = _FAST[kind].decode(content)
    except _ERRORS:
        decoder = msgspec.json.Decoder(kind)
        return _page(kind.__name__, content, decoder.decode, lambda value: _read_whole(value, kind))
    return Page(found.items or [], _rest(found), [])


def page_of_manifests(kind: str, content: bytes) -> Page[Manifest]:
    """Objects as plain data out of an answer.

    Raises:
        ValueError: the answer is no list at all.
    """
    return _page(kind, content, manifest_of, lambda value: (_manifest(value), []))


def plain(content: bytes | msgspec.Raw) -> dict[str, Any]:
    """An answer as plain data, without its nulls.

    Raises:
        ValueError: it is none, or nothing with fields.
    """
    return _object(without_nulls(msgspec.json.decode(content)), "")


def manifest_of(content: bytes | msgspec.Raw) -> Manifest:
    """An object as plain data, without its nulls.

    Raises:
        ValueError: it is no object of the API.
    """
    return _manifest(plain(content))


def _manifest(value: Any) -> Manifest:
    found: Manifest = _object(without_nulls(value), "")
    for part in _PARTS:
        _object(found.get(part, {}), part)
    if not (name := found.get("metadata", {}).get("name")) or not isinstance(name, str):
        raise ValueError("it has no readable metadata.name")
    for key in ("labels", "annotations"):
        texts = _object(found["metadata"].get(key, {}), f"metadata.{key}")
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError(f"metadata.{key} does not only hold texts")
    return found


def _page(
    kind: str,
    content: bytes,
    decode: Callable[[msgspec.Raw], Item],
    read: Callable[[Any], tuple[Item, list[str]]],
) -> Page[Item]:
    raw = _RAW.decode(content)
    items: list[Item] = []
    unreadable: list[Unreadable] = []
    for number, each in enumerate(raw.items or []):
        try:
            items.append(decode(each))
        except _ERRORS:
            item, reasons = _read_slowly(each, read)
            items += [] if item is None else [item]
            unreadable += [Unreadable(kind, *_place(each, number), reason) for reason in reasons]
    return Page(items, _rest(raw), unreadable)


def _read_slowly(raw: msgspec.Raw, read: Callable[[Any], tuple[Item, list[str]]]) -> tuple[Item | None, list[str]]:
    try:
        return read(json.loads(bytes(raw)))
    except _ERRORS as error:
        return None, [f"{error or 'it is nested too deeply'}; the object is left out"]


def _read_whole(value: Any, kind: type[Item]) -> tuple[Item, list[str]]:
    reasons: list[str] = []
    with suppress(ValueError):
        return msgspec.convert(without_nulls(value), kind), reasons
    found = _read(value, _TYPES[kind], "", reasons)
    return found, reasons


def _read(value: Any, kind: inspect.Type, path: str, reasons: list[str]) -> Any:
    """The value as far as it can be read; the reasons why parts of it cannot are added to those there are.

    Raises:
        ValueError: it cannot be read at all.
    """

    def part(value: Any, kind: inspect.Type, path: str) -> list[Any]:
        try:
            return [_read(value, kind, path, reasons)]
        except ValueError as error:
            reasons.append(str(error))
            return []

    match kind:
        case inspect.StructType():
            entries = _object(value, path)
            found = {
                field.name: read[0]
                for field in kind.fields
                if (each := entries.get(field.encode_name)) is not None
                and (read := part(each, field.type, f"{path}.{field.encode_name}".lstrip(".")))
            }
            if missing := [field.encode_name for field in kind.fields if field.required and field.name not in found]:
                raise ValueError(f"{path or 'it'} has no readable {missing[0]}")
            return kind.cls(**found)
        case inspect.VarTupleType():
            if not isinstance(value, list):
                raise ValueError(f"{path} is no list")
            values = enumerate(cast(list[Any], value))
            return tuple(read for i, each in values for read in part(each, kind.item_type, f"{path}[{i}]"))
        case inspect.DictType():
            entries = _object(value, path).items()
            return {key: read for key, each in entries for read in part(each, kind.value_type, f"{path}.{key}")}
        case inspect.UnionType():
            return _read(
                value, next(each for each in kind.types if not isinstance(each, inspect.NoneType)), path, reasons
            )
        case _:
            return _leaf(value, kind, path)


def _leaf(value: Any, kind: inspect.Type, path: str) -> Any:
    if type(value) is not _CLASSES[type(kind)]:
        raise ValueError(f"{path} is not {_NAMES[type(kind)]}")
    if isinstance(kind, inspect.StrType) and kind.pattern and not re.search(kind.pattern, value):
        raise ValueError(f"{path} is not an amount: {value[:40]!r}")
    return value


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path or 'it'} is no object")
    return cast(dict[str, Any], value)


def _place(raw: msgspec.Raw, number: int) -> tuple[str, str]:
    """Namespace and name of an object, as far as they can be read."""
    try:
        metadata = json.loads(bytes(raw))["metadata"]
        namespace, name = metadata.get("namespace"), metadata.get("name")
    except (*_ERRORS, AttributeError, LookupError, TypeError):
        namespace = name = None
    return (
        namespace if isinstance(namespace, str) else "",
        name if name and isinstance(name, str) else f"items[{number}]",
    )


def _rest(page: _Page[Any]) -> str:
    return (page.metadata and page.metadata.rest) or ""


def without_nulls(value: Any) -> Any:
    """Plain data in which a field that is null is not there at all."""
    if isinstance(value, dict):
        entries = cast(dict[str, Any], value).items()
        return {key: without_nulls(each) for key, each in entries if each is not None}
    if isinstance(value, list):
        return [without_nulls(each) for each in cast(list[Any], value)]
    return value
