"""Simulated GPUs: the known models, what a node has, and a GPU's state as a test may perturb it.

The state of a GPU is one directory of small files shared with the simulated driver; `nvml/nvml.c` lists
them. This module does not talk to the driver: it writes what the silicon, another process or a fault would
have changed.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DRIVER_VERSION = "580.95.05"
CUDA_VERSION = 13000

MAX_GPUS_PER_NODE = 16
"""Size of the simulated driver's table (`MAX_GPUS` in nvml.c)."""


@dataclass(frozen=True)
class GpuModel:
    """A graphics card as its vendor describes it. Power in watts, memory in MiB."""

    name: str
    memory_mib: int
    default_watts: int
    min_watts: int
    max_watts: int
    pci_device_id: int
    compute_capability: str


MODELS = {
    "rtx-3060": GpuModel("NVIDIA GeForce RTX 3060", 12288, 170, 100, 190, 0x250310DE, "8.6"),
    "rtx-3070": GpuModel("NVIDIA GeForce RTX 3070", 8192, 220, 100, 250, 0x248410DE, "8.6"),
    "rtx-3080": GpuModel("NVIDIA GeForce RTX 3080", 10240, 320, 100, 350, 0x220610DE, "8.6"),
    "rtx-3090": GpuModel("NVIDIA GeForce RTX 3090", 24576, 350, 100, 375, 0x220410DE, "8.6"),
    "rtx-4060-ti": GpuModel("NVIDIA GeForce RTX 4060 Ti", 8188, 165, 100, 165, 0x280310DE, "8.9"),
    "rtx-4090": GpuModel("NVIDIA GeForce RTX 4090", 24564, 450, 150, 600, 0x268410DE, "8.9"),
    "rtx-5090": GpuModel("NVIDIA GeForce RTX 5090", 32607, 575, 400, 600, 0x2B8510DE, "12.0"),
    "l4": GpuModel("NVIDIA L4", 23034, 72, 40, 72, 0x27B810DE, "8.9"),
    "h200": GpuModel("NVIDIA H200", 143771, 700, 200, 700, 0x233510DE, "9.0"),
}
"""Power ranges as captured on real boards; partner boards of the same name differ."""


@dataclass(frozen=True)
class NodeSpec:
    """A node and the GPUs in its slots, in slot order."""

    name: str
    boards: tuple[str, ...] = ()
    """Keys of MODELS; none on a node with real GPUs."""

    @property
    def models(self) -> tuple[GpuModel, ...]:
        """The model of each GPU."""
        return tuple(MODELS[board] for board in self.boards)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `NAME=MODELxCOUNT[+MODELxCOUNT...]`, for example `gpu-1=rtx-3090x2`.

        Raises:
            ValueError: the text has another form, an unknown model, or more GPUs than a node holds.
        """
        name, separator, boards = text.partition("=")
        if not separator or not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
            raise ValueError(
                f"node {text!r} has no valid name before '=': Kubernetes takes lower-case letters, digits "
                "and hyphens. Write it as gpu-1=rtx-3090x2"
            )
        keys = tuple(key for part in boards.split("+") for key in _boards(part, text))
        if len(keys) > MAX_GPUS_PER_NODE:
            raise ValueError(
                f"node {text!r} has {len(keys)} GPUs, the simulated driver holds {MAX_GPUS_PER_NODE}. "
                "Spread them over more nodes with a second --node"
            )
        return cls(name, keys)

    def uuids(self) -> list[str]:
        """The UUID of each GPU: the same at every start, different on every node."""
        seeds = [f"gpu-testbed/{self.name}/{index}" for index in range(len(self.boards))]
        return [f"GPU-{uuid.uuid5(uuid.NAMESPACE_URL, seed)}" for seed in seeds]

    def driver_config(self) -> str:
        """The simulated driver's description of the node (`$GPUSIM_CONFIG`)."""
        lines = [f"driver_version = {DRIVER_VERSION}", f"cuda_version = {CUDA_VERSION}"]
        for index, (gpu_uuid, model) in enumerate(zip(self.uuids(), self.models, strict=True)):
            lines += [
                "[gpu]",
                f"name = {model.name}",
                f"uuid = {gpu_uuid}",
                f"minor = {index}",
                f"pci_bus_id = 00000000:{index + 1:02X}:00.0",
                f"pci_device_id = {model.pci_device_id:#010x}",
                f"compute_capability = {model.compute_capability}",
                f"memory_mib = {model.memory_mib}",
                f"power_default_mw = {model.default_watts * 1000}",
                f"power_min_mw = {model.min_watts * 1000}",
                f"power_max_mw = {model.max_watts * 1000}",
                f"power_idle_mw = {model.default_watts * 1000 // 14}",
                "temperature = 34",
            ]
        return "\n".join(lines) + "\n"


