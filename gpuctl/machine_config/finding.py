"""What is found in a machine configuration, and what the rules look at."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from gpuctl.machine_config.document import MachineConfig
from gpuctl.settings.talos_tables import Minor

EDIT = "talosctl --nodes ADDRESS edit machineconfig"
"""What fixes an entry that stands there twice: patches append to lists."""


@dataclass(frozen=True)
class Finding:
    """Something missing, wrong or without effect."""

    code: str
    """Such as `module-twice`; docs/talos.md lists them."""
    where: str
    """Path in the configuration."""
    problem: str
    """With its consequence."""
    fix: str
    is_unknown: bool = False
    """Whether nothing is wrong as far as can be determined, and something could not be."""

    def __str__(self) -> str:
        return f"[{self.code}] {self.where}: {self.problem}\n  {'see' if self.is_unknown else 'fix it'}: {self.fix}"


@dataclass(frozen=True)
class Subject:
    """A configuration, and what it is held against."""

    config: MachineConfig
    talos_version: str
    minor: Minor
    image: str | None = None
    """The installer image it should name; None where that is not known."""
    image_is_chosen: bool = False
    """Whether the stack says itself what its image contains besides NVIDIA's extensions."""
    labels: Mapping[str, str] | None = None
    """The node labels it should set; None where that is not known."""
    labels_of_the_stack: Mapping[str, str] = field(default_factory=dict[str, str])
    """The node labels it should leave to the stack."""
    default_runtime: bool = False
    """Whether it should make NVIDIA's the default runtime."""


Rule = Callable[[Subject], Iterator[Finding]]
