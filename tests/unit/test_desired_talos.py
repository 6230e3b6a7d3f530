"""The Talos patch of each node, line by line of Talos."""

from typing import Any

import pytest
import yaml
from inline_snapshot import snapshot

from gpuctl.desired.schematic import extensions, installer_image, schematic, schematic_id
from gpuctl.desired.talos import talos_patches
from gpuctl.settings import read_stack
from tests.fixtures.stack_files import settings

OPEN_PRODUCTION = "1deaeeb1ea2e7901c21c109368a7261f52dfd9a91e9d7eea83cfd0f0e1b7d488"
BEFORE_CDI = ["v1.9.6", "v1.10.9", "v1.11.6", "v1.12.11"]
SINCE_CDI = ["v1.13.0", "v1.13.9"]
NODES: list[dict[str, Any]] = [
    {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
    {"name": "gpu-2", "gpu": "l4", "count": 4, "slices": 2, "powerLimit": 72},
]


def _machine(node: str = "gpu-1", **keys: Any) -> dict[str, Any]:
    """The one document of a node's patch."""
    (document,) = yaml.safe_load_all(talos_patches(settings(**keys))[node])
    assert list(document) == ["machine"]
    return document["machine"]


def _expected(version: str) -> dict[str, Any]:
    return {
        "install": {"image": f"factory.talos.dev/metal-installer/{OPEN_PRODUCTION}:{version}"},
        "kernel": {"modules": [{"name": f"nvidia{part}"} for part in ("", "_uvm", "_drm", "_modeset")]},
    }


@pytest.mark.parametrize("version", BEFORE_CDI)
def test_up_to_v1_12_the_patch_also_eases_the_bpf_compiler(version: str) -> None:
    """nvidia-container-cli loads BPF programs there. A text: the schema of Talos takes no number for a sysctl."""
    assert _machine(talosVersion=version) == _expected(version) | {"sysctls": {"net.core.bpf_jit_harden": "1"}}


@pytest.mark.parametrize("version", SINCE_CDI)
def test_from_v1_13_on_the_patch_leaves_the_bpf_compiler_alone(version: str) -> None:
    """Containers get their GPUs through CDI."""
    assert _machine(talosVersion=version) == _expected(version)


@pytest.mark.parametrize("version", BEFORE_CDI)
def test_the_default_runtime_is_one_file_that_only_root_reads(version: str) -> None:
    """Talos lets a configuration create this path and no other below /etc; the mode must arrive as a number."""
    (file,) = _machine(talosVersion=version, defaultRuntime=True)["files"]
    content = file.pop("content")
    assert file == {"op": "create", "path": "/etc/cri/conf.d/20-customization.part", "permissions": 0o600}
    assert content == snapshot(
        """\
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "nvidia"
"""
    )


@pytest.mark.parametrize("version", BEFORE_CDI)
def test_the_default_runtime_stays_as_it_is_unless_asked_for(version: str) -> None:
    assert "files" not in _machine(talosVersion=version)


def test_a_patch_leaves_the_labels_to_the_stack() -> None:
    """Talos would hold its value against `pulumi up`, and put it back after a destroy."""
    assert "nodeLabels" not in _machine()


def test_where_the_stack_labels_no_node_the_patch_says_its_profile() -> None:
    machines = {name: _machine(name, nodes=NODES, labelNodes=False) for name in ("gpu-1", "gpu-2")}
    labels = {name: machine["nodeLabels"] for name, machine in machines.items()}
    assert labels == {
        "gpu-1": {"nvidia.com/gpu.present": "true", "nvidia.com/device-plugin.config": "default"},
        "gpu-2": {"nvidia.com/gpu.present": "true", "nvidia.com/device-plugin.config": "gpu-2"},
    }


def test_there_is_one_patch_for_each_node() -> None:
    assert set(talos_patches(read_stack("lab"))) == {"gpu-1", "gpu-2", "gpu-3"}


def test_a_patch_reads_as_a_person_would_write_it() -> None:
    assert talos_patches(settings(talosVersion="v1.12.11", defaultRuntime=True))["gpu-1"] == snapshot("""\
machine:
  install:
    image: factory.talos.dev/metal-installer/1deaeeb1ea2e7901c21c109368a7261f52dfd9a91e9d7eea83cfd0f0e1b7d488:v1.12.11
  kernel:
    modules:
    - name: nvidia
    - name: nvidia_uvm
    - name: nvidia_drm
    - name: nvidia_modeset
  sysctls:
    net.core.bpf_jit_harden: '1'
  files:
  - op: create
    path: /etc/cri/conf.d/20-customization.part
    permissions: 384
    content: |
      [plugins."io.containerd.cri.v1.runtime".containerd]
      default_runtime_name = "nvidia"
""")


@pytest.mark.parametrize(
    ("modules", "channel", "identity"),
    [
        ("open", "production", OPEN_PRODUCTION),
        ("open", "lts", "40b13a8d4f3202c7d7c95f0cc0fa5cecea2d480ea9f1f1dd3122395cd68f6e9d"),
        ("proprietary", "production", "26124abcbd408be693df9fe852c80ef1e6cc178e34d7d7d8430a28d1130b4227"),
        ("proprietary", "lts", "af8eb82417d3deaa94d2ef19c3b590b0dac1b2549d0b9b35b3da2bc325de75f7"),
    ],
)
def test_the_schematics_id_is_the_one_the_image_factory_gives(modules: str, channel: str, identity: str) -> None:
    cluster = settings(kernelModules=modules, driverChannel=channel)
    assert schematic_id(cluster) == identity
    assert installer_image(cluster) == f"factory.talos.dev/metal-installer/{identity}:v1.13.9"


def test_the_schematic_is_written_as_the_image_factory_writes_it() -> None:
    """Its ID is the hash of these bytes: four blanks, kernel modules before the toolkit, a line end at the end."""
    assert schematic(settings(driverChannel="lts")) == snapshot("""\
customization:
    systemExtensions:
        officialExtensions:
            - siderolabs/nvidia-open-gpu-kernel-modules-lts
            - siderolabs/nvidia-container-toolkit-lts
""")


def test_kernel_modules_and_toolkit_are_of_the_same_driver_branch() -> None:
    """Of different ones, the toolkit's libraries do not fit the loaded modules."""
    for modules in ("open", "proprietary"):
        for channel in ("production", "lts"):
            names = extensions(settings(kernelModules=modules, driverChannel=channel))
            assert all(name.startswith("siderolabs/") and name.endswith(f"-{channel}") for name in names)


def test_one_schematic_serves_every_talos_release() -> None:
    assert len({schematic_id(settings(talosVersion=version)) for version in (*BEFORE_CDI, *SINCE_CDI)}) == 1
