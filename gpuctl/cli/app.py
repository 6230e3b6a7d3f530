"""gpuctl: what a stack file asks of a cluster's GPUs. `gpuctl --help` starts it."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, TextIO, cast

import typer

from gpuctl import __version__
from gpuctl.cli.verbs import group_of
from gpuctl.forms.exits import Exit
from gpuctl.forms.output import complain

_HELP = """\
Shares the NVIDIA GPUs of a Talos cluster, at a power limit, and proves it.

`pulumi up` makes a cluster what its stack file says; gpuctl says what that will be, and whether it is.

gpuctl init lab                       the stack file of a cluster, from what its nodes show
gpuctl capacity --stack lab           the figures that the cluster must show
gpuctl talos patch --stack lab        the Talos patches that its nodes need
gpuctl verify --stack lab --wait 5m   whether the cluster is what it must be
gpuctl doctor --stack lab             why it is not, and what fixes it

A stack is config/Pulumi.NAME.yaml, or the file that PULUMI_OPTION_CONFIG_FILE names, as for pulumi itself.
"""
_WIDTH = 80
_FIRST = "What a cluster has (its first stack file, and what it is taken over from)"
_BEFORE, _AFTER = "What a cluster must be (from the stack file alone)", "What a cluster is (asks the cluster)"

_VERBS = group_of(
    {
        _FIRST: ("init", "adopt"),
        _BEFORE: ("capacity", "stacks", "plan", "render", "talos"),
        _AFTER: ("verify", "status", "usage", "power", "doctor"),
    }
)

app = typer.Typer(
    cls=_VERBS,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from gpuctl.settings.talos_tables import RELEASES, TALOS_MINORS, format_minor

        first, last = format_minor(TALOS_MINORS[0]), format_minor(TALOS_MINORS[-1])
        print(f"gpuctl {__version__}")
        print(f"Python {sys.version.split()[0]}")
        print(f"Talos {first} to {last}; drivers known up to {list(RELEASES)[-1]}")
        raise typer.Exit


@app.callback()
def _common(  # pyright: ignore[reportUnusedFunction] (typer calls it)
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and the Talos it knows."
        ),
    ] = False,
) -> None: ...


def main() -> None:
    """Runs the command line; what a user can fix is said without a traceback."""
    sys.stdout, sys.stderr = _usable(sys.stdout), _usable(sys.stderr)
    if not sys.stdout.isatty():  # help is cut below this width, and a pipe has none of its own
        os.environ["COLUMNS"] = str(max(get_terminal_size().columns, _WIDTH))
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except Exception as error:
        from gpuctl.settings import SettingsError

        if not isinstance(error, SettingsError | OSError):
            raise
        with suppress(OSError):  # standard error takes nothing either
            complain(f"gpuctl: error: {_reason(error)}")
        if isinstance(error, OSError):
            sys.stdout = _nowhere()  # what it could not take it is not asked to take once more
        sys.exit(Exit.MISTAKE)


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.filename or 'the output'}: {error.strerror or error}"


def _usable(stream: TextIO | None) -> TextIO:
    """A stream that is open, and to which a name that it cannot print is no reason to fail."""
    if stream is None:  # closed by the shell
        return _nowhere()
    cast("TextIOWrapper", stream).reconfigure(errors="replace")
    return stream


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w")
