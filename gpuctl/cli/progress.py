"""What a long command is at, on standard error: one changing line on a terminal, elsewhere only what takes long."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock, Timer

from gpuctl.checks.runner import WAITING

_LONG_SECONDS = 2
"""What takes less is not told where lines stay."""

Tell = Callable[[str, str], None]
"""Takes who is at work, such as a stack, and one line of what it is at; from any thread."""


@contextmanager
def progress() -> Generator[Tell]:
    """Tells what is being done, for as long as it lasts."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("") as status:
            line = _OneLine(lambda text: status.update(text.replace("[", r"\[")))
            yield line.tell
    else:
        lines = _Lines()
        try:
            yield lines.tell
        finally:
            lines.close()


class _OneLine:
    """What everyone is at; the reason of a wait stays until there is another."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show, self._latest, self._lock = show, dict[str, str](), Lock()

    def tell(self, who: str, line: str) -> None:
        with self._lock:
            if line.startswith(WAITING) or not self._latest.get(who, "").startswith(WAITING):
                self._latest[who] = line
                self._show("; ".join(f"{name}: {text}" for name, text in self._latest.items()))


class _Lines:
    """A line for each reason to wait, and for what is still going on after a while."""

    def __init__(self) -> None:
        self._timers, self._lock = dict[str, Timer](), Lock()

    def tell(self, who: str, line: str) -> None:
        text = f"{who}: {line}"
        with self._lock:
            if timer := self._timers.pop(who, None):
                timer.cancel()
            if line.startswith(WAITING):
                _print(text)
                return
            self._timers[who] = Timer(_LONG_SECONDS, _print, [text])
            self._timers[who].daemon = True
            self._timers[who].start()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
