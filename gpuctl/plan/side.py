"""One side of a change: what a stack file asks for, or why it cannot be deployed."""

from dataclasses import dataclass
from functools import cached_property

from gpuctl.desired.desired import Desired, desired_state
from gpuctl.desired.names import yaml_text
from gpuctl.plan.figures import NodeFigures, node_figures
from gpuctl.plan.revisions import UnreadableError
from gpuctl.settings import SettingsError
from gpuctl.settings.mistakes import in_the_file
from gpuctl.settings.stack_file import parse_stack, refuse_misnamed


@dataclass(frozen=True)
class Side:
    """A stack at one revision; neither desired state nor mistakes when it does not exist there."""

    desired: Desired | None = None
    mistakes: str = ""

    @property
    def total(self) -> int:
        """Its schedulable slices."""
        return self.desired.capacity.total if self.desired else 0

    @cached_property
    def nodes(self) -> dict[str, NodeFigures]:
        """Node -> its figures."""
        return node_figures(self.desired) if self.desired else {}

    @cached_property
    def objects(self) -> dict[str, str]:
        """`KIND NAME` -> the Kubernetes object as YAML."""
        parts = self.desired.parts if self.desired else ()
        return {
            f"{manifest['kind']} {name}": yaml_text(manifest)
            for part in parts
            if not part.is_patch
            for name, manifest in part.objects.items()
        }

    @cached_property
    def patches(self) -> dict[str, str]:
        """Node -> its Talos patch as YAML."""
        return dict(self.desired.patches) if self.desired else {}


def side(stack: str, text: str | UnreadableError | None) -> Side:
    """A stack as its file says; None is a file that is not there."""
    if text is None:
        return Side()
    if isinstance(text, UnreadableError):
        return Side(mistakes=str(SettingsError(stack, [in_the_file(f"config/Pulumi.{stack}.yaml", str(text))])))
    try:
        refuse_misnamed(stack)
        return Side(desired_state(parse_stack(stack, text, f"config/Pulumi.{stack}.yaml")))
    except SettingsError as error:
        return Side(mistakes=str(error))
