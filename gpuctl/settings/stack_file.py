"""Reading settings: from a stack file, config/Pulumi.STACK.yaml, or as Pulumi hands them to a program."""

import difflib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel

from gpuctl.settings.checking import check
from gpuctl.settings.environments import NO_ENVIRONMENTS, Environments, Resolve, environments_of
from gpuctl.settings.mistakes import SettingsError, in_the_file, mistakes
from gpuctl.settings.model import SECRETS, Settings
from gpuctl.settings.not_finite import not_finite
from gpuctl.settings.project import PROJECT, config_folder
from gpuctl.settings.refusal import NOT_SET, Problem, StoreSecret, listed, printable
from gpuctl.settings.values import is_encrypted
from gpuctl.settings.yaml_document import MOST_BYTES, YamlError, load


def _is_structured(annotation: Any) -> bool:
    kinds = [get_origin(each) or each for each in (annotation, *get_args(annotation))]
    return any(isinstance(kind, type) and issubclass(kind, tuple | list | dict | BaseModel) for kind in kinds)


_STRUCTURED = {field.alias for field in Settings.model_fields.values() if _is_structured(field.annotation)}
"""Keys of lists and mappings, which Pulumi hands to a program as JSON."""
_STACK_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)
_KNOWN = {field.alias for field in Settings.model_fields.values()}
_MOST_NOTES = 10
_TEXTS = ("secretsprovider", "encryptedkey", "encryptionsalt")
"""Keys at the top of a file, beside `config`, that are Pulumi's own."""


def stack_names(folder: Path | None = None) -> list[str]:
    """The stacks that have a file.

    Args:
        folder: with the stack files; None is that of the project in the working folder.

    Raises:
        ProjectError: the working folder is in no project.
    """
    folder = folder or config_folder()
    return sorted(path.name.split(".", 1)[1].removesuffix(".yaml") for path in folder.glob("Pulumi.*.yaml"))


def read_stack(stack: str, folder: Path | None = None, resolve: Resolve | None = None) -> Settings:
    """The settings in a stack's file.

    Args:
        stack: its name.
        folder: with the stack files; None is that of the project in the working folder.
        resolve: asks Pulumi for the values of environments that the file names.

    Raises:
        SettingsError: there is no such file, it is no stack file, or its settings have mistakes.
    """
    folder = folder or config_folder()
    name = f"Pulumi.{stack}.yaml"
    if _STACK_NAME.fullmatch(stack) and (folder / name).exists():
        return read_stack_file(stack, folder / name, f"config/{name}", resolve)
    known = stack_names(folder)
    if stack in known:
        refuse_misnamed(stack)
    meant = re.sub(r"^Pulumi\.|\.ya?ml$", "", stack.rpartition("/")[2])
    is_written_out = meant != stack and meant in known
    close = [meant] if is_written_out else difflib.get_close_matches(stack[:100], known, n=1)
    option = "--stack " if is_written_out else ""
    hint = f" (did you mean {option}{close[0]}?)" if close else ""
    reason = f"does not exist{hint}; there are: {listed(known, 20) or 'none'}"
    init = shlex.join(["pulumi", "stack", "init", stack])
    command = f"gpuctl capacity --stack {shlex.quote(meant)}" if is_written_out else init
    raise _unreadable(stack, f"config/{name}", reason, command if stack.isprintable() else "gpuctl stacks")


def refuse_misnamed(stack: str) -> None:
    """Makes sure that a file in config/ is named as Pulumi's own command line would name it.

    Raises:
        SettingsError: it is not, so Pulumi has no stack of it, and the name may be anything.
    """
    if _STACK_NAME.fullmatch(stack):
        return
    name = f"config/Pulumi.{stack}.yaml"
    reason = "is not called as a stack can be: up to 100 letters, digits, hyphens, underscores and dots"
    rename = shlex.join(["mv", "--", name, "config/Pulumi.NAME.yaml"])
    raise _unreadable(stack, name, reason, rename if stack.isprintable() else "ls -lb config")


def read_stack_file(stack: str, path: Path, name: str | None = None, resolve: Resolve | None = None) -> Settings:
    """The settings in a stack file that lies anywhere.

    Args:
        stack: named in messages.
        path: of the file.
        name: how messages call the file; None is its path.
        resolve: asks Pulumi for the values of environments that the file names.

    Raises:
        SettingsError: it cannot be read, it is no stack file, or its settings have mistakes.
    """
    name = name or str(path)
    try:
        if path.exists() and not path.is_file():
            raise _unreadable(stack, name, "is not a file")
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise _unreadable(stack, name, f"cannot be read: {error}") from error
    return parse_stack(stack, text, name, resolve)


