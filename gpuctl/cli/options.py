"""Options that several verbs have."""

import sys
from typing import Annotated

import typer

from gpuctl.settings import Settings, read_stack, stack_names

Stack = Annotated[
    str,
    typer.Option(metavar="NAME", help=f"The stack, which is config/Pulumi.NAME.yaml: {', '.join(stack_names())}."),
]


def settings_of(stack: str) -> Settings:
    """A stack's settings; what cannot be vouched for is told on standard error.

    Raises:
        SettingsError: they have mistakes.
    """
    settings = read_stack(stack)
    for warning in settings.warnings:
        print(f"gpuctl: warning: {warning}", file=sys.stderr)
    return settings