def _boards(part: str, text: str) -> list[str]:
    match = re.fullmatch(r"(?P<model>.+)x(?P<count>[1-9]\d*)", part)
    if match is None:
        raise ValueError(
            f"node {text!r}: {part!r} does not say how many GPUs of which model. "
            "Write MODELxCOUNT, for example rtx-3090x2"
        )
    if match["model"] not in MODELS:
        raise ValueError(f"node {text!r}: GPU model {match['model']!r} is not simulated. Known: {', '.join(MODELS)}")
    return [match["model"]] * int(match["count"])


class SimulatedGpu:
    """One GPU's state directory. What is written here is what every process of the node reads next."""

    def __init__(self, directory: Path, model: GpuModel) -> None:
        self.directory = directory
        self.model = model

    @property
    def uuid(self) -> str:
        """`GPU-` and the board's UUID."""
        return self.directory.name

    @property
    def power_limit(self) -> float:
        """The requested power limit in watts: what was last set, else the board's default."""
        return self._read("power_limit", self.model.default_watts * 1000) / 1000

    @property
    def lost(self) -> bool:
        """Whether the GPU fell off the bus."""
        return (self.directory / "lost").exists()

    @property
    def utilization(self) -> int:
        """Load in percent."""
        return self._read("utilization", 0)

    @property
    def temperature(self) -> int:
        """Degrees Celsius."""
        return self._read("temperature", 34)

    @property
    def xids(self) -> list[int]:
        """Every Xid raised since the node started."""
        path = self.directory / "xid"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def drift(self, watts: float) -> None:
        """Another process moves the power limit."""
        self._write("power_limit", round(watts * 1000))

    def cap_elsewhere(self, watts: float | None) -> None:
        """Another limiter (power brake, out-of-band management) enforces less; None lifts it."""
        self._write("enforced_power_limit", None if watts is None else round(watts * 1000))

    def reload_driver(self) -> None:
        """A reboot or a driver reload: all that was set is gone, a lost GPU is back."""
        for path in self.directory.iterdir():  # the directory itself stays: containers have it mounted
            path.unlink()

    def raise_xid(self, xid: int) -> None:
        """The driver reports an Xid, such as 79 (fell off the bus).

        The device plugin ignores 13, 31, 43, 45, 68 and 109; any other makes the GPU unhealthy.
        """
        with (self.directory / "xid").open("a") as file:
            file.write(f"{xid}\n")

    def lose(self) -> None:
        """Every call on the GPU answers "GPU is lost" from now on."""
        (self.directory / "lost").touch()

    def recover(self) -> None:
        """A lost GPU answers again."""
        (self.directory / "lost").unlink(missing_ok=True)

    def fail_set(self, nvml_error: int | None) -> None:
        """Every set call returns this NVML error (3 not supported, 4 no permission); None ends that."""
        self._write("fail_set", nvml_error)

    def draw(self, watts: float | None) -> None:
        """Fixes the power draw; None lets it follow the utilisation, up to the limit."""
        self._write("power_draw", None if watts is None else round(watts * 1000))

    def heat(self, celsius: int) -> None:
        """Sets the temperature."""
        self._write("temperature", celsius)

    def load(self, percent: int) -> None:
        """Sets the utilisation; the draw follows it."""
        self._write("utilization", percent)

    def set_processes(self, processes: Iterable[tuple[int, int, int]]) -> None:
        """Programs use the GPU.

        Args:
            processes: process id on this machine, MiB of memory and percent of the multiprocessors' time of each; one
                that has ended is not listed any more.
        """
        found = list(processes)
        self._write("memory_used", sum(memory for _, memory, _ in found) or None)
        self._write("utilization", min(100, sum(share for *_, share in found)))
        self._write("processes", "\n".join(" ".join(map(str, each)) for each in found) or None)

    def _read(self, name: str, default: int) -> int:
        path = self.directory / name
        return int(path.read_text()) if path.exists() else default

    def _write(self, name: str, value: int | str | None) -> None:
        path = self.directory / name
        if value is None:
            path.unlink(missing_ok=True)
            return
        draft = path.with_suffix(".draft")
        draft.write_text(f"{value}\n")
        draft.replace(path)
