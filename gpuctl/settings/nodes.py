"""What a stack file may say about one node."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator
from pydantic.alias_generators import to_camel

from gpuctl.settings import values
from gpuctl.settings.catalogue import CATALOGUE, GpuModel, key_of
from gpuctl.settings.refusal import EditFile, RemoveKey, SettingRefused


class Model(BaseModel):
    """What all parts of a stack file have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


@dataclass(frozen=True)
class GpuGroup:
    """The GPUs of one model in a node."""

    gpu: str
    """Key of the model; as in the stack file for one that is not known."""
    count: int
    described: GpuModel | None = None
    """What the stack file says of the model."""

    @property
    def model(self) -> GpuModel | None:
        """What the stack file says of the model, else the catalogue; None where neither does."""
        return self.described or CATALOGUE.get(self.gpu)


class Mps(NamedTuple):
    """What MPS, NVIDIA's multi-process service, gives each slice; 0: its share of the GPU."""

    memory_mib: int
    threads_percent: int


class Sharing(NamedTuple):
    """How the GPUs of a node are shared: nodes with the same sharing need the same objects."""

    slices: int
    """Pods that share one GPU."""
    whole: tuple[str, ...] = ()
    """GPUs that are not shared beside others that are, by index or UUID; none where all are shared alike."""
    shared: tuple[str, ...] = ()
    """Those others."""
    backend: values.Backend = "device-plugin"
    """What offers them."""
    bare: bool = False
    """Whether the nodes have no NVIDIA container toolkit, so that what serves them must reach the GPUs without it."""
    mps: Mps | None = None
    """None where they take turns."""

    def __str__(self) -> str:
        slices = f"{self.slices} slice{'' if self.slices == 1 else 's'}"
        if self.backend != "device-plugin":
            return f"{slices} by {self.backend}{' without container toolkit' if self.bare else ''}"
        found = [slices]
        if self.mps:
            memory, threads = self.mps
            of = [f"{memory} MiB"] if memory else []
            of += [f"{threads} % of the threads"] if threads else []
            found += [f"MPS with {' and '.join(of)} each" if of else "MPS"]
        if self.whole:
            found += [f"GPU {'/'.join(self.whole)} whole and {'/'.join(self.shared)} shared"]
        return ", ".join(found)


class GpuNode(Model):
    """One node of the cluster and its GPUs: `gpu` and `count` where they are of one model, else `gpus`."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["gpu", "count"]}, {"required": ["gpus"]}]},
    )

    name: Annotated[values.NodeName, Field(examples=["gpu-1"])]
    """Name of the node, as in `kubectl get nodes`."""
    gpus: Annotated[dict[str, values.GpuCount] | None, values.Structure] = None
    """Instead of `gpu` and `count`, for a node with several models: how many there are of each, by model."""
    gpu: Annotated[values.Text | None, Field(examples=["rtx-3090"])] = None
    """GPU model: a key of gpuctl/data/gpus.yaml or `gpu:gpuModels`, or a name as nvidia-smi prints it."""
    count_of_gpu: Annotated[values.GpuCount | None, Field(alias="count", examples=[2])] = None
    """Physical GPUs in the node."""
    slices: values.Slices | None = None
    """Time slices per GPU of this node, instead of `slices`."""
    sharing_mode: Annotated[values.SharingMode | None, Field(alias="sharing")] = None
    """Instead of `sharing`, for this node."""
    memory_per_slice_mib: Annotated[values.SliceMebibytes | None, Field(alias="memoryPerSliceMiB")] = None
    """Instead of `memoryPerSliceMiB`, for this node."""
    threads_per_slice_percent: values.SlicePercent | None = None
    """Instead of `threadsPerSlicePercent`, for this node."""
    whole_gpus: values.WholeGpus = 0
    """GPUs left whole beside the shared ones, then nvidia.com/gpu.shared: how many, the first; or UUIDs of which."""
    shared_gpus: tuple[values.GpuUuid, ...] = ()
    """UUIDs of all other GPUs of the node, where `wholeGpus` has UUIDs."""
    backend: values.Backend | None = None
    """Instead of `backend`, for this node."""
    profile: values.OptionalProfile = None
    """Name of its profile, which nodes with the same slices share; unset: `default`, or the first such node's name."""
    power_management: values.Switch = True
    """Whether this node's GPUs are held at a limit; false leaves them alone, but for one whose UUID has a limit."""
    power_limit: values.Watts | None = None
    """Watts per GPU of this node, instead of `powerLimit` and of what `powerLimits` says about its models."""
    base_watts: values.BaseWatts | None = None
    """Watts that this node draws besides its GPUs, instead of `nodeBaseWatts`."""
    circuit_watts: values.CircuitWatts | None = None
    """Watts of a circuit that feeds this node alone, 0 if not known; unset: it shares that of `gpu:circuitWatts`."""
    address: values.OptionalAddress = None
    """Where Talos reaches the node, as talosctl takes it; unset: its name."""
    talos_version: Annotated[values.TalosVersion | None, Field(examples=["v1.13.9"])] = None
    """Instead of `talosVersion`, for this node."""
    talos_contract: values.OptionalTalosMinor = None
    """Instead of `talosContract`, for this node."""
    driver_channel: values.DriverChannel | None = None
    """Instead of `driverChannel`, for this node."""
    kernel_modules: values.KernelModules | None = None
    """Instead of `kernelModules`, for this node: GPUs of before Turing beside those of Blackwell, for instance."""
    install_disk_selector: values.OptionalText = None
    """Instead of `installDiskSelector`, for this node."""

    _described: Mapping[str, GpuModel] = PrivateAttr(default_factory=dict[str, GpuModel])

    def know(self, described: Mapping[str, GpuModel]) -> None:
        """Tells the node what its stack file says of GPU models."""
        self._described = described

    @property
    def cards(self) -> tuple[GpuGroup, ...]:
        """Its GPUs by model, in the order of the stack file."""
        counts = Counter[str]()
        for gpu, count in (self.gpus or ({self.gpu: self.count_of_gpu or 0} if self.gpu else {})).items():
            counts[key_of(gpu, self._described)] += count
        return tuple(GpuGroup(gpu, count, self._described.get(gpu)) for gpu, count in counts.items())

    @property
    def count(self) -> int:
        """Physical GPUs in the node, of all models."""
        return sum(cards.count for cards in self.cards)

    @property
    def whole_and_shared(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Its GPUs that are whole, and those that are not, by index or UUID; none where all are shared alike."""
        whole = self.whole_gpus
        if not whole or isinstance(whole, tuple):
            return (whole, self.shared_gpus) if whole else ((), ())
        indexes = tuple(map(str, range(self.count)))
        return indexes[:whole], indexes[whole:]

    @field_validator("gpus")
    @classmethod
    def _there_are_gpus_and_not_too_many(cls, gpus: dict[str, int] | None) -> dict[str, int] | None:
        if gpus is None:
            return None
        if not all(model.strip() for model in gpus):
            raise SettingRefused("names a GPU model that is empty", RemoveKey())
        if not all(model.isprintable() and len(model) <= 100 for model in gpus):
            raise SettingRefused("names a GPU model that does not print, or of more than 100 characters", EditFile())
        if not 0 < sum(gpus.values()) <= values.MOST_GPUS:
            raise SettingRefused(f"are {sum(gpus.values())} GPUs, and a node has 1 to {values.MOST_GPUS}", RemoveKey())
        return gpus
