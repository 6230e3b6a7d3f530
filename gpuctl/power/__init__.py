"""What the power-limit agent says: its lines, read; and what they add up to."""

from gpuctl.power.log import Event, Sample, parse

__all__ = ["Event", "Sample", "parse"]
