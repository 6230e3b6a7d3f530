"""What pydantic finds wrong with a value, in the words of a stack file, with what fixes it."""

import ast
import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gpuctl.settings.catalogue import CATALOGUE
from gpuctl.settings.gpu_models import DescribedGpu
from gpuctl.settings.limit_rules import example_node
from gpuctl.settings.model import SECRETS, Settings
from gpuctl.settings.nodes import GpuNode
from gpuctl.settings.refusal import (
    NOT_SET,
    EditFile,
    Path,
    Problem,
    Remedy,
    RemoveKey,
    SettingRefused,
    SetValue,
    StoreSecret,
)
from gpuctl.settings.values import NO_LIMIT, is_encrypted

_LIKE_A_SECRET = re.compile(
    r"secret|token|passw|passphrase|credential|private|key\b|keys\b|(client|machine)_?conf", re.I
)
_LISTS = ("nodes", "systemExtensions", "kernelArguments", "tolerations")
_MAPPINGS = ("gpuModels", "powerLimits", "gpus", "overlay")
_LONGEST_MOVED = 200


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Name of the field -> the text below it, of the fields that have one.

    pydantic would read them too (`use_attribute_docstrings`), each time that any command starts: that means parsing the
    model's source, for texts that only the documentation and a mistake need.
    """
    [definition] = ast.parse(inspect.getsource(model)).body
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(cast("ast.ClassDef", definition).body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def problem_of(details: ErrorDetails, raw: Mapping[str, object]) -> Problem:
    """One error of pydantic's.

    Args:
        details: of the error.
        raw: the values it was found in, by key.
    """
    path = path_of(details)
    if details["type"] == "extra_forbidden":
        return _unknown_key(path, details["input"], raw)
    value = NOT_SET if details["type"] == "missing" else details["input"]
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, SettingRefused):
        return Problem(path, value, cause.reason, cause.remedies or _usual(details, path))
    return Problem(path, value, _rule(details, path), _usual(details, path))


def described(path: Path) -> str:
    """What a key is for, as the documentation says it."""
    found = _model_of(path)
    if found is None:
        return ""
    model, alias = found
    texts = meanings(model)
    return next((texts[name].rstrip(".") for name, field in model.model_fields.items() if field.alias == alias), "")


def example_of(path: Path) -> Remedy:
    """An example of a key's values, else its default, else without the key."""
    field = _field(path)
    if field is None:
        return RemoveKey()
    if field.examples:
        return SetValue(str(field.examples[0]))
    if field.is_required():
        return EditFile()
    is_plain = isinstance(field.default, str | int)
    return SetValue(plain(field.default)) if is_plain else RemoveKey()


def plain(value: object) -> str:
    """A value as `pulumi config set` takes it."""
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "null"
        case _:
            return str(value)


def _rule(details: ErrorDetails, path: Path) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "missing":
            return "is required"
        case "greater_than_equal" | "less_than_equal":
            side, bound = ("least", context.get("ge")) if "ge" in context else ("most", context.get("le"))
            return f"must be at {side} {bound}"
        case "int_type" | "int_parsing" | "int_from_float" | "int_parsing_size" | "finite_number":
            return "must be a whole number"
        case "literal_error":
            return f"must be {context['expected'].replace(chr(39), '')}"
        case "tuple_type":
            return f"must be a list of {path[0] if path[0] in ('nodes', 'tolerations') else 'texts'}"
        case "dict_type":
            meant = {
                "gpuModels": "{KEY: {name, generation}}",
                "overlay": "{name, image}",
                "tolerations": "{key, operator, value, effect}",
            }
            return f"must be a mapping {meant.get(str(path[0]), 'with a number for each GPU model')}"
        case "model_type" | "model_attributes_type":
            return f"must be a mapping {{{'name, generation' if path[0] == 'gpuModels' else 'name, gpu, count'}}}"
        case "string_type":
            return "must be a text"
        case _:
            return details["msg"].lower()


def _usual(details: ErrorDetails, path: Path) -> Sequence[Remedy]:
    """The nearest legal value, else an example or the default, else without the key."""
    if off := _no_limit(path, details["input"]):
        return off
    context = details.get("ctx", {})
    for bound in ("ge", "le"):
        if bound in context:
            return [SetValue(str(context[bound]))]
    if path[-1] in SECRETS:
        return [StoreSecret()]
    if details["type"] == "tuple_type" and path != ("nodes",):
        return [RemoveKey(), *_entries(path, details["input"])]
    if details["type"] == "tuple_type":  # Pulumi puts no entry into what is no list
        return [RemoveKey(), *example_node()]
    if path == ("nodes",):
        return example_node()
    if details["type"] == "dict_type" or isinstance(path[-1], int):  # nor a key into an entry that is no mapping
        return [RemoveKey()]
    if path[-1] == "gpu" and isinstance(details["input"], int):
        return [SetValue(_numbered(details["input"]))]
    same = _in_lower_case(details)
    return [SetValue(same) if same else example_of(path)]


