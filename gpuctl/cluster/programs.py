"""Other command-line programs, which know what the Kubernetes API does not tell."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

_NO_ANSWER, _CANNOT_BE_RUN = 124, 126


class Ran(NamedTuple):
    """What a program did."""

    stdout: str
    stderr: str
    exit_code: int
    """124 when it was ended because it took too long, 126 when the system does not run it."""

    @property
    def reason(self) -> str:
        """Why it failed, in its own words."""
        lines = [line.strip() for line in f"{self.stdout}\n{self.stderr}".splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return (errors or lines or [f"exit code {self.exit_code}"])[-1]


class Programs(Protocol):
    """The programs of this machine."""

    def run(self, *command: str, seconds: float = 60) -> Ran | None:
        """Runs a program; None when it is not installed."""
        ...


class InstalledPrograms:
    """Those on the PATH."""

    def run(self, *command: str, seconds: float = 60) -> Ran | None:
        """Runs a program without input; None when it is not installed."""
        if shutil.which(command[0]) is None:
            return None
        try:
            return ended(command, seconds)
        except OSError as error:
            return Ran("", f"{command[0]} cannot be run: {error.strerror}", _CANNOT_BE_RUN)
        except subprocess.TimeoutExpired:
            return Ran("", f"no answer within {seconds:g} s", _NO_ANSWER)


def ended(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None, *, at_terminal: bool = False
) -> Ran:
    """What a program did, which is ended with all that it started when it takes too long.

    Args:
        command: program and arguments.
        seconds: it may take.
        environment: its variables; None is those of this program.
        at_terminal: the person there sees what it asks, and answers.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it took too long.
    """
    with subprocess.Popen(
        command,
        env=environment,
        stdin=None if at_terminal else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if at_terminal else subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=not at_terminal,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except BaseException:
            process.kill() if at_terminal else os.killpg(process.pid, signal.SIGKILL)
            raise
    return Ran(stdout, stderr or "", process.returncode)


def json_documents(text: str) -> Iterator[dict[str, Any]]:
    """JSON documents one after the other, as talosctl prints them.

    Raises:
        ValueError: what comes next is none.
    """
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        yield document
        rest = rest[end:].lstrip()
