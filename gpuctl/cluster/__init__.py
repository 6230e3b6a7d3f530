"""The live cluster: the only code that talks to one."""

from gpuctl.cluster.connection import Cluster, Executed, connect, connect_in_cluster
from gpuctl.cluster.errors import AccessDeniedError, ClusterError, RejectedError, UnreachableError
from gpuctl.cluster.identity import cluster_uid
from gpuctl.cluster.objects import Manifest, Node, Pod

__all__ = [
    "AccessDeniedError",
    "Cluster",
    "ClusterError",
    "Executed",
    "Manifest",
    "Node",
    "Pod",
    "RejectedError",
    "UnreachableError",
    "cluster_uid",
    "connect",
    "connect_in_cluster",
]
