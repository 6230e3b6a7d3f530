"""Pulumi ESC environments, from which a stack takes values that are not in its file; only Pulumi can resolve them."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from gpuctl.settings.refusal import listed, printable

Resolve = Callable[[str], Mapping[str, object]]
"""Stack -> its whole configuration as Pulumi resolves it: full key to value, `{secure: ...}` in the place of a secret.

Raises:
    UnresolvedError: Pulumi did not answer.
"""

_UNKNOWN = "[unknown]"
"""Stands in Pulumi's answer for a value that an environment takes from elsewhere once it is opened."""


class UnresolvedError(Exception):
    """Pulumi did not resolve a stack's environments; with the reason."""


@dataclass(frozen=True)
class Environments:
    """What a stack file takes from environments."""

    names: str = ""
    """For messages; empty when it names none."""
    values: Mapping[str, object] | None = None
    """Full key -> value of the whole configuration; None when nobody resolved it."""
    reason: str = ""
    """Why not."""
    single: str = ""
    """The only environment, if that is one with a name."""

    def on_top(self, own: Mapping[str, object], namespace: str) -> tuple[dict[str, object], set[str]]:
        """A file's own keys completed by what environments set, and which those are.

        Args:
            own: key without namespace -> value, in the file.
            namespace: of the project.
        """
        set_elsewhere = {
            key.removeprefix(f"{namespace}:"): value
            for key, value in (self.values or {}).items()
            if key.startswith(f"{namespace}:") and value not in ("", []) and not _is_unknown(value)
        }
        merged = {name: value for name, value in set_elsewhere.items() if name not in own or _differs(own[name], value)}
        return {**own, **merged}, set(merged)

    def warnings(self, stack: str, name: str) -> list[str]:
        """What is not known of the stack's configuration.

        Args:
            stack: its name.
            name: how messages call its file.
        """
        unknown = [key for key, value in (self.values or {}).items() if _is_unknown(value)]
        if not self.names or (self.values is not None and not unknown):
            return []
        what, why = (
            (f"{printable(listed(unknown))} from", "known once it is opened")
            if unknown
            else ("values from", self.reason)
        )
        show = shlex.join(["pulumi", "config", "--stack", stack, *(["--open"] if unknown else [])])
        return [
            f"{printable(name, 300)} takes {what} the Pulumi environment {self.names}, which is not resolved here "
            f"({printable(why, 300)}): what `pulumi up` uses may differ from what is said here; see: {show}"
        ]

    def command(self, stack: str) -> str:
        """What leads to the place where a value of an environment is changed."""
        if self.single:
            return shlex.join(["pulumi", "env", "edit", self.single])
        return shlex.join(["pulumi", "config", "env", "ls", "--stack", stack])


NO_ENVIRONMENTS = Environments()


def environments_of(stack: str, environment: object, resolve: Resolve | None) -> Environments:
    """What a stack file takes from environments, as far as someone can resolve them.

    Args:
        stack: its name.
        environment: that key of its file.
        resolve: asks Pulumi; None where what lies on this machine is not what the file is about.
    """
    if environment in (None, [], {}, ""):
        return NO_ENVIRONMENTS
    names = [_name(each) for each in cast(Sequence[object], environment)] if isinstance(environment, list) else []
    shown = printable(listed(names)) if names else "of the file"
    single = names[0].partition("@")[0] if len(names) == 1 and names[0].isprintable() else ""
    if resolve is None:
        return Environments(shown, None, "Pulumi resolves it for the stack as it is, and not for a revision", single)
    try:
        return Environments(shown, resolve(stack), "", single)
    except UnresolvedError as error:
        return Environments(shown, None, str(error), single)


def _differs(in_the_file: object, resolved: object) -> bool:
    """Whether an environment completes a value of the file: it does so to mappings only."""
    is_secret = isinstance(in_the_file, dict) and "secure" in in_the_file
    return isinstance(resolved, dict) and not is_secret and in_the_file != resolved


def _is_unknown(value: object) -> bool:
    """Whether it, or something in it, is known only to who opens the environment."""
    return repr(_UNKNOWN) in repr(value)


def _name(entry: object) -> str:
    """An entry is a name, or a mapping from it to options."""
    return next(map(str, cast(Mapping[object, object], entry)), "") if isinstance(entry, dict) else str(entry)
