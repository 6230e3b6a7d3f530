"""What a scalar of YAML means to Pulumi, which reads with Go's yaml.v3, and how it is written again."""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import date
from math import isfinite

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
_WHOLE_UP_TO = 1e21
"""Pulumi writes a document again before it takes its types: up to here a float without fraction is an integer."""


@dataclass(frozen=True)
class Timestamp:
    """A date or time, which YAML makes of a text such as `2026-11-28` that is not in quotes."""

    text: str

    def __str__(self) -> str:
        return self.text


def tagged(kind: str, text: str) -> object:
    """What a scalar with a tag of YAML's own means.

    Raises:
        ValueError: the text is none of this kind.
    """
    value = text if kind in ("str", "binary") else resolved(text)
    match kind, value:
        case "binary", _:
            try:
                return base64.b64decode(text, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise ValueError(text) from error
        case ("bool", bool()) | ("null", None) | ("timestamp", Timestamp()):
            return value
        case "float", int() | float() if not isinstance(value, bool):
            return as_pulumi_writes(float(value))
        case "int", int() if not isinstance(value, bool):
            return value
        case (("bool" | "null" | "timestamp" | "float" | "int"), _):
            raise ValueError(text)
        case _:
            return text


def resolved(text: str) -> object:
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


def as_pulumi_writes(value: object) -> object:
    """The same value once Pulumi has written the document again."""
    is_whole = isinstance(value, float) and abs(value) < _WHOLE_UP_TO and value.is_integer()
    return int(value) if is_whole and isinstance(value, float) else value


def as_go_prints(key: object) -> str | None:
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


def as_yaml_writes(key: object) -> str:
    """What stands in the document that Pulumi writes, but for quotes."""
    return "null" if key is None else as_go_prints(as_pulumi_writes(key)) or ""


def kind_of(value: object) -> str:
    """What a key is that is no text, for a message."""
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
