"""Reading settings: from a stack file, config/Pulumi.STACK.yaml, or as Pulumi hands them to a program."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml
from pydantic import ValidationError

from gpuctl.settings.mistakes import Mistake, SettingsError, mistakes
from gpuctl.settings.model import Settings

CONFIG = Path(__file__).parents[2] / "config"
_NAMESPACE = "gpu:"


def stack_names(folder: Path = CONFIG) -> list[str]:
    """The stacks that have a file."""
    return sorted(path.name.split(".", 1)[1].removesuffix(".yaml") for path in folder.glob("Pulumi.*.yaml"))


def read_stack(stack: str, folder: Path = CONFIG) -> Settings:
    """The settings in a stack's file.

    Raises:
        SettingsError: there is no such file, it is no stack file, or its settings have mistakes.
    """
    name = f"Pulumi.{stack}.yaml"
    if not (folder / name).exists():
        known = stack_names(folder)
        close = difflib.get_close_matches(stack, known, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        reason = f"does not exist{meant}; there are: {', '.join(known) or 'none'}"
        raise _unreadable(stack, f"config/{name}", reason, f"pulumi stack init {stack}")
    return read_stack_file(stack, folder / name, f"config/{name}")


def read_stack_file(stack: str, path: Path, name: str | None = None) -> Settings:
    """The settings in a stack file that lies anywhere.

    Args:
        stack: named in messages.
        path: of the file.
        name: how messages call the file; None is its path.

    Raises:
        SettingsError: it cannot be read, it is no stack file, or its settings have mistakes.
    """
    name = name or str(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(stack, name, f"cannot be read: {error}") from error
    return parse_stack(stack, text, name)


def parse_stack(stack: str, text: str, name: str) -> Settings:
    """The settings in the text of a stack file.

    Args:
        stack: named in messages.
        text: YAML.
        name: how messages call the file.

    Raises:
        SettingsError: it is no stack file, or its settings have mistakes.
    """
    try:
        document: object = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise _unreadable(stack, name, f"is not YAML: {' '.join(str(error).split())}") from error
    match document:
        case {"config": dict()}:
            return read_config(stack, cast(dict[str, dict[str, object]], document)["config"])
        case None | {"config": None}:
            return read_config(stack, {})
        case dict() if "config" not in document:  # all that `pulumi stack init` writes is the stack's own salt
            return read_config(stack, {})
        case _:
            raise _unreadable(stack, name, "is not a mapping with a mapping `config:` in it")


def read_config(stack: str, config: Mapping[str, object]) -> Settings:
    """The settings in a stack's configuration.

    Args:
        stack: named in messages.
        config: full key, such as `gpu:slices`, to value; `gpu:` may be left out, and keys of other projects
            and providers are not looked at. Lists may be JSON texts, which is how Pulumi passes them.

    Raises:
        SettingsError: the settings have mistakes; with all of them.
    """
    own = {
        key.removeprefix(_NAMESPACE): _parsed(value)
        for key, value in config.items()
        if key.startswith(_NAMESPACE) or ":" not in key
    }
    try:
        return Settings.model_validate(own)
    except ValidationError as error:
        raise SettingsError(stack, mistakes(stack, error)) from None


def _parsed(value: object) -> object:
    if isinstance(value, str) and value.startswith(("[", "{")):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _unreadable(stack: str, name: str, reason: str, command: str = "") -> SettingsError:
    return SettingsError(stack, [Mistake(name, "stack file", reason, command or f"${{EDITOR:-vi}} {name}")])
