"""The RuntimeClass."""

from gpuctl.desired.names import RUNTIME_CLASS, Manifest, labels


def runtime_class() -> Manifest:
    """The RuntimeClass that pods name to get GPUs. Talos ships its handler and never creates the class itself."""
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": RUNTIME_CLASS, "labels": labels("gpu-sharing")},
        "handler": RUNTIME_CLASS,
    }
