"""Which cluster this is, whatever a kubeconfig calls it."""

from gpuctl.cluster.connection import Cluster
from gpuctl.cluster.errors import RejectedError


def cluster_uid(cluster: Cluster) -> str:
    """The UID of the namespace kube-system, by which Kubernetes tools tell clusters apart: it lives as long as they do.

    Raises:
        ClusterError: it cannot be read.
    """
    namespace = cluster.get("Namespace", "kube-system")
    if namespace is None:
        raise RejectedError("there is no namespace kube-system, so this is no Kubernetes cluster")
    return namespace["metadata"]["uid"]
