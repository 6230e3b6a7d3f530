"""What decides on the form of a Talos patch, and what is merged into it; tests/talos asks Talos about the result."""

import tomllib
from typing import Any

import pytest
import yaml

from gpuctl.desired.cri_fragment import cri_fragment
from gpuctl.desired.schematic import extension_versions, extensions, installer_image, schematic_id
from gpuctl.desired.talos import CRI_FILE, Form, Present, form_of, provider_patches, talos_patch
from tests.fixtures.stack_files import settings

V1_14: dict[str, Any] = {"talosVersion": "v1.14.1", "installDiskSelector": "disk.transport == 'nvme'"}
OWN_FRAGMENT = '[plugins."io.containerd.cri.v1.runtime"]\n  device_ownership_from_security_context = true\n'


def _documents(present: Present | None = None, **keys: Any) -> list[dict[str, Any]]:
    cluster = settings(**keys)
    return list(yaml.safe_load_all(talos_patch(cluster, cluster.nodes[0], present)))


def _kinds(documents: list[dict[str, Any]]) -> list[str]:
    return [document.get("kind", "fields") for document in documents]


@pytest.mark.parametrize(
    ("version", "contract", "of_node", "form"),
    [
        ("v1.13.9", "", "", Form.FIELDS),
        ("v1.13.9", "v1.9", "", Form.FIELDS),
        ("v1.14.1", "", "", Form.DOCUMENTS),
        ("v1.14.1", "v1.13", "", Form.MIXED),
        ("v1.14.1", "v1.5", "", Form.MIXED),
        ("v1.14.1", "v1.13", "v1.14", Form.DOCUMENTS),
        ("v1.14.1", "", "v1.12", Form.MIXED),
    ],
)
def test_the_line_that_wrote_the_configuration_decides(version: str, contract: str, of_node: str, form: Form) -> None:
    nodes = [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "talosContract": of_node}]
    cluster = settings(talosVersion=version, talosContract=contract, nodes=nodes)
    assert form_of(cluster, cluster.nodes[0]) is form


def test_v1_14_takes_a_document_for_each_part() -> None:
    modules = ["KernelModuleConfig"] * 4
    assert _kinds(_documents(**V1_14)) == ["UnattendedInstallConfig", *modules]
    assert _kinds(_documents(**V1_14, labelNodes=False)) == ["UnattendedInstallConfig", *modules, "KubeNodeConfig"]
    assert _kinds(_documents(**V1_14, talosContract="v1.13")) == ["fields", *modules]
    assert _kinds(_documents(**V1_14, defaultRuntime=True))[-1] == "CRICustomizationConfig"


def test_the_install_disk_is_repeated_or_the_image_left_out() -> None:
    install = _documents(**V1_14)[0]
    assert install["provisioning"] == {"diskSelector": {"match": "disk.transport == 'nvme'"}}
    assert "UnattendedInstallConfig" not in _kinds(_documents(talosVersion="v1.14.1"))
    seen = Present(Form.DOCUMENTS, disk_selector="system_disk")
    assert _documents(seen, **V1_14)[0]["provisioning"] == {"diskSelector": {"match": "system_disk"}}


def test_a_node_may_have_an_install_disk_of_its_own() -> None:
    nodes = [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "installDiskSelector": "system_disk"}]
    assert _documents(**V1_14, nodes=nodes)[0]["provisioning"] == {"diskSelector": {"match": "system_disk"}}


def test_only_modules_that_are_missing_are_added() -> None:
    """A patch appends to a list."""
    (document,) = _documents(Present(Form.FIELDS, modules=frozenset({"nvidia", "nvidia_drm", "zfs"})))
    assert document["machine"]["kernel"]["modules"] == [{"name": "nvidia_uvm"}, {"name": "nvidia_modeset"}]
    everything = frozenset({"nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset"})
    (document,) = _documents(Present(Form.FIELDS, modules=everything))
    assert "kernel" not in document["machine"]


