"""The file that `gpuctl init` writes: new, and one that the product's own reader takes."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from gpuctl.cli.options import STACK_FILE
from gpuctl.forms.command import command
from gpuctl.forms.exits import Exit
from gpuctl.forms.output import complain
from gpuctl.settings import Settings, config_folder

if TYPE_CHECKING:
    from gpuctl.init.draft import Answers, Draft
    from gpuctl.init.look import View
    from gpuctl.settings.refusal import Problem

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_OPTIONS = {
    "powerLimit": "--watts",
    "circuitWatts": "--circuit",
    "talosVersion": "--talos-version",
    "slices": "--slices",
}
"""Key of a stack file -> the option that says it."""


def new_file(stack: str) -> Path:
    """Where the stack file belongs; refused where there is one."""
    if not _NAME.fullmatch(stack):
        problem = f"{stack[:100]!r} is not the name of a stack: letters, digits, hyphens, underscores and dots"
        raise typer.BadParameter(problem, param_hint="STACK")
    elsewhere = os.environ.get(STACK_FILE)
    file = Path(elsewhere) if elsewhere else config_folder() / f"Pulumi.{stack}.yaml"
    if file.exists() or file.is_symlink():
        _refuse_to_overwrite(file, stack)
    return file


def _refuse_to_overwrite(file: Path, stack: str) -> NoReturn:
    kept = command("mv", shown(file), f"{shown(file)}.old")
    complain(
        f"gpuctl: error: {shown(file)} exists already, and init overwrites nothing. See what it says: "
        f"{command('gpuctl', 'capacity', '--stack', stack)}; or begin anew: {kept}"
    )
    raise typer.Exit(Exit.MISTAKE)


def checked(stack: str, file: Path, view: "View", answers: "Answers") -> "tuple[Draft, Settings]":
    """The stack file, which the product's own reader takes; refused where it does not."""
    from gpuctl.init.draft import draft
    from gpuctl.settings.checking import check
    from gpuctl.settings.stack_file import parse_stack

    made = draft(stack, view, answers)
    found = check(made.values)
    if isinstance(found, list):
        lines = ["gpuctl: error: the stack file would not pass, so nothing is written", *map(_refusal, found)]
        complain("\n".join(lines))
        raise typer.Exit(Exit.MISTAKE)
    return made, parse_stack(stack, made.text, shown(file))


def _refusal(problem: "Problem") -> str:
    """A problem, and the option that avoids it where there is one."""
    from gpuctl.settings.refusal import SetValue, path_text, printable

    values = [
        (path_text(each.path or problem.path), each.value) for each in problem.remedies if isinstance(each, SetValue)
    ]
    fix = "; ".join(f"{_OPTIONS[key]} {value}" for key, value in values if key in _OPTIONS)
    said = f"  gpu:{path_text(problem.path)} = {printable(str(problem.value))}: {problem.reason}"
    return f"{said}. Fix it: {fix}" if fix else said


def write(file: Path, text: str) -> None:
    """Writes a file that is not there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as new:  # never one that somebody wrote meanwhile
            new.write(text)
    except FileExistsError:
        _refuse_to_overwrite(file, file.name)


def shown(file: Path) -> str:
    """A path as messages have it."""
    return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)
