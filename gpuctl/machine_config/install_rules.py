"""Rules about what is installed: extensions and the installer image."""

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cache

from gpuctl.desired.schematic import FABRIC_MANAGER, KERNEL_MODULES, TOOLKIT, id_of, schematic_of
from gpuctl.machine_config.document import MachineConfig, inside
from gpuctl.machine_config.finding import Finding, Rule, Subject
from gpuctl.machine_config.presence import disk_selector
from gpuctl.settings.talos_rules import CHANNELS

RELEASE = re.compile(r"v\d+\.\d+\.\d+(-[a-z]+\.\d+)?")

_REFERENCE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:[\w][\w.-]*)?(@sha256:[0-9a-f]{64})?")
_SCHEMATIC = re.compile(r"/(?:[a-z-]*installer(?:-secureboot)?)/([0-9a-f]{64})(?=[:@])")
_MODULE_EXTENSION = re.compile(r"(?:nvidia-open-gpu-kernel-modules|nonfree-kmod-nvidia)[a-z-]*:[\d.]+-(v[\w.-]+)")
_EXTENSIONS_INSTALL_UP_TO = (1, 9)
_BUILD_ONE = "gpuctl talos schematic --stack STACK prints an image with them"


def _no_extensions(subject: Subject) -> Iterator[Finding]:
    names = [str(entry.get("image", "")) for entry in subject.config.entries("install", "extensions")]
    if names and subject.minor > _EXTENSIONS_INSTALL_UP_TO:
        problem = "install nothing since Talos v1.10.0: the node boots without an NVIDIA driver"
        yield Finding("extensions", "machine.install.extensions", problem, f"remove them; {_BUILD_ONE}")
    for name in names:
        built_for = _MODULE_EXTENSION.search(name)
        if built_for and built_for[1] != subject.talos_version:
            problem = f"{name} has the modules of {built_for[1]}, which the kernel of {subject.talos_version} rejects"
            yield Finding("extension-release", "machine.install.extensions", problem, _BUILD_ONE)
    yield from _one_channel("machine.install.extensions", names)


def _image_has_the_driver(subject: Subject) -> Iterator[Finding]:
    for where, image in images(subject.config):
        schematic = _SCHEMATIC.search(image)
        if not _REFERENCE.fullmatch(image):
            yield Finding("image", where, f"{image!r} is no image reference", _BUILD_ONE)
        elif schematic is None:
            yield Finding("image", where, f"{image} has no schematic, so no NVIDIA extensions", _BUILD_ONE)
        else:
            yield from _one_channel(where, _known_schematics().get(schematic[1], ()))
        if subject.image and image != subject.image:
            problem = f"is {image} and should be {subject.image}"
            yield Finding("image-differs", where, problem, "gpuctl talos patch, then talosctl upgrade")
    if subject.config.is_whole and not list(images(subject.config)):
        yield Finding("image-missing", "installer image", "is not named, so it has no NVIDIA extensions", _BUILD_ONE)


def _one_channel(where: str, names: Sequence[str]) -> Iterator[Finding]:
    """Kernel modules and toolkit of two channels are of two driver versions, which do not work together."""
    channels = {channel for name in names for channel in CHANNELS if re.search(rf"nvidia.*-{channel}\b", name)}
    if len(channels) > 1:
        problem = f"has NVIDIA extensions of both channels: {', '.join(names)}"
        yield Finding("channels-mixed", where, problem, "take modules and toolkit of one channel")


def _install_once(subject: Subject) -> Iterator[Finding]:
    """A patch with both is one as well."""
    if subject.config.of_kind("UnattendedInstallConfig") and subject.config.below("install"):
        problem = "stands beside UnattendedInstallConfig, which excludes it"
        yield Finding("install-twice", "machine.install", problem, "remove it")


def _disk_is_selected(subject: Subject) -> Iterator[Finding]:
    if subject.config.of_kind("UnattendedInstallConfig") and disk_selector(subject.config) is None:
        problem = "is missing; a patch without it erases that of the configuration"
        where = "UnattendedInstallConfig.provisioning.diskSelector.match"
        yield Finding("disk-selector", where, problem, "repeat the one of the configuration")


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
    tags = (image.partition("@")[0].rpartition(":")[2] for _, image in images(config))
    return next((tag for tag in tags if RELEASE.fullmatch(tag)), None)


@cache
def _known_schematics() -> dict[str, tuple[str, ...]]:
    """Schematic ID -> its extensions, for every schematic of NVIDIA's extensions alone, also of mixed channels."""
    known: dict[str, tuple[str, ...]] = {}
    for modules, first, second in itertools.product(KERNEL_MODULES.values(), CHANNELS, CHANNELS):
        pair = (f"siderolabs/{modules}-{first}", f"siderolabs/{TOOLKIT}-{second}")
        fabric = [(f"siderolabs/{FABRIC_MANAGER}-{channel}",) for channel in CHANNELS]
        for names in (pair, pair[::-1], *(pair + extra for extra in fabric)):
            known[id_of(schematic_of(names))] = names
    return known


RULES: tuple[Rule, ...] = (_no_extensions, _image_has_the_driver, _install_once, _disk_is_selected)
