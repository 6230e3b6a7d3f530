"""What the test bed says while it works: on standard error, so that results can be piped."""

import contextlib
import sys
import threading
import time
from collections.abc import Generator

_REDRAW_SECONDS = 1.0
_LINE_SECONDS = 30.0


def say(message: str) -> None:
    """One line."""
    print(f"testbed: {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str) -> Generator[None, None, None]:
    """A step with its duration: on a terminal one line that is redrawn, elsewhere a line every 30 s."""
    begin, done = time.monotonic(), threading.Event()
    terminal = sys.stderr.isatty()
    _write(terminal, what, "...")

    def tick() -> None:
        while not done.wait(_REDRAW_SECONDS if terminal else _LINE_SECONDS):
            _write(terminal, what, f"... {time.monotonic() - begin:.0f} s")

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    outcome = "stopped after"
    try:
        yield
        outcome = "done in"
    finally:
        done.set()
        ticker.join()
        _write(terminal, what, f"{outcome} {time.monotonic() - begin:.1f} s", last=True)


def _write(terminal: bool, what: str, state: str, *, last: bool = False) -> None:
    start, end = ("\r\x1b[K", "\n" if last else "") if terminal else ("", "\n")
    print(f"{start}testbed: {what}: {state}", file=sys.stderr, end=end, flush=True)
