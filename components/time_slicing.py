"""The device plugin's configuration."""

import pulumi
from pulumi_kubernetes.core import v1 as core

from gpuctl.desired import time_slicing as desired
from gpuctl.desired.profiles import profiles
from gpuctl.settings import Settings


class TimeSlicing(pulumi.ComponentResource):
    """One ConfigMap per profile, from which the device plugin learns how often to offer each GPU.

    It does not make a running plugin read a change: the hash on the plugin's pods does (DevicePlugin). It must be
    deployed by a provider with `enable_config_map_mutable`, else a change replaces it and takes the GPUs of every
    node away at once.
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:TimeSlicing", name, None, opts)
        for profile in profiles(settings):
            manifest = desired.config_map(settings, profile)
            core.ConfigMap(
                manifest["metadata"]["name"],
                metadata=manifest["metadata"],
                data=manifest["data"],
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.hashes = {profile.name: desired.config_hash(settings, profile) for profile in profiles(settings)}
        self.register_outputs({"hashes": self.hashes})
