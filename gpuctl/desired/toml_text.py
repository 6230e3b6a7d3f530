"""TOML as a person would write it; the standard library only reads it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

_BARE_KEY = re.compile(r"[\w-]+", re.ASCII)


def toml_text(tables: Mapping[str, Any]) -> str:
    """Tables as TOML, each under a header of its own and indented by its depth, as containerd documents them."""
    return "".join(f"{line}\n" for line in _lines((), tables))


def _lines(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    indent = "  " * len(path)
    nested = [key for key, value in table.items() if isinstance(value, Mapping)]
    yield from (f"{indent}{_key(key)} = {_value(table[key])}" for key in table if key not in nested)
    for key in nested:
        yield f"{indent}[{'.'.join(map(_key, (*path, key)))}]"
        yield from _lines((*path, key), table[key])


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return _quoted(value)
        case list():
            return f"[{', '.join(_value(item) for item in cast(list[object], value))}]"
        case Mapping():
            entries = cast(Mapping[str, object], value).items()
            return f"{{{', '.join(f'{_key(key)} = {_value(item)}' for key, item in entries)}}}"
        case _:
            return str(value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    """TOML's escapes are those of JSON, and it also wants one for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
