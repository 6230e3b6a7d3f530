"""Mistakes in settings, one line each: the key, its value, what is wrong, and the command that fixes it."""

import difflib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gpuctl.settings.model import Settings
from gpuctl.settings.nodes import GpuNode
from gpuctl.settings.refusal import Remedy, RemoveKey, SettingRefused, SetValue, step

_MISSING = object()


@dataclass(frozen=True)
class Mistake:
    """One thing wrong with a stack's settings."""

    key: str
    """Such as `gpu:slices` or `gpu:nodes[0].count`."""
    value: str
    reason: str
    command: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value}: {self.reason}. Fix it: {self.command}"


class SettingsError(Exception):
    """A stack's settings cannot be used; nothing was changed."""

    def __init__(self, stack: str, mistakes: Sequence[Mistake]) -> None:
        lines = "\n".join(f"  {mistake}" for mistake in mistakes)
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__(f"stack {stack}: {count} in its settings, so nothing is done\n{lines}")
        self.mistakes = list(mistakes)


def mistakes(stack: str, error: ValidationError) -> list[Mistake]:
    """What pydantic found, in the words of a stack file."""
    return [_mistake(stack, details) for details in error.errors()]


def _mistake(stack: str, details: ErrorDetails) -> Mistake:
    path = _path(details)
    reason, remedies = _explained(details)
    return Mistake(
        key=f"gpu:{path}",
        value="not set" if details["type"] == "missing" else _shown(details["input"]),
        reason=reason,
        command=" && ".join(_command(stack, remedy, path) for remedy in remedies),
    )


def _explained(details: ErrorDetails) -> tuple[str, Sequence[Remedy]]:
    """The reason, and what fixes it."""
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, SettingRefused):
        return cause.reason, cause.remedies or _usual(details)
    if details["type"] == "extra_forbidden":
        return _unknown_key(details)
    return _rule(details), _usual(details)


def _rule(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "missing":
            return f"is required. {_described(details)}"
        case "greater_than_equal" | "less_than_equal":
            side, bound = ("least", context.get("ge")) if "ge" in context else ("most", context.get("le"))
            return f"must be at {side} {bound}"
        case "int_type" | "int_parsing" | "int_from_float" | "int_parsing_size":
            return "must be a whole number"
        case "bool_type" | "bool_parsing":
            return "must be true or false"
        case "literal_error":
            return f"must be {context['expected'].replace(chr(39), '')}"
        case "tuple_type":
            return "must be a list of nodes"
        case "dict_type":
            return "must be a mapping with a number for each GPU model"
        case "model_type" | "model_attributes_type":
            return "must be a mapping {name, gpu, count}"
        case "string_type":
            return "must be a text"
        case _:
            return details["msg"].lower()


def _usual(details: ErrorDetails) -> Sequence[Remedy]:
    """The nearest legal value, else the default, else an example."""
    context = details.get("ctx", {})
    for bound in ("ge", "le"):
        if bound in context:
            return [SetValue(str(context[bound]))]
    if details["type"] == "tuple_type":  # Pulumi puts no entry into what is no list
        return [RemoveKey(), *_example_node()]
    if details["loc"] == ("nodes",):
        return _example_node()
    if details["type"] == "dict_type":
        return [RemoveKey()]
    return [RemoveKey()] if _is_entry(details["loc"]) else [_example(details)]


def _example(details: ErrorDetails) -> Remedy:
    field = _field(details["loc"])
    if field is None:
        return RemoveKey()
    if field.examples:
        return SetValue(str(field.examples[0]))
    return RemoveKey() if field.default is None else SetValue(_plain(field.default))


def _is_entry(loc: tuple[int | str, ...]) -> bool:
    """Whether a whole entry of the nodes is at fault; Pulumi sets no key inside one that is no mapping."""
    return isinstance(loc[-1], int)


def _example_node() -> list[Remedy]:
    examples = {field.alias: field.examples for field in GpuNode.model_fields.values() if field.examples}
    return [SetValue(str(example[0]), f"nodes[0].{key}") for key, example in examples.items()]


def _unknown_key(details: ErrorDetails) -> tuple[str, Sequence[Remedy]]:
    key, value = str(details["loc"][-1]), details["input"]
    known = _aliases(GpuNode if len(details["loc"]) > 1 else Settings)
    prefix = _path(details).removesuffix(key)
    if key == "gpu" and not prefix:
        meant = value if value in known else "slices"
        reason = "is not a key; `pulumi config set gpu KEY` with a blank stores it, a colon is meant: gpu:KEY"
        return reason, [SetValue("VALUE", meant), RemoveKey()]
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        meant = prefix + close[0]
        moved = [] if _is_long(value) else _assigned(meant, value)  # a long text may be a secret, which no screen shows
        return f"is not a key (did you mean {close[0]}?)", [*moved, RemoveKey()]
    return f"is not a key; there are {', '.join(known)}", [RemoveKey()]


def _assigned(key: str, value: object) -> list[Remedy]:
    """One command for each plain value: `pulumi config set` stores a list or a mapping only by path."""
    match value:
        case Mapping():
            parts = cast(Mapping[str, object], value).items()
            return [remedy for name, part in parts for remedy in _assigned(f"{key}.{name}", part)]
        case list():
            parts = enumerate(cast(list[object], value))
            return [remedy for index, part in parts for remedy in _assigned(f"{key}[{index}]", part)]
        case _:
            return [SetValue(_plain(value), key)]


def _aliases(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _field(loc: tuple[int | str, ...]) -> Any:
    *above, name = loc
    model = GpuNode if len(above) > 1 else Settings
    return next((field for key, field in model.model_fields.items() if name in (key, field.alias)), None)


def _described(details: ErrorDetails) -> str:
    field = _field(details["loc"])
    return str(field.description).rstrip(".") if field else ""


def _path(details: ErrorDetails) -> str:
    """Such as `nodes[0].powerLimit`; pydantic names the field and not the key when a default is at fault."""
    *above, last = details["loc"]
    field = None if details["type"] == "extra_forbidden" else _field(details["loc"])
    words = [*above, field.alias if field else last]
    return "".join(map(step, words)).removeprefix(".")


def _command(stack: str, remedy: Remedy, path: str) -> str:
    key = f"gpu:{remedy.key or path}"
    verb = "rm" if isinstance(remedy, RemoveKey) else "set"
    structured = ["--path"] if set(key) & set("[.") else []
    value = [remedy.value] if isinstance(remedy, SetValue) else []
    return shlex.join(["pulumi", "config", verb, "--stack", stack, *structured, key, *value])


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "[]"
    if _is_long(value):
        return "a text of several lines"
    return _plain(value) if str(value).strip() else repr(value)


def _is_long(value: object) -> bool:
    return isinstance(value, str) and "\n" in value


def _plain(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "null"
        case _:
            return str(value)