def _entries(path: Path, value: object) -> list[SetValue]:
    """The words of a text that stands where a list of texts is expected, each as one of these."""
    if path[0] == "tolerations" or not isinstance(value, str) or len(value) > _LONGEST_MOVED or not value.isprintable():
        return []
    return [SetValue(word, (*path, index)) for index, word in enumerate(re.split(r"[\s,]+", value.strip(" ,"))) if word]


def _in_lower_case(details: ErrorDetails) -> str:
    """One of a few words that was written in other letters; empty where it is none of them."""
    word = str(details["input"]).strip().lower()
    return word if f"'{word}'" in str(details.get("ctx", {}).get("expected", "")) else ""


def _no_limit(path: Path, value: object) -> Sequence[Remedy]:
    """How to say that no limit is to be held, where a limit says 0, false or none."""
    if value not in (0, "0", "false", NO_LIMIT):  # false is 0
        return []
    if path[0] == "powerLimits":
        return [SetValue(NO_LIMIT)] if len(path) > 1 else []
    return [SetValue("false", (*path[:-1], "powerManagement")), RemoveKey()] if path[-1] == "powerLimit" else []


def _numbered(number: int) -> str:
    """The model of the catalogue whose name ends with a number: `rtx-3090` for 3090."""
    return next((key for key in CATALOGUE if key.endswith(f"-{number}")), "rtx-3090")


def _unknown_key(path: Path, value: object, raw: Mapping[str, object]) -> Problem:
    *above, key = path
    known = _aliases({"nodes": GpuNode, "gpuModels": DescribedGpu}[str(path[0])] if above else Settings)
    if key == "gpu" and not above:
        meant = value if value in known else "slices"
        reason = "is not a key; `pulumi config set gpu KEY` with a blank stores it, a colon is meant: gpu:KEY"
        return Problem(path, value, reason, [SetValue("VALUE", (str(meant),)), RemoveKey()])
    close = difflib.get_close_matches(str(key)[:100], known, n=1)
    is_secret = any(each in SECRETS for each in close) or bool(_LIKE_A_SECRET.search(str(key)))
    hidden = is_secret or not close or is_encrypted(value)
    shown = Hidden(value) if hidden else value
    if not close:
        return Problem(path, shown, f"is not a key; there are {', '.join(known)}", [RemoveKey()])
    target: Path = (*above, close[0])
    return Problem(path, shown, f"is not a key (did you mean {close[0]}?)", _moved(target, value, raw, is_secret))


class Hidden:
    """A value that is not shown, because it may be a secret: of a key nobody knows, nobody knows what it is."""

    def __init__(self, value: object) -> None:
        self.kind = "a text" if isinstance(value, str) else ""
        self.value = None if isinstance(value, str) else value


def _moved(target: Path, value: object, raw: Mapping[str, object], is_secret: bool) -> list[Remedy]:
    """The value under the key that was meant, unless that has one."""
    if _is_there(target, raw):
        return [RemoveKey()]
    if target[-1] in SECRETS:
        return [StoreSecret(target), RemoveKey()]
    parts = _assigned(target, value)
    fits = isinstance(value, list) == (target[-1] in _LISTS) and isinstance(value, Mapping) == (target[-1] in _MAPPINGS)
    if is_secret or not fits or not parts or any(len(part.value) > _LONGEST_MOVED for part in parts):
        return [EditFile()]
    return [*parts, RemoveKey()]


def _is_there(path: Path, raw: Any) -> bool:
    for part in path[:-1]:
        raw = raw[part]
    return path[-1] in raw


def _assigned(path: Path, value: object) -> list[SetValue]:
    """One command for each plain value: `pulumi config set` stores a list or a mapping only by path."""
    match value:
        case Mapping():
            parts = cast(Mapping[str, object], value).items()
            return [remedy for name, part in parts for remedy in _assigned((*path, str(name)), part)]
        case list():
            parts = enumerate(cast(list[object], value))
            return [remedy for index, part in parts for remedy in _assigned((*path, index), part)]
        case _:
            return [SetValue(plain(value), path)]


def _aliases(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _field(path: Path) -> Any:
    found = _model_of(path)
    if found is None:
        return None
    model, alias = found
    return next((field for field in model.model_fields.values() if field.alias == alias), None)


def _model_of(path: Path) -> tuple[type[BaseModel], str | int] | None:
    """The model that has a key, and the key there."""
    if len(path) == 1:
        return Settings, path[0]
    model = {"nodes": GpuNode, "gpuModels": DescribedGpu}.get(str(path[0]))
    return (model, path[2]) if len(path) == 3 and model else None


def path_of(details: ErrorDetails) -> Path:
    """Where it is; pydantic adds a step of its own for the key of a mapping."""
    return tuple(part for part in details["loc"] if part != "[key]")
