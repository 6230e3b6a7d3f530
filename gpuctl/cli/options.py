"""Options that several verbs have."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuctl.forms.output import Output, complain
from gpuctl.settings import ProjectError, Settings, UnresolvedError, read_stack, read_stack_file, stack_names
from gpuctl.settings.refusal import listed

if TYPE_CHECKING:
    from gpuctl.cluster import Cluster

STACK_FILE = "PULUMI_OPTION_CONFIG_FILE"
"""Pulumi's own variable: the stack file that `pulumi up` reads instead of the one in config/."""


_STACK_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]{0,300}")
"""As Pulumi has it, also with organization and project: nothing that a shell would take for more than a name."""
_MOST_NAMES = 20


def known_stacks() -> str:
    """The stacks that have a file and can be named, for the help of an option; it must not fail without any."""
    try:
        return listed([name for name in stack_names() if _STACK_NAME.fullmatch(name)], _MOST_NAMES) or "there is none"
    except ProjectError:
        return "there is none in this folder"


def _named(chosen: str | list[str] | None) -> str | list[str] | None:
    for name in [chosen] if isinstance(chosen, str) else chosen or []:
        if not _STACK_NAME.fullmatch(name):
            raise typer.BadParameter(
                f"{name[:100]!r} is not the name of a stack: letters, digits, hyphens, underscores and dots; "
                f"there are: {known_stacks()}"
            )
    return chosen


def _complete_stack(incomplete: str) -> list[str]:
    """The stacks whose names begin so, for a shell."""
    with suppress(ProjectError):
        return [name for name in stack_names() if name.startswith(incomplete)]
    return []


def complete_context(incomplete: str) -> list[str]:
    """The contexts of the kubeconfig whose names begin so, for a shell."""
    from gpuctl.cluster import ClusterError
    from gpuctl.cluster.kubeconfig import contexts

    with suppress(ClusterError):
        return [name for name in contexts() if name.startswith(incomplete)]
    return []


_KNOWN = known_stacks()
Stack = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        callback=_named,
        autocompletion=_complete_stack,
        help=f"The stack, which is config/Pulumi.NAME.yaml: {_KNOWN}.",
    ),
]
_STACKS = typer.Option(
    "--stack",
    metavar="NAME",
    callback=_named,
    autocompletion=_complete_stack,
    help=f"A stack, as often as there are clusters to look at: {_KNOWN}.",
)
Stacks = Annotated[list[str] | None, _STACKS]
SomeStacks = Annotated[list[str], _STACKS]
"""Stacks, of which one must be named."""


def output_option(help_: str, *offered: Output) -> Any:
    """The option by which the form of an answer is chosen, of those that a verb offers."""

    def chosen(text: str) -> Output:
        if text not in offered:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(offered)}")
        return Output(text)

    def completed(incomplete: str) -> list[str]:
        return [each.value for each in offered if each.startswith(incomplete)]

    return typer.Option(
        "--output", "-o", parser=chosen, metavar=f"[{'|'.join(offered)}]", help=help_, autocompletion=completed
    )


OutputOption = Annotated[Output, output_option("For people or for machines.", Output.table, Output.json)]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_DAYS = 36500


def duration(text: str | timedelta) -> timedelta:
    """A length of time as people write it, such as `90s`, `5m` or `1h30m`; the parser of an option.

    Raises:
        typer.BadParameter: it is none, or longer than a clock can count back.
    """
    if isinstance(text, timedelta):  # an option's default
        return text
    if not re.fullmatch(r"(\d+[smhd])+", text):
        raise typer.BadParameter(f"{text!r} is no length of time: write 90s, 5m, 1h30m or 2d")
    seconds = sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([smhd])", text))
    if seconds > _MOST_DAYS * _UNITS["d"]:
        raise typer.BadParameter(f"{text!r} is too long: at most {_MOST_DAYS}d")
    return timedelta(seconds=seconds)


def settings_of(stack: str) -> Settings:
    """A stack's settings; what cannot be vouched for is reported on standard error.

    Raises:
        SettingsError: they have mistakes.
    """
    settings = silent_settings_of(stack)
    for warning in settings.warnings:
        complain(f"gpuctl: warning: {warning}")
    return settings


def silent_settings_of(stack: str) -> Settings:
    """A stack's settings, from the same file that `pulumi up --stack` would read here.

    Raises:
        SettingsError: they have mistakes.
    """
    elsewhere = os.environ.get(STACK_FILE)
    if elsewhere:
        return read_stack_file(stack, Path(elsewhere), resolve=resolved)
    return read_stack(stack, resolve=resolved)


def resolved(stack: str) -> Mapping[str, object]:
    """A stack's configuration with the values of its Pulumi ESC environments, which the Pulumi command line knows.

    Raises:
        UnresolvedError: it is not installed, or gave no answer.
    """
    from gpuctl.cluster.programs import InstalledPrograms  # only few stacks have environments

    ran = InstalledPrograms().run("pulumi", "config", "--json", "--non-interactive", "--stack", stack, seconds=30)
    if ran is None:
        raise UnresolvedError("pulumi is not installed")
    if ran.exit_code:
        raise UnresolvedError(ran.stderr.strip().removeprefix("error: ") or f"pulumi ended with {ran.exit_code}")
    try:
        answer = json.loads(ran.stdout)
        return {key: _resolved_value(entry) for key, entry in answer.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise UnresolvedError("the answer of `pulumi config --json` could not be read") from error


def _resolved_value(entry: Mapping[str, object]) -> object:
    """A value as a stack file would have it; a secret stays one."""
    if entry.get("secret"):
        return {"secure": ""}
    return entry.get("objectValue", entry.get("value"))


def by_kubeconfig(settings: Settings) -> "Cluster":
    """The cluster of the context that a stack names; it is not spoken to yet.

    Raises:
        ClusterError: there is no kubeconfig or no such context.
    """
    from gpuctl.cluster import connect

    return connect(settings.context, settings.kubeconfig)
