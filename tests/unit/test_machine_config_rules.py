"""Mistakes that leave a GPU node without its GPUs, and that Talos accepts."""

from typing import Any

import pytest
import yaml

from gpuctl.desired.schematic import id_of, schematic_of
from gpuctl.machine_config import Wanted, check, parse, parts_of
from tests.fixtures.stack_files import settings

VANILLA = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
GVISOR = "d9ff89777e246792e7642abd3220a616afb4e49822382e4213a2e528ab826fe5"
QEMU_GUEST_AGENT = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"
ISCSI = "613e1592b2da41ae5e265e8789429f22e121aab91cb4deb6bc3c0b6262961245"
UNKNOWN = "a" * 64


def _codes(version: str = "v1.13.9", **machine: Any) -> list[str]:
    return [each.code for each in check(parse(yaml.safe_dump({"machine": machine})), version)]


def _image(identity: str, platform: str = "metal-installer") -> dict[str, Any]:
    return {"image": f"factory.talos.dev/{platform}/{identity}:v1.13.9"}


@pytest.mark.parametrize("identity", [VANILLA, GVISOR, QEMU_GUEST_AGENT, ISCSI])
@pytest.mark.parametrize("platform", ["installer", "metal-installer-secureboot", "aws-installer"])
def test_a_published_schematic_without_nvidia_has_no_driver(identity: str, platform: str) -> None:
    """The ID is a hash of the content, so that is certain."""
    assert _codes(install=_image(identity, platform)) == ["image"]


@pytest.mark.parametrize(
    "image",
    [
        _image(UNKNOWN)["image"],
        "registry.example.com/own/installer:v1.13.9",
        "ghcr.io/me/talos:v1.13.9",
        "factory.example.com/team/talos-nvidia:v1.13.9",
        "docker.io/siderolabs/installer:v1.13.6-nvidia",
        "registry.example.com:5000/siderolabs/installer:v1.13.9",
    ],
)
def test_the_content_of_an_image_of_ones_own_could_not_be_determined(image: str) -> None:
    (finding,) = check(parse(yaml.safe_dump({"machine": {"install": {"image": image}}})), "v1.13.9")
    assert (finding.code, finding.is_unknown) == ("image-unknown", True)
    assert "could not be determined" in str(finding)


@pytest.mark.parametrize("image", ["${INSTALLER}", "factory.talos.dev/installer/${ID}:v1.13.9", "{{ .image }}"])
def test_what_a_template_makes_of_an_image_is_unknown(image: str) -> None:
    (finding,) = check(parse(yaml.safe_dump({"machine": {"install": {"image": image}}})), "v1.13.9")
    assert (finding.code, finding.is_unknown) == ("image-unknown", True)


@pytest.mark.parametrize("image", ["ghcr.io/siderolabs/installer:v1.13.9", "ghcr.io/siderolabs/installer-base:v1.14.1"])
def test_talos_own_image_has_no_driver(image: str) -> None:
    assert _codes(install={"image": image}) == ["image"]


@pytest.mark.parametrize(
    "names",
    [
        ["siderolabs/nvidia-open-gpu-kernel-modules-production"],
        ["siderolabs/nvidia-container-toolkit-lts"],
    ],
)
def test_kernel_modules_and_toolkit_are_both_needed(names: list[str]) -> None:
    assert _codes(install=_image(id_of(schematic_of(names)))) == ["extensions-incomplete"]


def _of_schematic(version: str, *names: str) -> list[str]:
    node = {"hostname": "a", "schematic": {"customization": {"systemExtensions": {"officialExtensions": list(names)}}}}
    text = yaml.safe_dump({"clusterName": "home", "talosVersion": version, "nodes": [node]})
    (part,) = parts_of(text)
    return [each.code for each in check(part.config, version) if each.code != "modules-missing"]


def test_a_channel_is_one_that_the_release_has() -> None:
    new_feature = (
        "siderolabs/nvidia-open-gpu-kernel-modules-new-feature",
        "siderolabs/nvidia-container-toolkit-new-feature",
    )
    assert _of_schematic("v1.14.1", *new_feature) == ["extension-unknown", "extension-unknown"]
    lts = ("siderolabs/nonfree-kmod-nvidia-lts", "siderolabs/nvidia-container-toolkit-lts")
    assert _of_schematic("v1.14.1", *lts) == []


def test_both_flavours_of_kernel_modules_exclude_each_other() -> None:
    names = [f"siderolabs/{name}-lts" for name in ("nvidia-open-gpu-kernel-modules", "nonfree-kmod-nvidia")]
    assert _of_schematic("v1.13.9", *names, "siderolabs/nvidia-container-toolkit-lts") == ["modules-mixed"]


@pytest.mark.parametrize(
    ("module", "parameter"),
    [
        ("nvidia_drm", "NVreg_OpenRmEnableUnsupportedGpus=1"),
        ("nvidia", "fbdev=1"),
        ("nvidia", "uvm_disable_hmm=1"),
    ],
)
def test_a_parameter_stands_at_the_module_that_has_it(module: str, parameter: str) -> None:
    modules = [{"name": module, "parameters": [parameter]}]
    assert _codes(kernel={"modules": modules}) == ["module-parameter"]


