"""Command line of the benchmarks: `python -m bench`, or `make bench`."""

from typing import Annotated

import typer

from bench import agent, preview, scale, start_up, usage

_BENCHMARKS = {
    "start-up": start_up.run,
    "scale": scale.run,
    "largest": scale.run_largest,
    "preview": preview.run,
    "agent": agent.run,
    "usage": usage.run,
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    only: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help=", ".join(_BENCHMARKS))] = None,
) -> None:
    """Print what the project costs on this machine."""
    for name in only or _BENCHMARKS:
        print(f"== {name}", flush=True)
        _BENCHMARKS[name]()


if __name__ == "__main__":
    app()