def parse_stack(stack: str, text: str, name: str, resolve: Resolve | None = None) -> Settings:
    """The settings in the text of a stack file.

    Args:
        stack: named in messages.
        text: YAML.
        name: how messages call the file.
        resolve: asks Pulumi for the values of environments that the file names; None leaves them out, with a warning.

    Raises:
        SettingsError: it is no stack file, or its settings have mistakes.
    """
    try:
        document = load(text)
    except YamlError as error:
        raise _unreadable(stack, name, str(error)) from error
    if document is None:
        return _settings(stack, {}, name)
    top = cast(dict[str, object], document) if isinstance(document, dict) else {"config": document}
    config: object = top.get("config")
    if config is None:  # all that `pulumi stack init` writes is the stack's own salt
        config = {}
    if not isinstance(config, dict):
        raise _unreadable(stack, name, "is not a mapping with a mapping `config:` in it")
    keys = cast(dict[str, object], config)
    if refused := not_finite(keys, name):
        raise SettingsError(stack, refused)
    own, wrong = _own(keys)
    if wrong:
        raise _unreadable(stack, name, f"is refused by Pulumi: {listed(wrong, separator='; ')}")
    wrong = [f"{key} is not a text" for key in _TEXTS if isinstance(top.get(key), dict | list)]
    if wrong:
        raise _unreadable(stack, name, f"is refused by Pulumi: {listed(wrong, separator='; ')}")
    environments = environments_of(stack, top.get("environment"), resolve)
    notes = [*_near_namespaces(keys), *environments.warnings(stack, name)]
    plain = [
        Problem(
            (key,),
            "",
            "is stored as plain text, and it is a secret: change it, and encrypt the new one",
            [StoreSecret()],
        )
        for key in SECRETS
        if own.get(key) not in (None, "") and not is_encrypted(own[key])
    ]
    return _settings(stack, own, name, notes, plain, environments)


def read_config(stack: str, config: Mapping[str, object]) -> Settings:
    """The settings in a stack's configuration, as Pulumi hands it to a program: complete, decrypted.

    Args:
        stack: named in messages.
        config: full key, such as `gpu:slices`, to value; `gpu:` may be left out, and keys of other projects
            and providers are not looked at. Lists may be JSON texts, which is how Pulumi passes them.

    Raises:
        SettingsError: the settings have mistakes; with all of them.
    """
    own, wrong = _own(config)
    name = f"config/Pulumi.{stack}.yaml"
    if wrong:
        raise _unreadable(stack, name, f"is refused by Pulumi: {listed(wrong, separator='; ')}")
    return _settings(stack, {key: _parsed(key, value) for key, value in own.items()}, name)


def _settings(
    stack: str,
    own: Mapping[str, object],
    name: str,
    notes: Sequence[str] = (),
    more: Sequence[Problem] = (),
    environments: Environments = NO_ENVIRONMENTS,
) -> Settings:
    """The settings that values mean.

    Args:
        stack: named in messages.
        own: key without `gpu:` -> value.
        name: how messages call the file.
        notes: become warnings.
        more: problems that were found already.
        environments: that the file names; they set what it lacks.
    """
    values, of_environments = environments.on_top(own, PROJECT)
    checked = check(values, notes)
    if isinstance(checked, Settings) and not more:
        return checked
    found = [*([] if isinstance(checked, Settings) else checked), *more]
    if notes and environments.names:
        missing = f"is required, and the environment {environments.names}, which may set it, is not resolved here"
        found = [replace(each, reason=missing) if _is_missing(each) else each for each in found]
    said = mistakes(stack, found, name, values)
    for index, each in enumerate(found):
        if each.path[0] in of_environments:
            said[index] = replace(said[index], command=environments.command(stack))
    raise SettingsError(stack, said)


def _is_missing(problem: Problem) -> bool:
    return problem.value is NOT_SET and len(problem.path) == 1


def _own(config: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """The keys of this project without their namespace, and what keeps Pulumi from reading the keys at all."""
    own: dict[str, object] = {}
    wrong: list[str] = []
    for key, value in config.items():
        namespace, _, name = key.rpartition(":")
        if not namespace and ":" not in key:
            namespace = PROJECT
        namespace = re.sub(r"(?<=\w):config$", "", namespace)  # which Pulumi takes as well, for old files
        if ":" in namespace:
            wrong.append(f"{key!r} is not a key, which is NAMESPACE:NAME")
        elif namespace == PROJECT and name in own:
            wrong.append(f"gpu:{name} is there twice, with and without its namespace, and either one would count")
        elif namespace == PROJECT:
            own[name] = value
    return own, wrong


def _near_namespaces(config: Mapping[str, object]) -> list[str]:
    """Keys of this project in a namespace that is nearly its own, which Pulumi keeps for another project."""
    near: list[str] = []
    for key in config:
        namespace, colon, name = key.rpartition(":")
        folded = namespace.strip().lower()
        is_near = folded == PROJECT or bool(difflib.get_close_matches(folded[:20], [PROJECT], cutoff=0.6))
        if colon and namespace != PROJECT and name.strip() in _KNOWN and is_near and not namespace.endswith(":config"):
            near.append(
                f"{printable(key)} is not read: its namespace is not {PROJECT} (did you mean gpu:{name.strip()}?)"
            )
    return near[:_MOST_NOTES]


def _parsed(key: str, value: object) -> object:
    if key in _STRUCTURED and isinstance(value, str) and value.startswith(("[", "{")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _unreadable(stack: str, name: str, reason: str, command: str | None = None) -> SettingsError:
    return SettingsError(stack, [in_the_file(name, reason, command)])