@pytest.mark.parametrize(
    ("module", "parameter"),
    [
        ("nvidia", "NVreg_PreserveVideoMemoryAllocations=1"),
        ("nvidia_drm", "fbdev=1"),
        ("nvidia_uvm", "uvm_disable_hmm=1"),
    ],
)
def test_a_parameter_at_its_own_module_is_right(module: str, parameter: str) -> None:
    assert _codes(kernel={"modules": [{"name": module, "parameters": [parameter]}]}) == []


def test_a_module_parameter_is_no_sysctl() -> None:
    assert _codes(sysctls={"NVreg_RestrictProfilingToAdminUsers": "0"}) == ["module-parameter"]


@pytest.mark.parametrize(
    ("argument", "codes"),
    [
        ("module_blacklist=nouveau,nvidia", ["kernel-argument"]),
        ("modprobe.blacklist=nvidia_uvm", ["kernel-argument"]),
        ("NVreg_OpenRmEnableUnsupportedGpus=1", ["kernel-argument"]),
        ("nvidia.NVreg_OpenRmEnableUnsupportedGpus=1", []),
        ("module_blacklist=nouveau", []),
    ],
)
def test_a_kernel_argument_must_not_keep_the_driver_out(argument: str, codes: list[str]) -> None:
    assert _codes(install={"extraKernelArgs": [argument]}) == codes


def test_names_of_modules_are_in_small_letters() -> None:
    config = parse("machine: {kernel: {modules: [{name: NVIDIA}]}}")
    assert [each.code for each in check(config, "v1.13.9")] == ["module-name"]


def test_nouveau_takes_the_cards_first() -> None:
    assert _codes(kernel={"modules": [{"name": "nouveau"}]}) == ["module-conflict"]


def _cri(content: str, version: str = "v1.12.4") -> list[str]:
    file = {"op": "create", "path": "/etc/cri/conf.d/20-customization.part", "content": content}
    return [each.problem for each in check(parse(yaml.safe_dump({"machine": {"files": [file]}})), version)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[plugins."io.containerd.cri.v1.runtime"]\ndefault_runtime_name = "nvidia"', "where containerd ignores it"),
        ('default_runtime_name = "nvidia"', "has default_runtime_name in [the top]"),
        (
            '[plugins."io.containerd.cri.v1.images".containerd]\ndefault_runtime_name = "nvidia"',
            'in [plugins."io.containerd.cri.v1.images".containerd]',
        ),
        (
            '[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "nvidia-container-runtime"',
            "which NVIDIA's extension does not define: it is called nvidia",
        ),
        ('disabled_plugins = ["io.containerd.cri.v1.runtime"]', "without which the node runs no pod"),
        ('[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = 5', "which is no name"),
    ],
)
def test_a_fragment_that_containerd_ignores_or_cannot_follow_is_found(content: str, problem: str) -> None:
    (found,) = _cri(content)
    assert problem in found


@pytest.mark.parametrize(
    "content",
    [
        '[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "nvidia"',
        '[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "runsc"',
        '[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "nvidia-legacy"\n'
        '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia-legacy]\nruntime_type = "x"',
        "plugins = 5",
    ],
)
def test_a_fragment_without_a_mistake_of_this_kind_passes(content: str) -> None:
    assert _cri(content) == []


def test_cdi_may_be_off_only_before_containers_get_their_gpus_by_it() -> None:
    content = '[plugins."io.containerd.cri.v1.runtime"]\nenable_cdi = false'
    assert _cri(content, "v1.12.4") == []
    assert _cri(content, "v1.13.9") == ["switches CDI off, by which containers get their GPUs from Talos v1.13 on"]


@pytest.mark.parametrize(
    ("key", "value", "codes"),
    [
        ("example.com/gpu", "yes", []),
        ("example.com/gpu", "", []),
        ("example.com/gpu", "-a", ["label-value"]),
        ("example..com/gpu", "a", ["label-value"]),
        ("Example.com/gpu", "a", ["label-value"]),
        (f"{'a.' * 126}ab/gpu", "a", ["label-value"]),
        (f"{'a.' * 126}a/gpu", "a", []),
        ("a" * 64, "a", ["label-value"]),
        ("a", "a" * 63, []),
        ("a", {"b": "c"}, ["label-value"]),
        ("a", None, ["label-value"]),
    ],
)
def test_a_label_is_one_as_kubernetes_has_them(key: str, value: object, codes: list[str]) -> None:
    assert _codes(nodeLabels={key: value}) == codes


def test_a_fix_invents_no_value_for_a_label() -> None:
    (finding,) = check(parse("machine: {nodeLabels: {a: }}"), "v1.13.9")
    assert finding.fix == "write a value in quotes, or remove it"


def test_an_unknown_image_is_not_said_to_be_wrong_unless_the_stack_says_what_it_contains() -> None:
    config = parse(yaml.safe_dump({"machine": {"install": _image(UNKNOWN)}}))
    silent, chosen = settings(), settings(systemExtensions=["siderolabs/iscsi-tools"])
    assert [each.code for each in check(config, "v1.13.9", Wanted(silent, silent.nodes[0]))] == ["image-unknown"]
    assert [each.code for each in check(config, "v1.13.9", Wanted(chosen, chosen.nodes[0]))] == ["image-differs"]
    same = settings(schematic=UNKNOWN)
    assert check(config, "v1.13.9", Wanted(same, same.nodes[0])) == []
