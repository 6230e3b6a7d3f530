"""Installer images: which a configuration names, and what is known of their content."""

import itertools
import re
from collections.abc import Iterator
from functools import cache

from gpuctl.desired.schematic import FABRIC_MANAGER, KERNEL_MODULES, TOOLKIT, id_of, schematic_of
from gpuctl.machine_config.document import MachineConfig, inside
from gpuctl.settings.talos_rules import CHANNELS

RELEASE = re.compile(r"v\d+\.\d+\.\d+(-[a-z]+\.\d+)?")

_REFERENCE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:[\w][\w.-]*)?(@sha256:[0-9a-f]{64})?")
_SCHEMATIC = re.compile(r"/[a-z0-9-]*installer(?:-secureboot)?/([0-9a-f]{64})(?=[:@]|$)")
_PLAIN_INSTALLER = re.compile(r"ghcr\.io/siderolabs/installer(-base)?([:@].*)?|factory\.talos\.dev/.*")
"""Talos' own image; and one of the public Image Factory, when its reference has no schematic. In another registry an
image of the same name may hold anything."""
_WITHOUT_A_GPU = (
    "amd-ucode",
    "gvisor",
    "i915",
    "intel-ucode",
    "iscsi-tools",
    "qemu-guest-agent",
    "tailscale",
    "util-linux-tools",
)
"""Extensions that people have most; every set of them is recognized by its ID."""


def images(config: MachineConfig) -> Iterator[tuple[str, str]]:
    """The installer images that a configuration names, each after its place."""
    image = config.below("install", "image")
    if image:
        yield "machine.install.image", str(image)
    for document in config.of_kind("UnattendedInstallConfig"):
        image = inside(document, "installer", "image")
        if image:
            yield "UnattendedInstallConfig.installer.image", str(image)


def release_in(config: MachineConfig) -> str | None:
    """The Talos release of the installer image that a configuration names; None where it names none."""
    return next((tag for _, image in images(config) if (tag := release_of(image))), None)


def release_of(image: str) -> str | None:
    """The Talos release in an image's tag; None where it is none."""
    tag = image.partition("@")[0].rpartition(":")[2]
    return tag if RELEASE.fullmatch(tag) else None


def is_reference(image: str) -> bool:
    """Whether a text can be an image at all."""
    return _REFERENCE.fullmatch(image) is not None


def is_filled_in_later(image: str) -> bool:
    """Whether a text has a place where a template puts something, so that it is not the image yet."""
    return "${" in image or "{{" in image


def schematic_in(image: str) -> str | None:
    """The ID of the schematic in an image of an Image Factory; None where it names none."""
    found = _SCHEMATIC.search(image)
    return found[1] if found else None


def extensions_in(image: str) -> tuple[str, ...] | None:
    """The official extensions of an image; None where that could not be determined.

    An ID is a hash, so a schematic is recognized only when it is one of those computed here.
    """
    identity = schematic_in(image)
    if identity:
        return _known_schematics().get(identity)
    return () if _PLAIN_INSTALLER.fullmatch(image) else None


def of_release(image: str, release: str) -> str:
    """The same image for a Talos release; as it is where its tag is none, or a digest pins it."""
    return f"{image.rpartition(':')[0]}:{release}" if release_of(image) and "@" not in image else image


@cache
def _known_schematics() -> dict[str, tuple[str, ...]]:
    """Schematic ID -> its extensions: of NVIDIA's alone, also incomplete and of mixed channels, and of none."""
    chosen = [
        names for size in range(len(_WITHOUT_A_GPU) + 1) for names in itertools.combinations(_WITHOUT_A_GPU, size)
    ]
    for modules, first, second in itertools.product(KERNEL_MODULES.values(), CHANNELS, CHANNELS):
        pair = (f"{modules}-{first}", f"{TOOLKIT}-{second}")
        chosen += [pair, pair[::-1], pair[:1], pair[1:]]
        chosen += [(*pair, f"{FABRIC_MANAGER}-{channel}") for channel in CHANNELS]
    full = [tuple(f"siderolabs/{name}" for name in names) for names in chosen]
    return {id_of(schematic_of(names)): names for names in full}
