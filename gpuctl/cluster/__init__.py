"""The live cluster: the only code that talks to one."""

from gpuctl.cluster.connection import Cluster, ClusterError, connect

__all__ = ["Cluster", "ClusterError", "connect"]
