"""Everything of one cluster, composed."""

from typing import Any

import pulumi

from components.device_plugin import DevicePlugin
from components.monitoring import Monitoring
from components.namespace import Namespace
from components.node_labels import NodeLabels
from components.power_limit import PowerLimit
from components.runtime_class import RuntimeClass
from components.talos_patches import TalosPatches
from components.time_slicing import TimeSlicing
from gpuctl.desired.capacity import capacity, circuit_budgets, memory_per_slice, power_budget
from gpuctl.settings import Settings


class GpuStack(pulumi.ComponentResource):
    """The GPU sharing of one cluster, in the order in which a node needs it.

    The power limit comes before the device plugin, so that no pod gets a GPU whose limit is not set. It does not
    wait for capacity: `pulumi up` is done when the DaemonSets are ready.
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        own = pulumi.ResourceOptions(transforms=[_take_back])
        super().__init__("gpu:index:GpuStack", name, None, pulumi.ResourceOptions.merge(opts, own))
        talos = TalosPatches("talos-patches", settings, _child(self))
        ready: list[pulumi.Resource] = [
            Namespace("namespace", settings, _child(self)),
            RuntimeClass("runtime-class", _child(self)),
        ]
        if settings.monitoring:
            Monitoring("monitoring", settings, _child(self, ready[:1]))
        if settings.label_nodes:
            ready.append(NodeLabels("node-labels", settings, _child(self)))
        if settings.power_management:
            ready.append(PowerLimit("power-limit", settings, _child(self, ready)))
        slicing = TimeSlicing("time-slicing", settings, _child(self, ready))
        plugin = DevicePlugin("device-plugin", settings, _child(self, [*ready, slicing]))
        offered, budget = capacity(settings), power_budget(settings)
        self.outputs: dict[str, Any] = {
            "gpuCapacity": {"resource": offered.resource, "total": offered.total, "byNode": offered.by_node},
            "powerBudgetWatts": {"total": budget.total, "byNode": budget.by_node},
            "circuits": circuit_budgets(settings),
            "memoryPerSliceMiB": memory_per_slice(settings),
            "namespace": settings.namespace,
            "devicePluginImage": plugin.image,
            "configHash": slicing.hashes,
            "talos": talos.outputs,
        }
        self.register_outputs(self.outputs)


def _child(parent: pulumi.Resource, after: list[pulumi.Resource] | None = None) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions(parent=parent, depends_on=list(after or []))


def _take_back(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    """Lets the stack overwrite what others changed in its own objects, never in a node of which it has only labels.

    Without it a change by kubectl ends every later `pulumi up --refresh` with a field conflict, and so does the
    object that an interrupted `pulumi up` left behind.
    """
    kind = args.type_.rpartition(":")[2]
    if not args.type_.startswith("kubernetes:") or kind.endswith("Patch"):
        return None
    props: dict[str, Any] = dict(args.props)
    metadata = props["metadata"]
    annotations = metadata.get("annotations", {}) | {"pulumi.com/patchForce": "true"}
    return pulumi.ResourceTransformResult(props | {"metadata": metadata | {"annotations": annotations}}, args.opts)
