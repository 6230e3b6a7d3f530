"""`python -m gpuctl`, the same as the command gpuctl."""

import os

from gpuctl.cli.signals import end_at_once


def main() -> None:
    """Runs the command line."""
    end_at_once()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look through every installed package
    from gpuctl.cli.app import main as run  # only now: loading takes a while

    run()


if __name__ == "__main__":
    main()
