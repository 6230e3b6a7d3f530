"""The power limit."""

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core

from gpuctl.desired import power_limit as desired
from gpuctl.settings import Settings


class PowerLimit(pulumi.ComponentResource):
    """The agent's script, and the DaemonSet that holds every GPU at its limit.

    It does not keep the limit after it is gone: when its pods end, the cards get their default limits back.
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:PowerLimit", name, None, opts)
        script = desired.config_map(settings)
        agent = core.ConfigMap(
            script["metadata"]["name"],
            metadata=script["metadata"],
            data=script["data"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        manifest = desired.daemon_set(settings)
        apps.DaemonSet(
            manifest["metadata"]["name"],
            metadata=manifest["metadata"],
            spec=manifest["spec"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[agent]),
        )
        self.register_outputs({})
