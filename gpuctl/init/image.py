"""The boot image of the GPU nodes: which driver is in it, which their GPUs need, and what else it has to keep."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuctl.desired.schematic import FABRIC_MANAGER, KERNEL_MODULES, TOOLKIT, id_of, schematic_of
from gpuctl.init.gpus import Gpus
from gpuctl.init.look import Seen
from gpuctl.init.text import Entry, Item
from gpuctl.settings import Settings
from gpuctl.settings.checking import check
from gpuctl.settings.talos_rules import CHANNELS

_NOT_EXTENSIONS = ("modules.dep",)
"""What Talos lists among the extensions of an image, and makes itself."""
_NAME = re.compile("[a-z0-9][a-z0-9.-]*")
_SCHEMATIC = re.compile("[0-9a-f]{64}")


class Driver(NamedTuple):
    """What a node's driver is: by driver channel and flavour of the kernel modules, as in a stack file."""

    channel: str
    modules: str

    @property
    def extensions(self) -> tuple[str, str]:
        """Which extensions bring it."""
        return f"{KERNEL_MODULES[self.modules]}-{self.channel}", f"{TOOLKIT}-{self.channel}"


DRIVERS = tuple(Driver(channel, modules) for modules in ("open", "proprietary") for channel in CHANNELS)
"""Each that there can be, the usual one first."""


def driver_in(node: Seen) -> Driver | None:
    """The driver in a node's image; None where there is none."""
    return next((driver for driver in DRIVERS if driver.extensions[0] in node.extensions), None)


def driver_for(node: Seen, gpus: Gpus, talos: str) -> Driver:
    """The driver in a node's image if it drives the GPUs, else the first that does, by the rules of stack files.

    Args:
        node: as it was seen.
        gpus: in it.
        talos: its release.
    """
    has = driver_in(node)
    wanted = ([has] if has else []) + list(DRIVERS)
    return next((driver for driver in wanted if _drives(driver, gpus, talos)), wanted[0])


def _drives(driver: Driver, gpus: Gpus, talos: str) -> bool:
    node = {"name": "gpu-1", "gpus": dict(gpus)}
    own = {"talosVersion": talos, "driverChannel": driver.channel, "kernelModules": driver.modules}
    return isinstance(check({"context": "any", "nodes": [node], "powerManagement": False} | own), Settings)


def image_entries(nodes: Sequence[Seen], drivers: Mapping[str, Driver]) -> Iterator[Entry]:
    """What a stack file says of the image of its nodes.

    Args:
        nodes: that it declares.
        drivers: by node.
    """
    usual = usual_driver(drivers)
    lacking = [node.name for node in nodes if node.talos and not _has(node, drivers[node.name])]
    without = [f"Not in the image of {', '.join(lacking)} yet: `gpuctl talos patch` says how it gets there"]
    yield Entry("driverChannel", usual.channel, ["NVIDIA driver", *(without if lacking else [])])
    yield Entry("kernelModules", usual.modules)
    if _is_kept_whole(nodes, drivers):
        said = "The nodes' image, kept as it is: it is of this schematic, whose kernel arguments do not show here"
        yield Entry("schematic", nodes[0].schematic, [said])
        return
    if any(_fabric_manager(node) for node in nodes):
        yield Entry("fabricManager", value=True)
    if further := sorted({name for node in nodes for name in _further(node)}):
        said = "What else is in the nodes' images, taken as Sidero's extensions; without it an upgrade would lose it"
        yield Entry("systemExtensions", [Item(f"siderolabs/{name}") for name in further], [said])
    if others := [node.name for node in nodes if node.schematic and node.schematic != _schematic_of_its_names(node)]:
        said = f"Name them: the image of {', '.join(others)} has kernel arguments, an overlay or other extensions"
        yield Entry("kernelArguments", [Item("intel_iommu=on")], [said], is_set=False)


def usual_driver(drivers: Mapping[str, Driver]) -> Driver:
    """The driver of most nodes."""
    counts = Counter(drivers.values())
    return max(DRIVERS, key=lambda driver: counts[driver])  # of several the first


def _has(node: Seen, driver: Driver) -> bool:
    return node.extensions.issuperset(driver.extensions)


def _fabric_manager(node: Seen) -> list[str]:
    return [name for name in sorted(node.extensions) if name.startswith(FABRIC_MANAGER)]


def _further(node: Seen) -> list[str]:
    """The extensions in a node's image besides NVIDIA's driver that a stack file can name."""
    own = (*KERNEL_MODULES.values(), TOOLKIT, FABRIC_MANAGER)
    others = (name for name in sorted(node.extensions) if not name.startswith(own) and name not in _NOT_EXTENSIONS)
    return [name for name in others if _NAME.fullmatch(name)]


def _is_kept_whole(nodes: Sequence[Seen], drivers: Mapping[str, Driver]) -> bool:
    """Whether all nodes have one image, with the driver, that the keys of its content would not make again."""
    first = nodes[0]
    if any(node.schematic != first.schematic or not _has(node, drivers[node.name]) for node in nodes):
        return False
    is_one = _SCHEMATIC.fullmatch(first.schematic) and len(set(drivers.values())) == 1
    return bool(is_one) and first.schematic != _schematic_of_its_names(first)


def _schematic_of_its_names(node: Seen) -> str:
    """The ID of the schematic that has a node's extensions and nothing else, in the order of stack files."""
    driver = driver_in(node)
    names = [*(driver.extensions if driver else ()), *_fabric_manager(node), *_further(node)]
    return id_of(schematic_of([f"siderolabs/{name}" for name in names]))
