"""gpuctl: what a stack file asks of a cluster's GPUs. `gpuctl --help` starts it."""

import sys
from io import TextIOWrapper
from typing import Annotated, cast

import typer

from gpuctl import __version__
from gpuctl.cli.verbs import group_of

MISTAKE = 2
"""Exit code of a usage or configuration error."""

_HELP = """\
Shares the NVIDIA GPUs of a Talos cluster, at a power limit, and proves it.

`pulumi up` makes a cluster what its stack file says; gpuctl says what that will be, and whether it is.

gpuctl capacity --stack lab           the figures that the cluster must show
gpuctl talos patch --stack lab        the Talos patches that its nodes need
gpuctl verify --stack lab --wait 5m   whether the cluster is what it must be
gpuctl doctor --stack lab             why it is not, and what fixes it

A stack is config/Pulumi.NAME.yaml, or the file that PULUMI_OPTION_CONFIG_FILE names, as for pulumi itself.
"""
_BEFORE, _AFTER = "What a cluster must be (from the stack file alone)", "What a cluster is (asks the cluster)"

_VERBS = group_of(
    {_BEFORE: ("capacity", "stacks", "plan", "render", "talos"), _AFTER: ("verify", "status", "power", "doctor")}
)

app = typer.Typer(cls=_VERBS, help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gpuctl {__version__}")
        raise typer.Exit


@app.callback()
def _common(  # pyright: ignore[reportUnusedFunction] (typer calls it)
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


def main() -> None:
    """Runs the command line; what a user can fix is told without a traceback."""
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="replace")  # a log line it cannot print is no reason to fail
    try:
        app()
    except Exception as error:
        from gpuctl.settings import SettingsError

        if not isinstance(error, SettingsError):
            raise
        print(f"gpuctl: error: {error}", file=sys.stderr)
        sys.exit(MISTAKE)
