"""The Pulumi side, and the only code that imports Pulumi: what `gpuctl.desired` says, declared."""

from components.program import consult_cluster, stack_desired
from components.stack import GpuStack

__all__ = ["GpuStack", "consult_cluster", "stack_desired"]
