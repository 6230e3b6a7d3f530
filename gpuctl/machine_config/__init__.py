"""An existing Talos machine configuration, or a patch for one: what it says, and what is wrong with it."""

from gpuctl.machine_config.checking import Wanted, check
from gpuctl.machine_config.document import MachineConfig, MachineConfigError, parse
from gpuctl.machine_config.finding import Finding
from gpuctl.machine_config.presence import present
from gpuctl.machine_config.wrappers import Part, parts_of
from gpuctl.machine_config.yaml_text import MOST_BYTES

__all__ = [
    "MOST_BYTES",
    "Finding",
    "MachineConfig",
    "MachineConfigError",
    "Part",
    "Wanted",
    "check",
    "parse",
    "parts_of",
    "present",
]
