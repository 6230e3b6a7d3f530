"""All Kubernetes objects of a cluster, in the order in which they must exist."""

from gpuctl.desired.desired import desired_state
from gpuctl.desired.names import Manifest
from gpuctl.settings import Settings


def manifests(settings: Settings) -> list[Manifest]:
    """Everything but the node labels, which are parts of objects that exist already."""
    return list(desired_state(settings).manifests)
