"""How a rule of the settings says no: with the reason, and with the value or command that mends it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SetValue:
    """Mended by setting a key: `pulumi config set KEY VALUE`."""

    value: str
    key: str | None = None
    """Such as `slices` or `nodes[0].powerLimit`; None is the key at fault."""


@dataclass(frozen=True)
class RemoveKey:
    """Mended by removing a key: `pulumi config rm KEY`."""

    key: str | None = None


Remedy = SetValue | RemoveKey


class Refused(ValueError):  # noqa: N818 (pydantic turns a ValueError into one of its own, and keeps this one in it)
    """A value that is well-formed and still wrong."""

    def __init__(self, reason: str, *remedies: Remedy) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedies = remedies
