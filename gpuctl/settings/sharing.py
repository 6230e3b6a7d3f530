"""What a stack file may say about GPUs and their sharing, with every range and cross-check.

The order of the fields matters: a rule that compares keys stands at the last of them and sees the others.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from gpuctl.settings.lines import line
from gpuctl.settings.nodes import GpuNode, Model
from gpuctl.settings.refusal import Refused, RemoveKey, SetValue
from gpuctl.settings.values import (
    IntervalSeconds,
    NamespaceName,
    OptionalImage,
    OptionalPolicy,
    OptionalText,
    PluginVersion,
    Slices,
    Text,
    Watts,
)


class Sharing(Model):
    """Which GPUs there are, and how they are shared: the keys of a stack file that are not about Talos."""

    context: Annotated[Text, Field(examples=["admin@homelab"])]
    """Context in the kubeconfig: the one cluster this stack may touch."""
    kubeconfig: OptionalText = None
    """Path of the kubeconfig; unset: what KUBECONFIG says, else ~/.kube/config."""
    nodes: Annotated[tuple[GpuNode, ...], Field(json_schema_extra={"minItems": 1})]
    """The cluster's GPU nodes: list of {name, gpu, count, slices?, powerLimit?}."""
    slices: Slices = 4
    """Time slices per GPU: how many pods can share each one. 1 means whole GPUs."""
    power_management: bool = True
    """Whether the power-limit DaemonSet is deployed."""
    power_limit: Watts = 300
    """Power limit in watts, for each GPU."""
    power_interval: IntervalSeconds = 60
    """Seconds between two looks at the limit."""
    namespace: NamespaceName = "gpu-device-plugin"
    """Namespace for everything namespaced; the stack creates it."""
    device_plugin_version: PluginVersion = "v0.18.2"
    """Version of the NVIDIA device plugin, v0.17 to v0.20."""
    device_plugin_image: OptionalImage = None
    """Image with tag or digest instead of the published one; `devicePluginVersion` says what is in it."""
    allocation_policy: OptionalPolicy = None
    """Which GPU gives the next slice: `distributed` (the emptiest) or `packed` (the fullest); from v0.20."""
    fail_requests_greater_than_one: bool = True
    """Whether a pod that asks for several slices is refused: they would be no more compute than one."""
    rename_by_default: bool = False
    """Whether slices are offered as nvidia.com/gpu.shared instead of nvidia.com/gpu."""
    label_nodes: bool = True
    """Whether the stack labels its nodes; if not, the Talos patches or you must."""

    def slices_of(self, node: GpuNode) -> int:
        """Time slices per GPU of a node."""
        return node.slices or self.slices

    def limit_of(self, node: GpuNode) -> int:
        """Power limit per GPU of a node, in watts."""
        return node.power_limit or self.power_limit

    @property
    def image(self) -> str:
        """The device plugin's image reference."""
        return self.device_plugin_image or f"nvcr.io/nvidia/k8s-device-plugin:{self.device_plugin_version}"

    @field_validator("nodes")
    @classmethod
    def _there_are_nodes_of_different_names(cls, nodes: tuple[GpuNode, ...]) -> tuple[GpuNode, ...]:
        if not nodes:
            raise Refused("must name at least one node")
        for name, times in Counter(node.name for node in nodes).items():
            if times > 1:
                entries = [index for index, node in enumerate(nodes) if node.name == name]
                raise Refused(
                    f"declares {name} {times} times (entries {', '.join(map(str, entries))}); its GPUs would "
                    "count double",
                    RemoveKey(f"nodes[{entries[-1]}]"),
                )
        return nodes

    @field_validator("power_limit")
    @classmethod
    def _limit_is_within_every_range(cls, watts: int, info: ValidationInfo) -> int:
        nodes: Sequence[GpuNode] = info.data.get("nodes", ())
        if not info.data.get("power_management", True):
            return watts
        affected = [
            (index, node, node.model.watts)
            for index, node in enumerate(nodes)
            if node.power_limit is None and node.model and node.model.watts.nearest(watts) != watts
        ]
        if affected:
            takes = {f"{node.gpu} takes {span}" for _, node, span in affected}
            raise Refused(
                f"is no limit for every card: {', '.join(sorted(takes))}",
                *_legal_limits(watts, nodes, affected),
            )
        return watts

    @field_validator("allocation_policy")
    @classmethod
    def _policy_is_known_to_the_plugin(cls, policy: str | None, info: ValidationInfo) -> str | None:
        version: str | None = info.data.get("device_plugin_version")
        if policy and version and line(version) < (0, 20):
            raise Refused(
                f"needs device plugin v0.20 or newer; {version} would ignore it without a word",
                RemoveKey(),
            )
        return policy

    @field_validator("rename_by_default")
    @classmethod
    def _renaming_is_for_shared_gpus(cls, rename: bool, info: ValidationInfo) -> bool:
        default, nodes = info.data.get("slices"), info.data.get("nodes", ())
        whole = [node.name for node in nodes if (node.slices or default) == 1]
        verb = "shares" if len(whole) == 1 else "share"
        if rename and whole:
            raise Refused(
                f"renames shared GPUs only, and {', '.join(whole)} {verb} none (1 slice): the cluster would "
                "offer two resources",
                SetValue("false"),
            )
        return rename


def _legal_limits(watts: int, nodes: Sequence[GpuNode], affected: Sequence[tuple[int, GpuNode, Any]]) -> list[SetValue]:
    """One limit for all where there is one, else a limit of its own for each node concerned."""
    nearest = affected[0][2].nearest(watts)
    ranges = [node.model.watts for node in nodes if node.power_limit is None and node.model]
    if all(span.nearest(nearest) == nearest for span in ranges):
        return [SetValue(str(nearest))]
    return [SetValue(str(span.nearest(watts)), f"nodes[{index}].powerLimit") for index, _, span in affected]
