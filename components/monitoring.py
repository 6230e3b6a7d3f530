"""Alert rules and dashboard."""

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core import v1 as core

from gpuctl.desired import monitoring as desired
from gpuctl.settings import Settings


class Monitoring(pulumi.ComponentResource):
    """The alerts for the Prometheus operator, and the dashboard for Grafana's sidecar.

    It brings neither of these, nor the exporter whose metrics they read.
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:Monitoring", name, None, opts)
        rule, dashboard = desired.prometheus_rule(settings), desired.dashboard(settings)
        CustomResource(
            rule["metadata"]["name"],
            api_version=rule["apiVersion"],
            kind=rule["kind"],
            metadata=rule["metadata"],
            spec=rule["spec"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        core.ConfigMap(
            dashboard["metadata"]["name"],
            metadata=dashboard["metadata"],
            data=dashboard["data"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
