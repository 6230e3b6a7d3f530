"""What a stack file may say about GPUs and their sharing, with every range and cross-check.

The order of the fields matters: a rule that compares keys stands at the last of them and sees the others.
"""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from gpuctl.settings.catalogue import CATALOGUE, PowerRange, nearest_common
from gpuctl.settings.minor_version import minor_of
from gpuctl.settings.nodes import GpuGroup, GpuNode, Model
from gpuctl.settings.refusal import Remedy, RemoveKey, SettingRefused, SetValue, step
from gpuctl.settings.values import (
    IntervalSeconds,
    NamespaceName,
    OptionalImage,
    OptionalLabel,
    OptionalPolicy,
    OptionalText,
    PluginVersion,
    Slices,
    Text,
    Watts,
    is_a_gpu_uuid,
)


class Sharing(Model):
    """Which GPUs there are, and how they are shared: the keys of a stack file that are not about Talos."""

    context: Annotated[Text, Field(examples=["admin@homelab"])]
    """Context in the kubeconfig: the one cluster this stack may touch."""
    kubeconfig: OptionalText = None
    """Path of the kubeconfig; unset: what KUBECONFIG says, else ~/.kube/config."""
    nodes: Annotated[tuple[GpuNode, ...], Field(json_schema_extra={"minItems": 1})]
    """The cluster's GPU nodes: list of {name, gpu, count, slices?, powerLimit?}; {name, gpus} with mixed cards."""
    slices: Slices = 4
    """Time slices per GPU: how many pods can share each one. 1 means whole GPUs."""
    power_management: bool = True
    """Whether the power-limit DaemonSet is deployed."""
    power_limits: dict[str, Watts] = {}  # noqa: RUF012 (pydantic copies it)
    """Watts instead of `powerLimit`, by GPU model (key of config/gpus.yaml) or by GPU UUID (as in `nvidia-smi -L`)."""
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
    monitoring: bool = False
    """Whether the stack has alerts for the Prometheus operator and a dashboard for Grafana; see docs/monitoring.md."""
    rule_label: OptionalLabel = None
    """Label by which your Prometheus selects rules, such as `release=kube-prometheus-stack`; unset: none."""

    def slices_of(self, node: GpuNode) -> int:
        """Time slices per GPU of a node."""
        return node.slices or self.slices

    def limit_of(self, node: GpuNode, cards: GpuGroup) -> int:
        """Power limit of each of these cards of a node, in watts, unless `powerLimits` has the UUID of one.

        The more a key says about a card, the more it counts: its UUID, its node, its model, all of them.
        """
        return node.power_limit or self.power_limits.get(cards.gpu) or self.power_limit

    @property
    def limits_by_uuid(self) -> dict[str, int]:
        """GPU UUID -> its power limit in watts. Which node a GPU is in is not known here."""
        return {key: watts for key, watts in self.power_limits.items() if is_a_gpu_uuid(key)}

    @property
    def image(self) -> str:
        """The device plugin's image reference."""
        return self.device_plugin_image or f"nvcr.io/nvidia/k8s-device-plugin:{self.device_plugin_version}"

    @field_validator("nodes")
    @classmethod
    def _there_are_nodes_of_different_names(cls, nodes: tuple[GpuNode, ...]) -> tuple[GpuNode, ...]:
        if not nodes:
            raise SettingRefused("must name at least one node")
        for name, times in Counter(node.name for node in nodes).items():
            if times > 1:
                entries = [index for index, node in enumerate(nodes) if node.name == name]
                raise SettingRefused(
                    f"declares {name} {times} times (entries {', '.join(map(str, entries))}); its GPUs would "
                    "count double",
                    RemoveKey(f"nodes[{entries[-1]}]"),
                )
        return nodes

    @field_validator("power_limits")
    @classmethod
    def _limits_are_of_cards_that_are_there(cls, limits: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        declared = {cards.gpu for node in info.data.get("nodes", ()) for cards in node.cards}
        managed = info.data.get("power_management", True)
        wrong = [_wrong_limit(key, watts, declared, managed) for key, watts in limits.items()] if declared else []
        reasons = [reason for reason, _ in filter(None, wrong)]
        if reasons:
            raise SettingRefused(
                "; ".join(reasons), *(remedy for _, remedies in filter(None, wrong) for remedy in remedies)
            )
        return limits

    @field_validator("power_limit")
    @classmethod
    def _limit_is_within_every_range(cls, watts: int, info: ValidationInfo) -> int:
        nodes: Sequence[GpuNode] = info.data.get("nodes", ())
        by_model: Mapping[str, int] | None = info.data.get("power_limits")
        if by_model is None or not info.data.get("power_management", True):
            return watts
        concerned = [cards for node in nodes if node.power_limit is None for cards in node.cards]
        ranges = {cards.gpu: cards.model.watts for cards in concerned if cards.model and cards.gpu not in by_model}
        unfit = {gpu: span for gpu, span in ranges.items() if span.nearest(watts) != watts}
        if unfit:
            takes = ", ".join(sorted(f"{gpu} takes {span}" for gpu, span in unfit.items()))
            raise SettingRefused(f"is no limit for every card: {takes}", *_legal_limits(watts, ranges, unfit))
        return watts

    @field_validator("allocation_policy")
    @classmethod
    def _policy_is_known_to_the_plugin(cls, policy: str | None, info: ValidationInfo) -> str | None:
        version: str | None = info.data.get("device_plugin_version")
        if policy and version and minor_of(version) < (0, 20):
            raise SettingRefused(
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
            raise SettingRefused(
                f"renames shared GPUs only, and {', '.join(whole)} {verb} none (1 slice): the cluster would "
                "offer two resources",
                SetValue("false"),
            )
        return rename


def _legal_limits(watts: int, ranges: Mapping[str, PowerRange], unfit: Mapping[str, PowerRange]) -> list[SetValue]:
    """One limit for all where there is one, else a limit of its own for each model concerned."""
    nearest = nearest_common(watts, ranges.values())
    if nearest is not None:
        return [SetValue(str(nearest))]
    return [SetValue(str(span.nearest(watts)), f"powerLimits{step(gpu)}") for gpu, span in unfit.items()]


def _wrong_limit(key: str, watts: int, declared: set[str], managed: bool) -> tuple[str, list[Remedy]] | None:
    """What is wrong with one entry of `powerLimits`, and what fixes it.

    A GPU's UUID says nothing about its model: such a limit must be one that some declared card takes.
    """
    here = RemoveKey(f"powerLimits{step(key)}")
    known = sorted(declared & CATALOGUE.keys())
    by_uuid = is_a_gpu_uuid(key)
    if not by_uuid and key not in known:
        close = difflib.get_close_matches(key.lower().replace(" ", "-"), known, n=1)
        what = "a model that no node has" if key in CATALOGUE else "neither a model of the catalogue nor a GPU's UUID"
        meant = f" (did you mean {close[0]}?)" if close else ""
        moved = [SetValue(str(watts), f"powerLimits{step(close[0])}")] if close else []
        return f"names {key}, {what}{meant}", [*moved, here]
    ranges = {gpu: CATALOGUE[gpu].watts for gpu in (known if by_uuid else [key])}
    nearest = min((span.nearest(watts) for span in ranges.values()), key=lambda each: abs(each - watts), default=watts)
    if not managed or nearest == watts or (by_uuid and not declared <= CATALOGUE.keys()):
        return None
    takes = ", ".join(f"{gpu} takes {span}" for gpu, span in ranges.items())
    return f"gives {key} {watts} W, and {takes}", [SetValue(str(nearest), f"powerLimits{step(key)}")]
