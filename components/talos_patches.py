"""What the GPU nodes' Talos configuration must contain."""

import pulumi

from gpuctl.desired.schematic import installer_image, schematic_id
from gpuctl.desired.talos import talos_patches
from gpuctl.settings import Settings


class TalosPatches(pulumi.ComponentResource):
    """The Talos patch of each node and the installer image it names, as outputs.

    It applies nothing: driver and toolkit come with the installer image, so a node needs an upgrade to it, which
    reboots the node at a time that only you can choose.
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:TalosPatches", name, None, opts)
        self.outputs = {
            "schematicId": schematic_id(settings),
            "installerImage": installer_image(settings),
            "patches": talos_patches(settings),
        }
        self.register_outputs(self.outputs)
