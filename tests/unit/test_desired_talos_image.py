"""The boot image is the user's: what a stack adds to its schematic, and an image of its own."""

import hashlib
from typing import Any

import pytest
import yaml

from gpuctl.desired.schematic import (
    extension_versions,
    id_of,
    installer_image,
    schematic,
    schematic_id,
    schematic_of,
)
from gpuctl.desired.talos import Form, Present, image_of, talos_patches
from gpuctl.settings import Settings
from tests.fixtures.stack_files import settings

OWN = "registry.example.com/talos/installer:v1.13.9"
NONE: tuple[str, ...] = ()
RPI = {"name": "rpi_generic", "image": "siderolabs/sbc-raspberrypi"}


def test_fields_are_written_in_the_order_of_the_image_factory() -> None:
    """Its own marshalling: overlay before customization, image before name, kernel arguments before extensions."""
    cluster = settings(
        systemExtensions=["siderolabs/util-linux-tools", "siderolabs/iscsi-tools"],
        kernelArguments=["-console", "console=ttyS0,115200n8"],
        overlay=RPI,
    )
    text = """\
overlay:
    image: siderolabs/sbc-raspberrypi
    name: rpi_generic
customization:
    extraKernelArgs:
        - -console
        - console=ttyS0,115200n8
    systemExtensions:
        officialExtensions:
            - siderolabs/nvidia-open-gpu-kernel-modules-production
            - siderolabs/nvidia-container-toolkit-production
            - siderolabs/util-linux-tools
            - siderolabs/iscsi-tools
"""
    assert schematic(cluster) == text
    assert schematic_id(cluster) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("arguments", "identity"),
    [
        ((NONE,), "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"),
        ((NONE, (), RPI), "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9"),
        (
            (["siderolabs/gvisor", "siderolabs/amd-ucode"], ["vga=791"]),
            "4cf5f344e0866138883f8a2579d567fb0ad492213edf722726bf086b376ab518",
        ),
    ],
)
def test_ids_are_those_that_the_image_factory_published(arguments: tuple[Any, ...], identity: str) -> None:
    assert id_of(schematic_of(*arguments)) == identity


def test_the_text_is_yaml_that_says_what_was_asked_for() -> None:
    cluster = settings(systemExtensions=["siderolabs/iscsi-tools"], kernelArguments=["intel_iommu=on"], overlay=RPI)
    assert yaml.safe_load(schematic(cluster) or "") == {
        "overlay": RPI,
        "customization": {
            "extraKernelArgs": ["intel_iommu=on"],
            "systemExtensions": {
                "officialExtensions": [
                    "siderolabs/nvidia-open-gpu-kernel-modules-production",
                    "siderolabs/nvidia-container-toolkit-production",
                    "siderolabs/iscsi-tools",
                ]
            },
        },
    }


@pytest.mark.parametrize("argument", ["a: b", "quiet:", "yes", "null", "#a", "a #b", "'a'", "5", "", "é", "*a", "a b"])
def test_an_argument_that_yaml_would_quote_is_refused(argument: str) -> None:
    """The ID is a hash of the text, and how the Image Factory quotes is not repeated here."""
    with pytest.raises(Exception, match="is not one kernel argument of plain characters"):
        settings(kernelArguments=[argument])


def test_a_schematic_of_ones_own_is_in_the_image_as_it_is() -> None:
    cluster = settings(schematic="a" * 64)
    assert installer_image(cluster) == f"factory.talos.dev/metal-installer/{'a' * 64}:v1.13.9"
    assert (schematic(cluster), schematic_id(cluster)) == (None, "a" * 64)


def test_an_image_of_ones_own_is_in_the_patch_as_it_is() -> None:
    cluster = settings(installerImage=OWN)
    assert yaml.safe_load(talos_patches(cluster)["gpu-1"])["machine"]["install"] == {"image": OWN}
    assert (schematic(cluster), schematic_id(cluster)) == (None, None)


def test_an_image_of_ones_own_may_name_its_schematic() -> None:
    image = f"factory.lab.example/metal-installer/{'b' * 64}:v1.13.9"
    assert schematic_id(settings(installerImage=image)) == "b" * 64


def test_the_nodes_own_image_is_kept_only_while_the_stack_says_nothing_about_the_image() -> None:
    present = Present(Form.FIELDS, own_image=OWN)
    assert image_of(settings(), present) == OWN
    chosen: list[Settings] = [
        settings(systemExtensions=["siderolabs/iscsi-tools"]),
        settings(kernelArguments=["quiet"]),
        settings(overlay=RPI),
        settings(schematic="a" * 64),
        settings(installerImage="registry.example.com/other:v1.13.9"),
    ]
    assert [image_of(each, present) == installer_image(each) for each in chosen] == [True] * 5


def test_extensions_of_ones_own_have_no_version_of_nvidias() -> None:
    cluster = settings(systemExtensions=["siderolabs/iscsi-tools"])
    assert list(extension_versions(cluster)) == [
        "siderolabs/nvidia-open-gpu-kernel-modules-production",
        "siderolabs/nvidia-container-toolkit-production",
    ]


def test_a_toolkit_that_is_not_confirmed_is_unknown() -> None:
    assert list(extension_versions(settings(talosVersion="v1.14.6")).values()) == ["595.112.07-v1.14.6", None]
