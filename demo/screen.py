"""The demo's screen: every command before its output, and what was expected when a figure is another."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from demo.stack import REPOSITORY

_POLL_SECONDS = 0.25


class DemoError(Exception):
    """The demo cannot go on; the message is for the reader."""


class Screen:
    """Runs commands in the repository and shows them as a reader would type them."""

    def __init__(self) -> None:
        self.environment: Mapping[str, str] | None = None
        """Of the commands; None is this process's own."""
        self._console = Console(highlight=False, soft_wrap=True)
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the screen was made."""
        return time.monotonic() - self._begin

    def title(self, text: str) -> None:
        """A heading, with the seconds since the start."""
        self._print(f"\n== {text} ({self.seconds:.0f} s)", "bold cyan")

    def say(self, text: str) -> None:
        """A sentence."""
        self._print(text)

    def run(self, *command: str) -> None:
        """Shows and runs a command; its output goes to the screen as it comes.

        Raises:
            DemoError: it failed.
        """
        self._show(command)
        code = self.run_quietly(*command)
        if code:
            raise DemoError(f"`{shlex.join(command)}` ended with code {code}")

    def run_quietly(self, *command: str) -> int:
        """Runs a command without showing it, only what it prints; returns its exit code.

        Ctrl-C reaches the command too, and is passed on only when the command has ended by itself: Pulumi then
        leaves no lock behind.
        """
        with subprocess.Popen(_real(command), cwd=REPOSITORY, env=self.environment, stdin=subprocess.DEVNULL) as child:
            try:
                return child.wait()
            except KeyboardInterrupt:
                child.wait()
                raise

    def until(
        self, claim: str, command: tuple[str, ...], read: Callable[[str], Any], expected: Any, seconds: int
    ) -> str:
        """Repeats a command until what is read from its output is as expected; shows it once, with its last output.

        Args:
            claim: what the expected figure means, for the reader.
            command: prints the figure.
            read: finds the figure in the output.
            expected: the figure.
            seconds: how long it may take.

        Returns:
            The command's last output.

        Raises:
            DemoError: it took longer; says what was expected and what was seen.
        """
        self._show(command)
        deadline = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                _real(command),
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            seen = read(done.stdout)
            if seen == expected or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        self._print(f"{done.stdout}{done.stderr}".rstrip())
        if seen != expected:
            raise DemoError(f"{claim}: not within {seconds} s\n  expected: {expected}\n  seen:     {seen}")
        self._print(f"=> {claim}", "green")
        return done.stdout

    def fail(self, message: str) -> None:
        """Says why the demo ends early."""
        self._print(f"\ndemo: {message}", "red")

    def _show(self, command: tuple[str, ...]) -> None:
        self._print(f"$ {shlex.join(command)}", "bold")

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False)
        sys.stdout.flush()


def _real(command: tuple[str, ...]) -> list[str]:
    """`python` is the one that runs this, and `gpuctl` this checkout's, whatever PATH says."""
    own = {"python": [sys.executable], "gpuctl": [sys.executable, "-m", "gpuctl"]}
    return [*own.get(command[0], command[:1]), *command[1:]]
