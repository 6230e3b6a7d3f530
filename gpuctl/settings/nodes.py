"""What a stack file may say about one node."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from gpuctl.settings.catalogue import CATALOGUE, GpuModel
from gpuctl.settings.refusal import Refused, SetValue
from gpuctl.settings.values import (
    GpuCount,
    NodeName,
    OptionalAddress,
    OptionalTalosLine,
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


class GpuNode(Model):
    """One node of the cluster and its GPUs, all of one model."""

    name: Annotated[NodeName, Field(examples=["gpu-1"])]
    """Name of the node, as in `kubectl get nodes`."""
    gpu: Annotated[Text, Field(examples=["rtx-3090"])]
    """GPU model: a key of config/gpus.yaml, or any text for a model that is not in it."""
    count: Annotated[GpuCount, Field(examples=[2])]
    """Physical GPUs in the node."""
    slices: Slices | None = None
    """Time slices per GPU of this node, instead of `slices`."""
    power_limit: Watts | None = None
    """Watts per GPU of this node, instead of `powerLimit`."""
    address: OptionalAddress = None
    """Where Talos reaches the node, as talosctl takes it; unset: its name."""
    talos_contract: OptionalTalosLine = None
    """Instead of `talosContract`, for this node."""
    install_disk_selector: OptionalText = None
    """Instead of `installDiskSelector`, for this node."""

    @property
    def model(self) -> GpuModel | None:
        """The catalogue's entry; None for a model that is not in it."""
        return CATALOGUE.get(self.gpu)

    @field_validator("power_limit")
    @classmethod
    def _limit_is_within_the_cards_range(cls, watts: int | None, info: ValidationInfo) -> int | None:
        model = CATALOGUE.get(info.data.get("gpu", ""))
        if watts is not None and model and model.watts.nearest(watts) != watts:
            raise Refused(
                f"is not a limit of {info.data['gpu']}, which takes {model.watts}",
                SetValue(str(model.watts.nearest(watts))),
            )
        return watts
