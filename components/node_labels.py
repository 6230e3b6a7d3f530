"""The labels of the GPU nodes."""

import pulumi
from pulumi_kubernetes.core import v1 as core

from gpuctl.desired.names import node_labels
from gpuctl.desired.profiles import profiles
from gpuctl.settings import Settings


class NodeLabels(pulumi.ComponentResource):
    """The labels by which the DaemonSets find their nodes; they go when the stack goes.

    It does not check that a node exists, and patching one that does not makes a phantom: the program asks the
    cluster first (components/program.py). It does not take over a label that another owner holds at another value.
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:NodeLabels", name, None, opts)
        for profile in profiles(settings):
            for node in profile.nodes:
                core.NodePatch(
                    node.name,
                    metadata={"name": node.name, "labels": node_labels(profile.name)},
                    opts=pulumi.ResourceOptions(parent=self),
                )
        self.register_outputs({})
