"""gpuctl power: what the GPUs of a stack draw."""

import typer

from gpuctl.cli.power_history import history

power = typer.Typer(
    help="What the GPUs of a stack draw, from the lines of the power-limit agent.", no_args_is_help=True
)
power.command()(history)
