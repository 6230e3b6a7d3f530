"""Daemons of the test bed: started in a session of their own, recorded, and stopped by that record alone.

A daemon `etcd` of the folder D has its log in D/log/etcd.log and its record in D/etcd.pid: the process id
and the kernel's start time of that process, so that a process id used again is never taken for the daemon.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.errors import BedError

_POLL_SECONDS = 0.02
_RECORD_SECONDS = 60
_INTERRUPTED_SECONDS = 0.5
_LOG_TAIL_LINES = 12
_START_TIME_FIELD = 22
"""Of /proc/PID/stat, counted from 1; see proc(5)."""

_RECORD_AND_BECOME = (
    f"""echo "$$ $(cut -d' ' -f{_START_TIME_FIELD} /proc/$$/stat)" >"$0.draft" """
    """&& mv "$0.draft" "$0" && exec "$@" """
)


def start(directory: Path, name: str, command: Sequence[str]) -> None:
    """Starts a daemon that outlives this process; returns once it is recorded, which is before it is ready.

    The daemon writes its record itself before it becomes the command, so that there is no moment in which it
    runs unrecorded, whatever happens to this process. It gets no proxy: all it talks to is on this machine.
    """
    record = _record(directory, name)
    record.unlink(missing_ok=True)
    log = log_file(directory, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as output:
            subprocess.run(
                ["setsid", "--fork", "sh", "-c", _RECORD_AND_BECOME, str(record), *command],
                env={key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=True,
            )
        _wait_for_record(directory, name, _RECORD_SECONDS)
    except KeyboardInterrupt:  # it may be on its way already, and whoever cleans up looks for its record
        with contextlib.suppress(BedError):
            _wait_for_record(directory, name, _INTERRUPTED_SECONDS)
        raise


def stop(directory: Path, name: str, seconds: float = 10) -> None:
    """Ends a daemon: SIGTERM, after `seconds` SIGKILL. Nothing happens when it does not run."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 60)):
        running = pid(directory, name)
        if running is None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(running, number)
        _wait_for_end(directory, name, patience)
    if alive(directory, name):
        raise BedError(
            f"{name} (process {pid(directory, name)}) does not end on SIGKILL: it waits for the kernel. "
            f"See: ps -o pid,stat,wchan,args -p {pid(directory, name)}"
        )
    _record(directory, name).unlink(missing_ok=True)


def alive(directory: Path, name: str) -> bool:
    """Whether the daemon runs."""
    return pid(directory, name) is not None


def pid(directory: Path, name: str) -> int | None:
    """The daemon's process id while it runs, else None."""
    try:
        number, started = _record(directory, name).read_text().split()
    except FileNotFoundError:
        return None
    return int(number) if _start_time(int(number)) == started else None


def wait(directory: Path, name: str, condition: str, holds: Callable[[], bool], seconds: float) -> None:
    """Waits until a condition holds that the daemon brings about.

    Raises:
        BedError: the daemon ended, or the time is over; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if not alive(directory, name):
            raise BedError(f"{name} ended before {condition}.\n{log_tail(directory, name)}")
        if time.monotonic() > deadline:
            raise BedError(f"waited {seconds:.0f} s until {condition}.\n{log_tail(directory, name)}")
        time.sleep(_POLL_SECONDS)


def log_file(directory: Path, name: str) -> Path:
    """Where the daemon's output goes; a restart appends."""
    return directory / "log" / f"{name}.log"


def log_tail(directory: Path, name: str) -> str:
    """The end of a daemon's log, with the log's path."""
    path = log_file(directory, name)
    lines = path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:] if path.exists() else []
    return "\n".join([f"The end of {path}:", *(f"  {line[:300]}" for line in lines)])


def _record(directory: Path, name: str) -> Path:
    return directory / f"{name}.pid"


def _wait_for_record(directory: Path, name: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not _record(directory, name).exists():
        if time.monotonic() > deadline:
            raise BedError(f"{name} was not started within {seconds:.0f} s.\n{log_tail(directory, name)}")
        time.sleep(0.001)


def _start_time(number: int) -> str | None:
    """The kernel's start time of a process; None when it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name, field 2, may hold spaces
    return None if fields[0] == "Z" else fields[_START_TIME_FIELD - 3]


def _wait_for_end(directory: Path, name: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while alive(directory, name) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
