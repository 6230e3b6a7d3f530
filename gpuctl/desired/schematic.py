"""The Image Factory schematic: which NVIDIA extensions a node's boot image contains, and its ID, computed offline.

Driver and container toolkit reach a Talos node only inside its installer image; `machine.install.extensions` has
installed nothing since Talos v1.10.0.
"""

import hashlib
from collections.abc import Sequence

from gpuctl.settings import Settings

KERNEL_MODULES = {"open": "nvidia-open-gpu-kernel-modules", "proprietary": "nonfree-kmod-nvidia"}
"""Flavour of the kernel modules -> extension, without the suffix that names its channel."""
TOOLKIT = "nvidia-container-toolkit"
FABRIC_MANAGER = "nvidia-fabricmanager"


def extensions(settings: Settings) -> list[str]:
    """The extensions, all of one driver channel; their order is part of the schematic's ID."""
    names = [KERNEL_MODULES[settings.kernel_modules], TOOLKIT, *([FABRIC_MANAGER] if settings.fabric_manager else [])]
    return [f"siderolabs/{name}-{settings.driver_channel}" for name in names]


def extension_versions(settings: Settings) -> dict[str, str | None]:
    """Extension -> the version that Talos shows for it (`talosctl get extensions`); None where it is not known."""
    release = settings.release
    if release is None:
        return dict.fromkeys(extensions(settings))
    driver = release.driver(settings.driver_channel)
    versions = [f"{driver}-{settings.talos_version}", f"{driver}-v{release.toolkit}", driver]
    return dict(zip(extensions(settings), versions, strict=False))


def schematic(settings: Settings) -> str:
    """The schematic, byte for byte as the Image Factory itself writes it: its ID is the hash of this text."""
    return schematic_of(extensions(settings))


def schematic_of(names: Sequence[str]) -> str:
    """The schematic with these official extensions."""
    entries = "".join(f"            - {name}\n" for name in names)
    return f"customization:\n    systemExtensions:\n        officialExtensions:\n{entries}"


def schematic_id(settings: Settings) -> str:
    """The schematic's ID; the same for every Talos release."""
    return id_of(schematic(settings))


def id_of(text: str) -> str:
    """The ID of a schematic."""
    return hashlib.sha256(text.encode()).hexdigest()


def installer_image(settings: Settings) -> str:
    """The installer image to upgrade a GPU node to."""
    platform = "metal-installer-secureboot" if settings.secure_boot else "metal-installer"
    return f"{settings.image_factory}/{platform}/{schematic_id(settings)}:{settings.talos_version}"
