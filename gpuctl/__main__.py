"""`python -m gpuctl`, the same as the command gpuctl."""

import gc
import os
import sys

_COLLECT_AFTER = 100_000
"""New objects before a garbage collection; with Python's 700 a start has many, which find nothing."""
_INTERRUPTED = 130
"""`Exit.INTERRUPTED`, before anything is loaded that knows it."""


def main() -> None:
    """Runs the command line, and ends at once: taking down what was loaded takes a while, and nothing waits for it."""
    try:
        _run()
    except KeyboardInterrupt:  # while that is loaded which makes Ctrl-C end the program
        os._exit(_INTERRUPTED)


def _run() -> None:
    from gpuctl.cli.signals import end_at_once

    end_at_once()
    gc.set_threshold(_COLLECT_AFTER)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look through every installed package
    from contextlib import suppress

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
