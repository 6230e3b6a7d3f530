"""`python -m gpuctl`, the same as the command gpuctl."""

from gpuctl.cli.app import main

main()
