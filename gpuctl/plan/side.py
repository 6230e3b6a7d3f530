"""One side of a change: what a stack file asks for, computed once."""

from dataclasses import dataclass
from functools import cached_property

from gpuctl.desired.manifests import manifests
from gpuctl.desired.names import Manifest
from gpuctl.desired.talos import talos_patches
from gpuctl.desired.text import yaml_text
from gpuctl.plan.figures import NodeFigures, node_figures
from gpuctl.settings import Settings, SettingsError
from gpuctl.settings.stack_file import parse_stack


@dataclass(frozen=True)
class Desired:
    """What a valid stack file asks for."""

    settings: Settings

    @cached_property
    def nodes(self) -> dict[str, NodeFigures]:
        """Node -> its figures."""
        return node_figures(self.settings)

    @cached_property
    def manifests(self) -> list[Manifest]:
        """The Kubernetes objects."""
        return manifests(self.settings)

    @cached_property
    def objects(self) -> dict[str, str]:
        """`KIND NAME` -> the Kubernetes object as YAML."""
        return {f"{found['kind']} {found['metadata']['name']}": yaml_text(found) for found in self.manifests}

    @cached_property
    def patches(self) -> dict[str, str]:
        """Node -> its Talos patch as YAML."""
        return talos_patches(self.settings)


@dataclass(frozen=True)
class Side:
    """A stack at one revision; neither desired state nor mistakes when it does not exist there."""

    desired: Desired | None = None
    mistakes: str = ""

    @property
    def total(self) -> int:
        """Its schedulable slices."""
        return sum(node.offered for node in self.desired.nodes.values()) if self.desired else 0


def side(stack: str, text: str | None) -> Side:
    """A stack as its file says; None is a file that is not there."""
    if text is None:
        return Side()
    try:
        return Side(Desired(parse_stack(stack, text, f"config/Pulumi.{stack}.yaml")))
    except SettingsError as error:
        return Side(mistakes=str(error))