def test_a_fragment_that_is_there_is_replaced_by_the_merged_one() -> None:
    """Two entries for that path end the boot; one that is absent cannot be deleted."""
    keys: dict[str, Any] = {"talosVersion": "v1.12.4", "defaultRuntime": True}
    (document,) = _documents(Present(Form.FIELDS, cri_fragment=OWN_FRAGMENT), **keys)
    deleted, created = document["machine"]["files"]
    assert deleted == {"path": CRI_FILE, "$patch": "delete"}
    assert tomllib.loads(created["content"]) == {
        "plugins": {
            "io.containerd.cri.v1.runtime": {
                "device_ownership_from_security_context": True,
                "containerd": {"default_runtime_name": "nvidia"},
            }
        }
    }
    (document,) = _documents(Present(Form.FIELDS, cri_fragment=created["content"]), **keys)
    assert "files" not in document["machine"]


def test_a_fragment_in_the_settings_is_merged_with_the_default_runtime() -> None:
    cluster = settings(talosVersion="v1.12.4", defaultRuntime=True, criCustomization=OWN_FRAGMENT)
    assert cri_fragment(cluster) == (
        '[plugins."io.containerd.cri.v1.runtime"]\n'
        "device_ownership_from_security_context = true\n"
        "\n"
        '[plugins."io.containerd.cri.v1.runtime".containerd]\n'
        'default_runtime_name = "nvidia"\n'
    )
    assert cri_fragment(settings()) is None


def test_the_provider_always_gets_fields() -> None:
    patch = provider_patches(settings(talosVersion="v1.14.1", talosContract="v1.13"))["gpu-1"]
    assert list(yaml.safe_load(patch)["machine"]) == ["install", "kernel"]


@pytest.mark.parametrize("form", [Form.FIELDS, Form.MIXED])
def test_labels_that_an_older_patch_set_are_taken_out_of_the_fields(form: Form) -> None:
    seen = Present(
        form, labels={"nvidia.com/gpu.present": "true", "nvidia.com/device-plugin.config": "default", "mine": "x"}
    )
    machine = _documents(seen, **V1_14)[0]["machine"]
    assert machine["nodeLabels"] == {
        "nvidia.com/gpu.present": {"$patch": "delete"},
        "nvidia.com/device-plugin.config": {"$patch": "delete"},
    }


def test_one_label_that_is_in_the_way_is_taken_out_of_the_document() -> None:
    """An absent one cannot be deleted."""
    seen = Present(Form.DOCUMENTS, labels={"nvidia.com/device-plugin.config": "default"})
    (document,) = [each for each in _documents(seen, **V1_14) if each["kind"] == "KubeNodeConfig"]
    assert document["labels"] == {"nvidia.com/device-plugin.config": {"$patch": "delete"}}


def test_that_a_node_has_gpus_may_be_said_by_its_configuration_too() -> None:
    """People and other tools say so as well, and never anything else."""
    assert "nodeLabels" not in _documents(Present(Form.FIELDS, labels={"nvidia.com/gpu.present": "true"}))[0]["machine"]
    machine = _documents(Present(Form.FIELDS, labels={"nvidia.com/gpu.present": "false"}))[0]["machine"]
    assert machine["nodeLabels"] == {"nvidia.com/gpu.present": {"$patch": "delete"}}


def test_the_fabric_manager_comes_only_when_asked_for_and_last() -> None:
    assert extensions(settings(driverChannel="lts", fabricManager=True)) == [
        "siderolabs/nvidia-open-gpu-kernel-modules-lts",
        "siderolabs/nvidia-container-toolkit-lts",
        "siderolabs/nvidia-fabricmanager-lts",
    ]
    assert len(extensions(settings())) == 2


def test_factory_and_secure_boot_change_the_image_and_not_the_schematic() -> None:
    cluster = settings(imageFactory="factory.lab.example:8443", secureBoot=True)
    assert schematic_id(cluster) == schematic_id(settings())
    image = f"factory.lab.example:8443/metal-installer-secureboot/{schematic_id(cluster)}:v1.13.9"
    assert installer_image(cluster) == image


def test_the_versions_are_those_of_the_channel_or_unknown() -> None:
    assert list(extension_versions(settings(driverChannel="lts", fabricManager=True)).values()) == [
        "580.178.04-v1.13.9",
        "580.178.04-v1.19.1",
        "580.178.04",
    ]
    assert list(extension_versions(settings(driverChannel="production")).values()) == [
        "595.91.07-v1.13.9",
        "595.91.07-v1.19.1",
    ]
    assert set(extension_versions(settings(talosVersion="v1.14.1")).values()) == {None}
