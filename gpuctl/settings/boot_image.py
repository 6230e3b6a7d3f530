"""What a stack may say about its boot image besides NVIDIA's extensions: the values, and the rules between them."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator

from gpuctl.settings.refusal import Problem, RemoveKey, SettingRefused, SetValue, listed
from gpuctl.settings.values import Structure

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings

_EXTENSION = r"[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9.-]*"
_OF_THE_STACK = (
    r"siderolabs/(nvidia-open-gpu-kernel-modules|nonfree-kmod-nvidia|nvidia-(container-toolkit|fabricmanager)).*"
)
_PLAIN = r"-?[A-Za-z]([\w.,:/=@+-]*[\w./=@+-])?"
"""What YAML needs no quotes for: the Image Factory hashes the text, and how it quotes is not repeated here."""
_AGAINST_THE_DRIVER = r"(module_blacklist|modprobe\.blacklist)=(.*,)?nvidia(_\w+)?(,.*)?"
_NEEDS_QUOTES = r"true|false|yes|no|on|off|y|n|null|\.(inf|nan)"
_IMAGE = r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:\w[\w.-]*)?(@sha256:[0-9a-f]{64})?"
_SCHEMATIC = r"[0-9a-f]{64}"
_FIELDS = {"talosVersion": "talos_version", "driverChannel": "driver_channel", "kernelModules": "kernel_modules"}
_RELEASE = r"v\d+\.\d+\.\d+(-[a-z]+\.\d+)?"


def _is_plain(text: str) -> bool:
    return re.fullmatch(_PLAIN, text, re.ASCII) is not None


def _is_an_extension(name: str) -> str:
    if re.fullmatch(_OF_THE_STACK, name):
        raise SettingRefused(
            "is in the image anyway, by gpu:driverChannel, gpu:kernelModules and gpu:fabricManager", RemoveKey()
        )
    if not re.fullmatch(_EXTENSION, name):
        official = f"siderolabs/{name}"
        is_short = re.fullmatch(_EXTENSION, official) and not re.fullmatch(_OF_THE_STACK, official)
        fix = SetValue(official) if is_short else RemoveKey()
        raise SettingRefused("is not the name of an extension such as siderolabs/iscsi-tools", fix)
    return name


def _is_a_kernel_argument(argument: str) -> str:
    if not _is_plain(argument) or re.fullmatch(_NEEDS_QUOTES, argument, re.IGNORECASE):
        raise SettingRefused(
            "is not one kernel argument of plain characters, such as intel_iommu=on; the ID of a schematic with others "
            "could not be computed: make that schematic yourself and set gpu:schematic",
            RemoveKey(),
        )
    if re.fullmatch(_AGAINST_THE_DRIVER, argument):
        raise SettingRefused("keeps NVIDIA's modules from loading, so the node would have no driver", RemoveKey())
    return argument


def _is_an_overlay(overlay: dict[str, str]) -> dict[str, str]:
    if overlay and (overlay.keys() != {"name", "image"} or not all(map(_is_plain, overlay.values()))):
        raise SettingRefused(
            "is not an overlay {name, image}, such as {name: rpi_generic, image: siderolabs/sbc-raspberrypi}",
            RemoveKey(),
        )
    return overlay


def _is_a_schematic(identity: str) -> str:
    if not re.fullmatch(_SCHEMATIC, identity):
        raise SettingRefused(
            "is not the ID of a schematic, 64 hexadecimal digits as the Image Factory answers",
            SetValue(identity.lower()) if re.fullmatch(_SCHEMATIC, identity.lower()) else RemoveKey(),
        )
    return identity


def _is_an_image(image: str) -> str:
    if not re.fullmatch(_IMAGE, image, re.ASCII) or not {":", "@"} & set(image.rpartition("/")[2]):
        raise SettingRefused("is not an image reference with a tag or a digest", RemoveKey())
    return image


def _unset(value: object) -> object:
    return None if value == "" else value


ExtensionName = Annotated[str, AfterValidator(_is_an_extension)]
KernelArgument = Annotated[str, AfterValidator(_is_a_kernel_argument)]
Overlay = Annotated[dict[str, str], AfterValidator(_is_an_overlay), Structure]
OptionalSchematic = Annotated[Annotated[str, AfterValidator(_is_a_schematic)] | None, BeforeValidator(_unset)]
OptionalInstaller = Annotated[Annotated[str, AfterValidator(_is_an_image)] | None, BeforeValidator(_unset)]


def extensions_are_named_once(settings: "Settings") -> Iterator[Problem]:
    """The Image Factory makes no image of a schematic that names an extension twice."""
    names = settings.system_extensions
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(("systemExtensions", index), name, "appears twice", [RemoveKey()])


def image_is_declared_in_one_way(settings: "Settings") -> Iterator[Problem]:
    """A schematic or an image of one's own has its content, which no other key changes."""
    content: dict[str, object] = {
        "systemExtensions": settings.system_extensions,
        "kernelArguments": settings.kernel_arguments,
        "overlay": settings.overlay,
        "fabricManager": settings.fabric_manager,
    }
    which: dict[str, object] = {"schematic": settings.schematic, "secureBoot": settings.secure_boot}
    for key, value, others in (
        ("schematic", settings.schematic, content),
        ("installerImage", settings.installer_image, content | which),
    ):
        given = [f"gpu:{name}" for name, other in others.items() if other]
        if value and given:
            reason = f"stands beside {', '.join(given)}, which it would leave without effect"
            yield Problem((key,), value, reason, [RemoveKey()])


def own_image_fits_every_node(settings: "Settings") -> Iterator[Problem]:
    """A schematic or an image of one's own is one for all nodes, so no node can ask for another content."""
    for key, value, names in (
        ("schematic", settings.schematic, ("driverChannel", "kernelModules")),
        ("installerImage", settings.installer_image, ("talosVersion", "driverChannel", "kernelModules")),
    ):
        different = [
            f"{name} of {node.name}"
            for node in settings.nodes
            for name in names
            if getattr(settings.on(node), _FIELDS[name]) != getattr(settings, _FIELDS[name])
        ]
        if value and different:
            yield Problem(
                (key,), value, f"is for all nodes, and these have their own: {listed(different)}", [RemoveKey()]
            )


def image_is_of_the_release(settings: "Settings") -> Iterator[Problem]:
    """`talosVersion` decides on the form of the patches and the drivers that are expected."""
    image, release = settings.installer_image or "", settings.talos_version
    repository, _, tag = image.partition("@")[0].rpartition(":")
    if re.fullmatch(_RELEASE, tag) and tag != release:
        fix = RemoveKey() if "@" in image else SetValue(f"{repository}:{release}")
        yield Problem(("installerImage",), image, f"is of Talos {tag}, and gpu:talosVersion is {release}", [fix])
