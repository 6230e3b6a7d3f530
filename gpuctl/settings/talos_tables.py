"""What is known of Talos: gpuctl/data/talos_releases.json and gpuctl/data/kubernetes_compat.json, typed.

Plain values and no models, which would cost every start their building; a test holds the tables to these types.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

Minor = tuple[int, int]
"""A minor version: `v1.13.9` and `v1.13` are both of (1, 13)."""

_DATA = Path(__file__).parents[1] / "data"


def minor_of(version: str) -> Minor:
    """The minor version of a release."""
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


def order_of(version: str) -> tuple[list[int], bool, str, list[int]]:
    """By which releases sort, oldest first: `v1.14.0-beta.1` comes before `v1.14.0`."""
    release, _, before_it = version.partition("-")
    numbers, counts = ([int(number) for number in re.findall(r"\d+", part)] for part in (release, before_it))
    return numbers, not before_it, before_it.partition(".")[0], counts


def format_minor(of: Minor) -> str:
    """A minor version as people write it: `v1.13`."""
    return f"v{of[0]}.{of[1]}"


class Release(NamedTuple):
    """What the NVIDIA extensions of one Talos release contain; versions without a leading v."""

    pkgs: str | None
    """The kernel build the modules are made for; None where it is not confirmed."""
    production: str
    """Driver of the channel `production`."""
    lts: str
    """Driver of the channel `lts`. Channels are not ordered: on v1.12 this one is the newer."""
    toolkit: str | None
    """NVIDIA container toolkit; the same in both channels. None where it is not confirmed."""
    gdrcopy: str | None = None
    """GDRCopy; None before v1.12, which has no extension for it."""

    def driver(self, channel: str) -> str:
        """The driver of a channel."""
        return self.lts if channel == "lts" else self.production


_TABLES = json.loads((_DATA / "talos_releases.json").read_bytes())
_LINES = json.loads((_DATA / "kubernetes_compat.json").read_bytes())["lines"]

RELEASES = {version: Release(**row) for version, row in _TABLES["releases"].items()}
"""Talos release, such as `v1.13.9` -> its NVIDIA extensions. A release that is not here is unknown."""
UNUSABLE: dict[str, str] = _TABLES["unusable"]
"""Talos release -> why no GPU node can run it."""
CHANNELS_BY_MINOR: dict[Minor, dict[str, tuple[str, ...]]] = {
    minor_of(name): {channel: tuple(flavours) for channel, flavours in channels.items()}
    for name, channels in _TABLES["channels"].items()
}
"""Talos minor version -> its driver channels -> the flavours of kernel modules that there are extensions for."""
TALOS_MINORS: tuple[Minor, ...] = tuple(minor_of(name) for name in _LINES)
"""The lines whose machine configuration the patches are written for, oldest first."""
KUBERNETES_MINORS: dict[Minor, tuple[Minor, Minor]] = {
    minor_of(name): (minor_of(row["kubernetes"][0]), minor_of(row["kubernetes"][1])) for name, row in _LINES.items()
}
"""Talos minor version -> the first and the last of Kubernetes that it runs."""
UPGRADE_FROM: dict[Minor, Minor] = {minor_of(name): minor_of(row["upgradeFrom"]) for name, row in _LINES.items()}
"""Talos minor version -> the oldest one it can be upgraded from."""

WITHOUT_TOOLKIT_FROM: Minor = (1, 15)
"""From this minor version on the extension has no container toolkit (Talos v1.15 documentation, NVIDIA GPU)."""
WITHOUT_TOOLKIT = (
    "has no NVIDIA container toolkit in its extensions, so no handler nvidia: neither the RuntimeClass nor the device "
    "plugin works there, and gpu:backend must be dra, which needs neither"
)


def has_toolkit(version: str) -> bool:
    """Whether the extensions of a Talos release have NVIDIA's container toolkit, and its nodes the handler `nvidia`."""
    return minor_of(version) < WITHOUT_TOOLKIT_FROM


def newest_release(of: Minor) -> str:
    """The newest final release of a line that is in the table, else its `.0`, such as `v1.14.0`."""
    known = [name for name in RELEASES if minor_of(name) == of and "-" not in name]
    return known[-1] if known else f"{format_minor(of)}.0"
