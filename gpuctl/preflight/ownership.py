"""Objects outside a namespace, of which a cluster has only one: another owner may have them already."""

from collections.abc import Callable
from typing import NamedTuple

from gpuctl.desired.desired import Desired
from gpuctl.desired.names import PART_OF, Manifest


class Foreign(NamedTuple):
    """An object that the stack needs, and that others made."""

    kind: str
    name: str
    context: str

    @property
    def fact(self) -> str:
        """What is in the way, as a sentence without a full stop."""
        return (
            f"{self.kind} {self.name} exists already and was not made by this project: it would be taken over, and "
            "deleted by `pulumi destroy` with all that it holds"
        )

    @property
    def hand_over(self) -> str:
        """The command that makes it the project's."""
        label, value = PART_OF
        return f"kubectl --context {self.context} label {self.kind.lower()} {self.name} {label}={value}"

    @property
    def advice(self) -> str:
        """Everything that fixes it, as a sentence without a full stop."""
        other = ", or choose another gpu:namespace" if self.kind == "Namespace" else ""
        return f"Hand it over: {self.hand_over}{other}"


def foreign(desired: Desired, find: Callable[[str, str], Manifest | None]) -> list[Foreign]:
    """What stands in the stack's way; what is in its namespace goes with that.

    Args:
        desired: what the stack asks for.
        find: the object of a kind and a name, if there is one.
    """
    label, value = PART_OF
    found: list[Foreign] = []
    for manifest in desired.manifests:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        existing = None if "namespace" in manifest["metadata"] else find(kind, name)
        if existing is not None and existing["metadata"].get("labels", {}).get(label) != value:
            found.append(Foreign(kind, name, desired.settings.context))
    return found
