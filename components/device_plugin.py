"""The NVIDIA device plugin."""

import pulumi
from pulumi_kubernetes.apps import v1 as apps

from gpuctl.desired import device_plugin as desired
from gpuctl.desired.profiles import profiles
from gpuctl.settings import Settings


class DevicePlugin(pulumi.ComponentResource):
    """One DaemonSet per profile with the device plugin.

    It does not prove capacity: a DaemonSet that finds no node is ready too. That takes a look at the nodes.
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:DevicePlugin", name, None, opts)
        for profile in profiles(settings):
            manifest = desired.daemon_set(settings, profile)
            apps.DaemonSet(
                manifest["metadata"]["name"],
                metadata=manifest["metadata"],
                spec=manifest["spec"],
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.image = settings.image
        self.register_outputs({"image": self.image})
