"""An existing Talos machine configuration, or a patch for one: what it says, and what is wrong with it."""

from gpuctl.machine_config.checking import Wanted, check
from gpuctl.machine_config.document import MachineConfig, MachineConfigError, parse
from gpuctl.machine_config.finding import Finding
from gpuctl.machine_config.presence import present
from gpuctl.machine_config.wrappers import Part, parts_of

__all__ = [
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
