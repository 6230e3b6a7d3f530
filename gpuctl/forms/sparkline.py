"""A row of figures as a picture of one line."""

from collections.abc import Sequence

from gpuctl.forms.text import can_print

_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.-=+*#@"


def sparkline(values: Sequence[float | None], full: float | None, encoding: str | None) -> str:
    """One character per value, the highest at `full` and above, a blank for None; ASCII where nothing else shows."""
    blocks = _BLOCKS if can_print(_BLOCKS, encoding) else _ASCII
    levels = (
        None if value is None or not full else min(len(blocks) - 1, int(value / full * len(blocks))) for value in values
    )
    return "".join(" " if level is None else blocks[level] for level in levels)
