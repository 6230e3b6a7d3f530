"""Stack `lab` on any line of Talos, and what a line's library says about its patches."""

from itertools import product
from typing import Any, NamedTuple

from gpuctl.desired.talos import talos_patch
from gpuctl.settings import GpuNode, Settings, read_config
from testbed.talos import CONTRACTS, LINES, RELEASES
from tests.fixtures.stack_files import ROOT, config_of

DISK = 'disk.dev_path == "/dev/sda"'
"""The expression in the configurations that the library generates."""
CHANNELS = ("production", "lts")
FLAVOURS = ("open", "proprietary")


class Combination(NamedTuple):
    """One way to run the GPU nodes."""

    line: str
    contract: str
    channel: str
    modules: str
    default_runtime: bool

    def __str__(self) -> str:
        runtime = "-default-runtime" if self.default_runtime else ""
        return f"{self.line}-contract-{self.contract}-{self.channel}-{self.modules}{runtime}"


LINES_AND_CONTRACTS = [(line, contract) for line in LINES for contract in CONTRACTS[line]]
DRIVER_535 = ("1.9", "1.10", "1.11")
"""Lines whose `lts` is a driver of which the open modules refuse the GeForce GPUs of stack `lab`."""
COMBINATIONS = [
    Combination(line, contract, channel, modules, default_runtime)
    for (line, contract), channel, modules, default_runtime in product(
        LINES_AND_CONTRACTS, CHANNELS, FLAVOURS, (False, True)
    )
    if not (line in DRIVER_535 and (channel, modules) == ("lts", "open"))
]


def lab(line: str, contract: str, **keys: Any) -> Settings:
    """Stack `lab` on the release of a line whose library there is, installed by an older or the same line."""
    usual = {
        "gpu:talosVersion": RELEASES[line],
        "gpu:talosContract": f"v{contract}",
        "gpu:installDiskSelector": DISK,
    }
    given = {f"gpu:{key}": value for key, value in keys.items()}
    return read_config("lab", config_of(ROOT / "config" / "Pulumi.lab.yaml") | usual | given)


def node_of(settings: Settings) -> GpuNode:
    """The node that has slices and a limit of its own, so a profile of its own."""
    return settings.nodes[1]


def patch_of(settings: Settings) -> str:
    """The patch of that node."""
    return talos_patch(settings, node_of(settings))
