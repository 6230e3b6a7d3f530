"""Verbs that are loaded when they are called: each start pays for what it needs only."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from gpuctl.forms.text import harmless


def group_of(verbs: Mapping[str, Sequence[str]]) -> type[TyperGroup]:
    """A group of verbs in the order in which help shows them.

    Args:
        verbs: heading in help to verbs, each of which is a function or a Typer in the module of its name here.
    """
    panels = {name: panel for panel, names in verbs.items() for name in names}

    class Verbs(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = dict[str, Any].fromkeys(panels)  # a misspelt one is compared with these

        def make_context(self, *arguments: Any, **settings: Any) -> Any:
            with _harmless():
                return super().make_context(*arguments, **settings)

        def invoke(self, ctx: Any) -> Any:
            with _harmless():
                return super().invoke(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 (the base class has it)
            if cmd_name in panels and self.commands[cmd_name] is None:
                self.commands[cmd_name] = _loaded(cmd_name, panels[cmd_name])
            return self.commands.get(cmd_name)

    return Verbs


@contextmanager
def _harmless() -> Generator[None]:
    """What a refusal quotes of the command line, of a file or of git shows, and steers nothing."""
    try:
        yield
    except typer.TyperException as error:
        error.message = harmless(error.message)
        raise


def _loaded(name: str, panel: str) -> Any:
    verb = getattr(import_module(f"gpuctl.cli.{name}"), name)
    if isinstance(verb, typer.Typer):
        command: Any = typer.main.get_group(verb)  # of one verb, too
        command.name, command.rich_help_panel = name, panel
        return command
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name, rich_help_panel=panel)(verb)
    return typer.main.get_command(alone)
