"""The namespace."""

from gpuctl.desired.names import Manifest, labels
from gpuctl.settings import Settings

_POD_SECURITY = "pod-security.kubernetes.io"


def namespace(settings: Settings) -> Manifest:
    """The namespace of everything namespaced.

    Its pods mount a host folder and one of them may set power limits; Talos enforces `baseline` on every namespace
    but kube-system, and a DaemonSet that is forbidden there applies without an error and never gets a pod.
    """
    modes = {f"{_POD_SECURITY}/{mode}": "privileged" for mode in ("enforce", "warn", "audit")}
    metadata = {"name": settings.namespace, "labels": labels("gpu-sharing") | modes}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
