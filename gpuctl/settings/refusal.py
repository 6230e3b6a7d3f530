"""How a rule of the settings says no: with the reason, and with the value or command that fixes it."""

import json
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class SetValue:
    """Fixed by setting a key: `pulumi config set KEY VALUE`."""

    value: str
    key: str | None = None
    """Such as `slices` or `nodes[0].powerLimit`; None is the key at fault."""


@dataclass(frozen=True)
class RemoveKey:
    """Fixed by removing a key: `pulumi config rm KEY`."""

    key: str | None = None


Remedy = SetValue | RemoveKey


def step(part: int | str) -> str:
    """One step in a property path, as Pulumi reads it: `[0]`, `.name` or `["any text"]`."""
    plain = isinstance(part, str) and re.fullmatch(r"[-\w]+", part)
    return f".{part}" if plain else f"[{json.dumps(part)}]"


class SettingRefused(ValueError):  # noqa: N818 (pydantic turns a ValueError into one of its own, and keeps this one in it)
    """A value that is well-formed and still wrong."""

    def __init__(self, reason: str, *remedies: Remedy) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedies = remedies
