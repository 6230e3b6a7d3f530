"""The Image Factory schematic: which NVIDIA extensions a node's boot image contains, and its ID, computed offline.

Driver and container toolkit reach a Talos node only inside its installer image; `machine.install.extensions` has
installed nothing since Talos v1.10.0. All of it is about one node: where nodes have a Talos release, driver channel or
kernel modules of their own, the settings are those on that node (`Settings.on`).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

from gpuctl.settings import Settings

KERNEL_MODULES = {"open": "nvidia-open-gpu-kernel-modules", "proprietary": "nonfree-kmod-nvidia"}
"""Flavour of the kernel modules -> extension, without the suffix that names its channel."""
TOOLKIT = "nvidia-container-toolkit"
FABRIC_MANAGER = "nvidia-fabricmanager"


def nvidia_extensions(settings: Settings) -> list[str]:
    """NVIDIA's extensions, all of one driver channel; the kernel modules first, then the toolkit."""
    names = [KERNEL_MODULES[settings.kernel_modules], TOOLKIT, *([FABRIC_MANAGER] if settings.fabric_manager else [])]
    return [f"siderolabs/{name}-{settings.driver_channel}" for name in names]


def extensions(settings: Settings) -> list[str]:
    """Every extension of the image; their order is part of the schematic's ID."""
    return [*nvidia_extensions(settings), *settings.system_extensions]


def extension_versions(settings: Settings) -> dict[str, str | None]:
    """NVIDIA extension -> the version that Talos shows for it (`talosctl get extensions`); None where not known."""
    release = settings.release
    if release is None:
        return dict.fromkeys(nvidia_extensions(settings))
    driver = release.driver(settings.driver_channel)
    toolkit = f"{driver}-v{release.toolkit}" if release.toolkit else None
    versions = [f"{driver}-{settings.talos_version}", toolkit, driver]
    return dict(zip(nvidia_extensions(settings), versions, strict=False))


def schematic(settings: Settings) -> str | None:
    """The schematic, byte for byte as the Image Factory itself writes it; None where the stack names one of its own."""
    if settings.schematic or settings.installer_image:
        return None
    return schematic_of(extensions(settings), settings.kernel_arguments, settings.overlay)


def schematic_of(
    names: Sequence[str], kernel_arguments: Sequence[str] = (), overlay: Mapping[str, str] | None = None
) -> str:
    """The schematic with these official extensions, in the order in which the Image Factory writes its fields."""
    board = [f"    image: {overlay['image']}", f"    name: {overlay['name']}"] if overlay else []
    arguments = [f"        - {argument}" for argument in kernel_arguments]
    entries = [f"            - {name}" for name in names]
    lines = [
        *(["overlay:", *board] if board else []),
        "customization:" if arguments or entries else "customization: {}",
        *(["    extraKernelArgs:", *arguments] if arguments else []),
        *(["    systemExtensions:", "        officialExtensions:", *entries] if entries else []),
    ]
    return "".join(f"{line}\n" for line in lines)


def schematic_id(settings: Settings) -> str | None:
    """The schematic's ID, the same for every Talos release; None where an image of one's own names none."""
    if settings.installer_image:
        found = re.search(r"/([0-9a-f]{64})[:@]", settings.installer_image)
        return found[1] if found else None
    text = schematic(settings)
    return settings.schematic if text is None else id_of(text)


def id_of(text: str) -> str:
    """The ID of a schematic: the hash of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def installer_image(settings: Settings) -> str:
    """The installer image to upgrade a GPU node to."""
    if settings.installer_image:
        return settings.installer_image
    platform = "metal-installer-secureboot" if settings.secure_boot else "metal-installer"
    return f"{settings.image_factory}/{platform}/{schematic_id(settings)}:{settings.talos_version}"


def image_is_chosen(settings: Settings) -> bool:
    """Whether the stack says what its image contains besides NVIDIA's extensions, or which image it is."""
    own = settings.schematic or settings.installer_image
    return bool(own or settings.system_extensions or settings.kernel_arguments or settings.overlay)
