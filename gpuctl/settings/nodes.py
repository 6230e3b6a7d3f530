"""What a stack file may say about one node."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticKnownError

from gpuctl.settings.catalogue import CATALOGUE, GpuModel, PowerRange, nearest_common
from gpuctl.settings.refusal import RemoveKey, SettingRefused, SetValue
from gpuctl.settings.values import (
    MOST_GPUS,
    BaseWatts,
    CircuitWatts,
    GpuCount,
    NodeName,
    OptionalAddress,
    OptionalTalosMinor,
    OptionalText,
    Slices,
    Text,
    Watts,
)


class Model(BaseModel):
    """What all parts of a stack file have in common."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        use_attribute_docstrings=True,
        validate_default=True,
    )


@dataclass(frozen=True)
class GpuGroup:
    """The GPUs of one model in a node."""

    gpu: str
    """As in the stack file."""
    count: int

    @property
    def model(self) -> GpuModel | None:
        """The catalogue's entry; None for a model that is not in it."""
        return CATALOGUE.get(self.gpu)


class GpuNode(Model):
    """One node of the cluster and its GPUs: `gpu` and `count` where they are of one model, else `gpus`."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["gpu", "count"]}, {"required": ["gpus"]}]},
    )

    name: Annotated[NodeName, Field(examples=["gpu-1"])]
    """Name of the node, as in `kubectl get nodes`."""
    gpus: dict[str, GpuCount] | None = None
    """Instead of `gpu` and `count`, for a node with several models: how many there are of each, by model."""
    gpu: Annotated[Text | None, Field(examples=["rtx-3090"])] = None
    """GPU model: a key of config/gpus.yaml, or any text for a model that is not in it."""
    count_of_gpu: Annotated[GpuCount | None, Field(alias="count", examples=[2])] = None
    """Physical GPUs in the node."""
    slices: Slices | None = None
    """Time slices per GPU of this node, instead of `slices`."""
    power_limit: Watts | None = None
    """Watts per GPU of this node, instead of `powerLimit` and of what `powerLimits` says about its models."""
    base_watts: BaseWatts | None = None
    """Watts that this node draws besides its GPUs, instead of `nodeBaseWatts`."""
    circuit_watts: CircuitWatts | None = None
    """Watts of a circuit that feeds this node alone, 0 if not known; unset: it hangs on that of `gpu:circuitWatts`."""
    address: OptionalAddress = None
    """Where Talos reaches the node, as talosctl takes it; unset: its name."""
    talos_contract: OptionalTalosMinor = None
    """Instead of `talosContract`, for this node."""
    install_disk_selector: OptionalText = None
    """Instead of `installDiskSelector`, for this node."""

    @property
    def cards(self) -> tuple[GpuGroup, ...]:
        """Its GPUs by model, in the order of the stack file."""
        return _cards({"gpus": self.gpus, "gpu": self.gpu, "count_of_gpu": self.count_of_gpu})

    @property
    def count(self) -> int:
        """Physical GPUs in the node, of all models."""
        return sum(cards.count for cards in self.cards)

    @field_validator("gpus")
    @classmethod
    def _there_are_gpus_and_not_too_many(cls, gpus: dict[str, int] | None) -> dict[str, int] | None:
        if gpus is not None and not all(model.strip() for model in gpus):
            raise SettingRefused("names a GPU model that is empty", RemoveKey())
        if gpus is not None and not 0 < sum(gpus.values()) <= MOST_GPUS:
            raise SettingRefused(f"are {sum(gpus.values())} GPUs, and a node has 1 to {MOST_GPUS}", RemoveKey())
        return gpus

    @field_validator("gpu", "count_of_gpu")
    @classmethod
    def _gpus_are_told_in_one_way(cls, value: Any, info: ValidationInfo) -> Any:
        if "gpus" in info.data and (info.data["gpus"] is None) == (value is None):
            if value is None:
                raise PydanticKnownError("missing")
            raise SettingRefused("stands beside gpus, which says it already", RemoveKey())
        return value

    @field_validator("power_limit")
    @classmethod
    def _limit_is_within_the_cards_range(cls, watts: int | None, info: ValidationInfo) -> int | None:
        ranges = {cards.gpu: cards.model.watts for cards in _cards(info.data) if cards.model}
        if watts is None or all(span.nearest(watts) == watts for span in ranges.values()):
            return watts
        unfit = [f"{gpu}, which takes {span}" for gpu, span in ranges.items() if span.nearest(watts) != watts]
        raise SettingRefused(f"is not a limit of {' and of '.join(unfit)}", _legal_limit(watts, ranges))


def _cards(data: Mapping[str, Any]) -> tuple[GpuGroup, ...]:
    """The GPUs in a node's validated fields; none where these have mistakes."""
    if gpus := data.get("gpus"):
        return tuple(GpuGroup(gpu, count) for gpu, count in gpus.items())
    gpu, count = data.get("gpu"), data.get("count_of_gpu")
    return (GpuGroup(gpu, count or 0),) if gpu else ()


def _legal_limit(watts: int, ranges: Mapping[str, PowerRange]) -> SetValue | RemoveKey:
    """Without one limit for all of the node's cards each model needs its own, in `powerLimits`."""
    nearest = nearest_common(watts, ranges.values())
    return RemoveKey() if nearest is None else SetValue(str(nearest))
