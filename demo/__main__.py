"""Command line of the demo: `python -m demo`, or `make demo`."""

import signal
import sys
from typing import Annotated

import typer

from demo.screen import DemoError, Screen
from demo.story import Story, down_command, shell_command
from gpuctl.forms.exits import Exit
from testbed.errors import BedError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    name: Annotated[str, typer.Option(help="The test bed's cluster to show it on.")] = "demo",
    talos: Annotated[str, typer.Option(metavar="VERSION", help="The node runs Talos, such as v1.13.9.")] = "",
) -> None:
    """Share two simulated RTX 3090 between nine pods on a real kubelet, and read every figure from the cluster.

    May be repeated: a cluster that is up is used again and brought back to the start.
    """
    screen = Screen()
    story = Story(screen, name, talos)
    try:
        story.tell()
    except (DemoError, BedError, OSError) as error:
        screen.fail(f"{error}\nEverything stays for a look ({shell_command(name)}) until: {down_command(name)}")
        sys.exit(Exit.FOUND)
    except KeyboardInterrupt:
        screen.fail("interrupted")
        story.remove_pods()
        screen.say(f"A cluster that was up stays; to take it down: {down_command(name)}")
        sys.exit(Exit.INTERRUPTED)
    screen.say(f"\ndemo: done in {screen.seconds:.0f} s")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a job that is cancelled cleans up like Ctrl-C
    app()
