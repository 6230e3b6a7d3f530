"""Mistakes in settings, one line each: the key, its value, what is wrong, and the command that fixes it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from gpuctl.settings.explaining import Hidden, described, example_of, plain
from gpuctl.settings.model import SECRETS
from gpuctl.settings.refusal import (
    NOT_SET,
    EditFile,
    Path,
    Problem,
    Remedy,
    RemoveKey,
    SetValue,
    StorePlain,
    StoreSecret,
    is_writable,
    path_text,
    printable,
)
from gpuctl.settings.values import is_encrypted

_MOST_SHOWN = 30
_LONGEST_REASON = 1500


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
        lines = [f"  {mistake}" for mistake in mistakes[:_MOST_SHOWN]]
        if len(mistakes) > _MOST_SHOWN:
            lines.append(f"  and {len(mistakes) - _MOST_SHOWN} more, to be seen once these are fixed")
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        text = "\n".join(lines)
        super().__init__(f"stack {printable(stack)}: {count} in its settings, so nothing is done\n{text}")
        self.mistakes = list(mistakes)


def in_the_file(name: str, reason: str, command: str | None = None) -> Mistake:
    """A mistake that is not about one key; without a command it is fixed by hand."""
    return Mistake(printable(name, 300), "stack file", printable(reason, _LONGEST_REASON), command or edit(name))


def edit(name: str) -> str:
    """The command that opens a file, or shows that its name does not print."""
    return f"${{EDITOR:-vi}} {shlex.quote(name)}" if name.isprintable() else "ls -lb"


def mistakes(stack: str, problems: Sequence[Problem], name: str, raw: Mapping[str, object]) -> list[Mistake]:
    """What is wrong, in the words of a stack file, in the order in which the commands can be run.

    Args:
        stack: that the commands name.
        problems: in that order.
        name: of the stack file, for what is fixed by hand.
        raw: the values they were found in.
    """
    commands = _Commands(stack, name, _names(raw))
    return [
        Mistake(
            key=f"gpu:{printable(path_text(problem.path))}",
            value=_shown(problem),
            reason=printable(_reason(problem), _LONGEST_REASON),
            command=commands.of(problem),
        )
        for problem in problems
    ]


def _reason(problem: Problem) -> str:
    """A key that is missing says what it is for."""
    return f"{problem.reason}. {described(problem.path)}" if problem.value is NOT_SET else problem.reason


def _names(raw: Mapping[str, object]) -> set[str]:
    nodes = raw.get("nodes")
    entries = cast(list[object], nodes) if isinstance(nodes, list) else []
    return {str(cast(dict[str, object], node).get("name")) for node in entries if isinstance(node, dict)}


class _Commands:
    """The commands for one file: run one after the other, none undoes what another does."""

    def __init__(self, stack: str, name: str, names: set[str]) -> None:
        self._stack = stack
        self._edit = edit(name)
        self._names = names
        self._removed: list[int] = []
        self._set: set[Path] = set()

    def of(self, problem: Problem) -> str:
        """The command for one problem, or several of which each needs the one before it."""
        remedies = [self._at(each, problem.path) for each in problem.remedies or [example_of(problem.path)]]
        if not all(map(_is_a_command, remedies)):
            return self._edit
        values = {each.path for each in remedies if isinstance(each, SetValue)}
        if len(values) < len(remedies) and values & self._set:  # what is moved must not overwrite what was moved before
            return self._edit
        self._set |= values
        return " && ".join(dict.fromkeys(map(self._command, remedies)))

    def _at(self, remedy: Remedy, path: Path) -> Remedy:
        match remedy:
            case SetValue(value, at):
                where = at or path
                return SetValue(self._new_name(value) if _is_a_name(where) else value, where)
            case EditFile():
                return remedy
            case _:
                return type(remedy)(remedy.path or path)

    def _new_name(self, wanted: str) -> str:
        """A node name that no node has."""
        name, number = wanted, 2
        while name in self._names:
            name, number = f"{wanted[:240]}-{number}", number + 1
        self._names.add(name)
        return name

    def _command(self, remedy: Remedy) -> str:
        match remedy:
            case SetValue(value, path):
                return self._pulumi("set", path, value)
            case StoreSecret(path):
                return f"{self._pulumi('set', path, '--secret')} <FILE"
            case StorePlain(path):
                return f'{self._pulumi("set", path, "--plaintext")} "$({self._pulumi("get", path)})"'
            case RemoveKey(path):
                return self._pulumi("rm", self._present(path))
            case EditFile():
                return self._edit

    def _present(self, path: Path) -> Path:
        """Where an entry is once those that commands before this one remove are gone."""
        if len(path) != 2 or not isinstance(path[1], int):
            return path
        index = path[1]
        here = index - sum(gone < index for gone in self._removed)
        self._removed.append(index)
        return (path[0], here)

    def _pulumi(self, verb: str, path: Path, *words: str) -> str:
        options = [word for word in words if word in ("--secret", "--plaintext")]
        values = [word for word in words if word not in options]
        structured = ["--path"] if len(path) > 1 else []
        end = ["--"] if any(value.startswith("-") for value in values) else []
        command = ["pulumi", "config", verb, "--stack", self._stack, *options, *structured]
        return shlex.join([*command, *end, f"gpu:{path_text(path)}", *values])


def _is_a_command(remedy: Remedy) -> bool:
    if isinstance(remedy, EditFile) or not is_writable(remedy.path):
        return False
    return not isinstance(remedy, SetValue) or remedy.value.isprintable()


def _is_a_name(path: Path) -> bool:
    return len(path) == 3 and path[0] == "nodes" and path[2] == "name"


def _shown(problem: Problem) -> str:
    value = problem.value
    if isinstance(value, Hidden):
        if value.kind:
            return value.kind
        value = value.value
    if problem.path[-1] in SECRETS and isinstance(value, str):
        return "a text"
    if value is NOT_SET:
        return "not set"
    if is_encrypted(value):
        return "a secret"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "[]"
    if isinstance(value, str) and "\n" in value:
        return "a text of several lines"
    return printable(plain(value)) if str(value).strip() else repr(value)
