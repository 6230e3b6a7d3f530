"""The RuntimeClass."""

import pulumi
from pulumi_kubernetes.node import v1 as node

from gpuctl.desired import runtime_class as desired


class RuntimeClass(pulumi.ComponentResource):
    """The RuntimeClass through which pods get their GPUs.

    It does not make the handler known to containerd: NVIDIA's Talos extension does that.
    """

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:RuntimeClass", name, None, opts)
        manifest = desired.runtime_class()
        self.runtime_class = node.RuntimeClass(
            manifest["metadata"]["name"],
            metadata=manifest["metadata"],
            handler=manifest["handler"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"name": self.runtime_class.metadata.name})
