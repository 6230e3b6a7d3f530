"""The Image Factory schematic: which NVIDIA extensions a node's boot image contains, and its ID, computed offline.

Driver and container toolkit reach a Talos node only inside its installer image; `machine.install.extensions` has
installed nothing since Talos v1.10.0.
"""

import hashlib

from gpuctl.settings import Settings

_FACTORY = "factory.talos.dev"
_KERNEL_MODULES = {"open": "nvidia-open-gpu-kernel-modules", "proprietary": "nonfree-kmod-nvidia"}


def extensions(settings: Settings) -> list[str]:
    """The official extensions, both of one driver branch; their order is part of the schematic's ID."""
    names = (_KERNEL_MODULES[settings.kernel_modules], "nvidia-container-toolkit")
    return [f"siderolabs/{name}-{settings.driver_channel}" for name in names]


def schematic(settings: Settings) -> str:
    """The schematic, byte for byte as the Image Factory itself writes it: its ID is the hash of this text."""
    entries = "".join(f"            - {name}\n" for name in extensions(settings))
    return f"customization:\n    systemExtensions:\n        officialExtensions:\n{entries}"


def schematic_id(settings: Settings) -> str:
    """The schematic's ID; the same for every Talos release."""
    return hashlib.sha256(schematic(settings).encode()).hexdigest()


def installer_image(settings: Settings) -> str:
    """The installer image to upgrade a GPU node to."""
    return f"{_FACTORY}/metal-installer/{schematic_id(settings)}:{settings.talos_version}"
