"""One at a time: locks between runs of the test bed, which vanish with the process that holds them."""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path

from testbed.progress import step

_PID_WIDTH = 10
_TAKEOVER_SECONDS = 0.05
"""More than it takes from getting a lock to having one's process id in it."""


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Generator[None, None, None]:
    """Holds the lock file; says on what and on which process it waits, when it has to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TAKEOVER_SECONDS)
            holder = os.pread(lock, _PID_WIDTH, 0).decode().strip() or "unknown"
            with step(f"waiting for process {holder}, which holds {what}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        os.pwrite(lock, str(os.getpid()).ljust(_PID_WIDTH).encode(), 0)
        yield
    finally:
        os.close(lock)
