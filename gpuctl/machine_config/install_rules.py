"""Rules about what is installed: extensions and the installer image."""

import re
from collections.abc import Iterator, Sequence

from gpuctl.desired.schematic import KERNEL_MODULES, TOOLKIT
from gpuctl.machine_config.finding import Finding, Rule, Subject
from gpuctl.machine_config.images import extensions_in, images, is_filled_in_later, is_reference, schematic_in
from gpuctl.machine_config.presence import disk_selector
from gpuctl.settings.talos_tables import CHANNELS_BY_MINOR, format_minor

_MODULE_EXTENSION = re.compile(r"(?:nvidia-open-gpu-kernel-modules|nonfree-kmod-nvidia)[a-z-]*:[\d.]+-(v[\w.-]+)")
_EXTENSIONS_INSTALL_UP_TO = (1, 9)
_BUILD_ONE = "gpuctl talos schematic --stack STACK prints an image with them"
_SCHEMATIC = "customization.systemExtensions"
_CHANNELS = sorted({channel for channels in CHANNELS_BY_MINOR.values() for channel in channels})
_OF_CHANNEL = re.compile(rf"(?:siderolabs/)?({'|'.join((*KERNEL_MODULES.values(), TOOLKIT))})-([a-z-]+)")


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


def _schematic_has_the_driver(subject: Subject) -> Iterator[Finding]:
    """One that stands in the file itself."""
    names = subject.config.extensions
    if names:
        yield from _complete(_SCHEMATIC, names)
        yield from _one_channel(_SCHEMATIC, names)
        yield from _channel_of_the_release(subject, names)


def _image_has_the_driver(subject: Subject) -> Iterator[Finding]:
    for where, image in images(subject.config):
        names = extensions_in(image)
        if is_filled_in_later(image):
            problem = f"{image} is a template's, so whether it has NVIDIA's extensions could not be determined"
            yield Finding("image-unknown", where, problem, "check what the template becomes", is_unknown=True)
            continue
        if not is_reference(image):
            yield Finding("image", where, f"{image!r} is no image reference", _BUILD_ONE)
        elif names is not None:
            yield from _complete(where, names)
            yield from _one_channel(where, names)
        if subject.image and image != subject.image and (names is not None or subject.image_is_chosen):
            problem = f"is {image} and should be {subject.image}"
            yield Finding("image-differs", where, problem, "gpuctl talos patch, then talosctl upgrade")
        elif names is None and image != subject.image and is_reference(image):
            content = f"schematic {identity[:10]}..." if (identity := schematic_in(image)) else image
            problem = f"whether {content} has NVIDIA's extensions could not be determined"
            yield Finding("image-unknown", where, problem, "talosctl get extensions, on the node", is_unknown=True)
    if subject.config.is_whole and not list(images(subject.config)) and not subject.config.extensions:
        yield Finding("image-missing", "installer image", "is not named, so it has no NVIDIA extensions", _BUILD_ONE)


def _complete(where: str, names: Sequence[str]) -> Iterator[Finding]:
    parts = {found[1] for name in names if (found := _OF_CHANNEL.fullmatch(name))}
    modules = parts - {TOOLKIT}
    if not parts:
        kept = f"only {', '.join(names)}" if names else "no extensions"
        yield Finding("image", where, f"has {kept}, so no NVIDIA driver", _BUILD_ONE)
    elif not modules or TOOLKIT not in parts:
        missing = "kernel modules" if not modules else "container toolkit"
        problem = f"has only {', '.join(names)}: without NVIDIA's {missing} no pod gets a GPU"
        yield Finding("extensions-incomplete", where, problem, _BUILD_ONE)
    elif len(modules) > 1:
        problem = f"has both flavours of the kernel modules: {', '.join(names)}"
        yield Finding("modules-mixed", where, problem, "keep one of them")


def _one_channel(where: str, names: Sequence[str]) -> Iterator[Finding]:
    """Kernel modules and toolkit of two channels are of two driver versions, which do not work together."""
    channels = {channel for name in names for channel in _CHANNELS if re.search(rf"nvidia.*-{channel}\b", name)}
    if len(channels) > 1:
        problem = f"has NVIDIA extensions of several channels: {', '.join(names)}"
        yield Finding("channels-mixed", where, problem, "take modules and toolkit of one channel")


def _channel_of_the_release(subject: Subject, names: Sequence[str]) -> Iterator[Finding]:
    """The Image Factory makes no image with an extension that a release does not have, or takes another one for it."""
    flavours = {extension: flavour for flavour, extension in KERNEL_MODULES.items()}
    known = CHANNELS_BY_MINOR.get(subject.minor, {})
    for found in filter(None, map(_OF_CHANNEL.fullmatch, names)):
        flavour = flavours.get(found[1])
        if known and (found[2] not in known or (flavour and flavour not in known[found[2]])):
            there = ", ".join(known)
            problem = f"{found[0]} is no extension of Talos {format_minor(subject.minor)}, whose channels are {there}"
            yield Finding("extension-unknown", _SCHEMATIC, problem, _BUILD_ONE)


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


RULES: tuple[Rule, ...] = (
    _no_extensions,
    _schematic_has_the_driver,
    _image_has_the_driver,
    _install_once,
    _disk_is_selected,
)
