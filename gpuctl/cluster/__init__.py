"""The live cluster: the only code that talks to one."""

from gpuctl.cluster.connection import Cluster, cluster_uid, connect, connect_in_cluster
from gpuctl.cluster.decoding import Unreadable
from gpuctl.cluster.errors import AccessDeniedError, ClusterError, RejectedError, UnreachableError, UnreadableError
from gpuctl.cluster.execute import Executed
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
    "Unreadable",
    "UnreadableError",
    "cluster_uid",
    "connect",
    "connect_in_cluster",
]
