"""What ends a command from outside, at any moment: one exit code, and no traceback."""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from gpuctl.forms.exits import Exit


def end_at_once() -> None:
    """Makes Ctrl-C end the program, whatever it is just loading: nothing of it needs to be put right."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGINT, _end)


@contextmanager
def interruptible(*, also_terminated: bool = False) -> Generator[None]:
    """Ctrl-C is a KeyboardInterrupt meanwhile, for work that must be put right.

    Args:
        also_terminated: SIGTERM is one, too, as a CI system sends it.
    """
    numbers = [signal.SIGINT, *([signal.SIGTERM] if also_terminated else [])]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(Exit.INTERRUPTED)
