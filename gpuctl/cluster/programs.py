"""Other command-line programs, which know what the Kubernetes API does not tell."""

import shutil
import subprocess
from typing import NamedTuple, Protocol

_NO_ANSWER = 124


class Ran(NamedTuple):
    """What a program did."""

    stdout: str
    stderr: str
    exit_code: int
    """124 when it was ended because it took too long."""

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
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return Ran("", f"no answer within {seconds:g} s", _NO_ANSWER)
        return Ran(done.stdout, done.stderr, done.returncode)
