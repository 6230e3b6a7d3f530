"""What a long command is at, on standard error: one changing line on a terminal, elsewhere only what takes long."""

import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from shutil import get_terminal_size
from threading import Lock, Timer
from typing import Protocol

from gpuctl.checks.runner import WAITING
from gpuctl.forms.output import complain
from gpuctl.forms.text import one_line

_LONG_SECONDS = 2
"""What takes less is not shown where lines stay."""

_CLEAR = "\r\x1b[2K"
"""Takes away the line on which a terminal's cursor is."""


class Progress(Protocol):
    """Tells what is being done."""

    def tell(self, who: str, text: str) -> None:
        """Takes who is at work, such as a stack, and one line of what it is at; from any thread."""
        ...

    def aside(self) -> AbstractContextManager[object]:
        """Standard output may be written to meanwhile."""
        ...


@contextmanager
def progress() -> Generator[Progress]:
    """Tells what is being done, for as long as it lasts."""
    with closing(OneLine(_show) if sys.stderr.isatty() else _Lines()) as told:
        yield told


class OneLine:
    """What everyone is at; the reason of a wait stays until there is another."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._latest, self._lock = dict[str, str](), Lock()

    def tell(self, who: str, text: str) -> None:
        """Replaces what this one was at."""
        with self._lock:
            if text.startswith(WAITING) or not self._latest.get(who, "").startswith(WAITING):
                self._latest[who] = text
                self._show("; ".join(f"{name}: {at}" for name, at in self._latest.items()))

    @contextmanager
    def aside(self) -> Generator[None]:
        """Takes the line away; it comes back with what is said next."""
        with self._lock:
            self._show("")
            yield

    def close(self) -> None:
        """Takes the line away for good; whoever still tells something is not heard."""
        with self._lock:
            self._show("")
            self._show = _ignore


class _Lines:
    """A line for each reason to wait, and for what is still going on after a while."""

    def __init__(self) -> None:
        self._say: Callable[[str], None] = complain
        self._timers, self._lock = dict[str, Timer](), Lock()

    def tell(self, who: str, text: str) -> None:
        with self._lock:
            if timer := self._timers.pop(who, None):
                timer.cancel()
            if text.startswith(WAITING):
                self._say(f"{who}: {text}")
                return
            self._timers[who] = Timer(_LONG_SECONDS, self._still, [f"{who}: {text}"])
            self._timers[who].daemon = True
            self._timers[who].start()

    def aside(self) -> AbstractContextManager[object]:
        return nullcontext()

    def close(self) -> None:
        """Ends it for good; whoever still tells something is not heard."""
        with self._lock:
            self._say = _ignore
            for timer in self._timers.values():
                timer.cancel()

    def _still(self, text: str) -> None:
        with self._lock:
            self._say(text)


def _ignore(_: str) -> None: ...


def _show(text: str) -> None:
    """The line of a terminal, in the place of the last one."""
    sys.stderr.write(f"{_CLEAR}{one_line(text)[: get_terminal_size().columns - 1]}")
    sys.stderr.flush()
