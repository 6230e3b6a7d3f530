"""gpuctl talos: the Talos side of a stack."""

import typer

from gpuctl.cli.talos_check import check
from gpuctl.cli.talos_patch import patch
from gpuctl.cli.talos_schematic import schematic

_HELP = "What the Talos configuration and the boot image of GPU nodes must contain; nothing is applied."

talos = typer.Typer(help=_HELP, no_args_is_help=True)
talos.command()(patch)
talos.command()(schematic)
talos.command()(check)
