"""The namespace."""

import pulumi
from pulumi_kubernetes.core import v1 as core

from gpuctl.desired import namespace as desired
from gpuctl.settings import Settings


class Namespace(pulumi.ComponentResource):
    """The namespace of the device plugin and the power limit.

    It takes over no namespace that exists: `pulumi destroy` would delete what others have in it.
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:Namespace", name, None, opts)
        manifest = desired.namespace(settings)
        self.namespace = core.Namespace(
            manifest["metadata"]["name"],
            metadata=manifest["metadata"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"name": self.namespace.metadata.name})
