"""gpuctl: what a stack file asks of a cluster's GPUs. `gpuctl --help` starts it."""

import sys

import typer

from gpuctl.cli.capacity import capacity
from gpuctl.cli.render import render
from gpuctl.cli.talos import talos
from gpuctl.cli.verify import verify
from gpuctl.settings import SettingsError

MISTAKE = 2
"""Exit code of a usage or configuration error."""

_HELP = """\
What a stack file asks of a cluster's GPUs, computed without Pulumi and without the cluster.

The figures are those that `pulumi up` puts into the stack's outputs: they come from the same functions.

gpuctl capacity --stack lab

gpuctl talos patch --stack lab

gpuctl render --stack lab | kubectl apply --server-side --dry-run=server -f -
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(capacity)
app.command()(render)
app.command()(verify)
app.add_typer(talos, name="talos")


def main() -> None:
    """Runs the command line; what a user can mend is told without a traceback."""
    try:
        app()
    except SettingsError as error:
        print(f"gpuctl: error: {error}", file=sys.stderr)
        sys.exit(MISTAKE)
