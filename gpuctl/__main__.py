"""`python -m gpuctl`, the same as the command gpuctl."""

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from gpuctl.cli.signals import end_at_once

_COLLECT_AFTER = 100_000
"""New objects before a garbage collection; with Python's 700 a start has many, which find nothing."""


def main() -> NoReturn:
    """Runs the command line, and ends at once: taking down what was loaded takes a while, and nothing waits for it."""
    end_at_once()
    gc.set_threshold(_COLLECT_AFTER)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look through every installed package
    from gpuctl.cli.app import main as run  # only now: loading takes a while

    try:
        run()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(end.code or 0)
    os._exit(0)


if __name__ == "__main__":
    main()
