"""gpuctl talos: whole screens, files and exit codes."""

from pathlib import Path

import pytest
import yaml
from inline_snapshot import snapshot
from typer.testing import CliRunner, Result

from gpuctl.cli.app import app
from gpuctl.desired.talos import talos_patches
from gpuctl.settings import read_stack
from tests.fixtures.stack_files import ROOT

OPEN_PRODUCTION = "1deaeeb1ea2e7901c21c109368a7261f52dfd9a91e9d7eea83cfd0f0e1b7d488"
EXTENSIONS = "\n  gpu:systemExtensions: [siderolabs/iscsi-tools]\n"
IMAGE = f"factory.talos.dev/metal-installer/{OPEN_PRODUCTION}:v1.10.9"


def _gpuctl(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["talos", *map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"})


def _screen(result: Result) -> str:
    """What it printed, with a short word for the schematic's ID."""
    return result.stdout.replace(OPEN_PRODUCTION, "<ID>")


def _worker(folder: Path, **machine: object) -> Path:
    path = folder / "worker.yaml"
    path.write_text(yaml.safe_dump({"version": "v1alpha1", "machine": {"type": "worker"} | machine}))
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of a copy of this project, in which the command runs."""
    for name in ("Pulumi.yaml", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_patch_writes_a_file_for_each_node_and_says_what_to_do(here: Path) -> None:
    result = _gpuctl("patch", "--stack", "homelab")
    assert (result.exit_code, result.stderr) == (0, "")
    assert {path.name: path.read_text() for path in (here / "patches").iterdir()} == {
        f"{node}.yaml": patch for node, patch in talos_patches(read_stack("homelab")).items()
    }
    assert _screen(result) == snapshot("""\
gpu-1: patches/gpu-1.yaml, fields of `machine`, for Talos v1.10.9
  talosctl --nodes gpu-1 patch machineconfig --patch @patches/gpu-1.yaml
  talosctl --nodes gpu-1 upgrade --image factory.talos.dev/metal-installer/<ID>:v1.10.9

Driver and toolkit come with the image, so a node needs the upgrade, which reboots it, whenever its image changes:
a new Talos release, driver channel or flavour of kernel modules. For all else the patch is enough.
Up to Talos v1.13 a patch appends to lists: apply it once. For a node that has it, or other NVIDIA parts, already:
talosctl --nodes ADDRESS get machineconfig v1alpha1 -o yaml >FILE && gpuctl talos patch ... --node NODE --config FILE
""")


def test_patch_takes_one_node_and_another_folder(here: Path) -> None:
    assert _gpuctl("patch", "--stack", "lab", "--node", "gpu-2", "-o", here / "a" / "b").exit_code == 0
    assert [path.name for path in (here / "a" / "b").iterdir()] == ["gpu-2.yaml"]


def test_patch_adds_only_what_the_present_configuration_lacks(here: Path) -> None:
    modules = [{"name": f"nvidia{part}"} for part in ("", "_uvm", "_drm")]
    now = _worker(here, kernel={"modules": modules}, install={"image": IMAGE})
    result = _gpuctl("patch", "--stack", "homelab", "--config", now)
    machine = yaml.safe_load((here / "patches" / "gpu-1.yaml").read_text())["machine"]
    assert machine["kernel"]["modules"] == [{"name": "nvidia_modeset"}]
    assert "no upgrade, if the node runs the image in its configuration" in result.stdout
    assert "upgrade --image" not in result.stdout


def test_patch_names_the_line_that_an_upgrade_must_pass_through(here: Path) -> None:
    now = _worker(here, install={"image": "ghcr.io/siderolabs/installer:v1.10.9"})
    result = _gpuctl("patch", "--stack", "lab", "--node", "gpu-1", "--config", now)
    assert "first upgrade from v1.10.9 to v1.11: v1.13.9 takes none older" in result.stdout
    now = _worker(here, install={"image": "ghcr.io/siderolabs/installer:v1.11.6"})
    assert "first upgrade" not in _gpuctl("patch", "--stack", "lab", "--node", "gpu-1", "--config", now).stdout


def test_a_configuration_is_that_of_one_node(here: Path) -> None:
    result = _gpuctl("patch", "--stack", "lab", "--config", _worker(here))
    assert (result.exit_code, "name it with --node" in result.stderr) == (2, True)


def test_a_node_that_the_stack_has_not_is_refused(here: Path) -> None:
    result = _gpuctl("patch", "--stack", "lab", "--node", "gpu-9")
    assert (result.exit_code, "gpu-9 is no node of the stack: name one of gpu-1" in result.stderr) == (2, True)
    assert list(here.iterdir()) == []


def test_schematic_is_yaml_that_the_factory_takes_with_id_and_versions_in_comments() -> None:
    result = _gpuctl("schematic", "--stack", "lab")
    assert (result.exit_code, result.stderr) == (0, "")
    assert _screen(result) == snapshot("""\
customization:
    systemExtensions:
        officialExtensions:
            - siderolabs/nvidia-open-gpu-kernel-modules-production
            - siderolabs/nvidia-container-toolkit-production
# schematic ID: <ID>
# installer image: factory.talos.dev/metal-installer/<ID>:v1.13.9
# contains: nvidia-open-gpu-kernel-modules-production 595.91.07-v1.13.9
# contains: nvidia-container-toolkit-production 595.91.07-v1.19.1
# for GDRCopy, in a schematic of your own: nvidia-gdrdrv-device 2.5.2
""")


def test_check_says_all_is_well_and_exits_zero(here: Path) -> None:
    _gpuctl("patch", "--stack", "homelab", "-o", here / "patches")
    result = _gpuctl("check", "patches/gpu-1.yaml")
    assert result.exit_code == 0
    assert result.stdout == "patches/gpu-1.yaml, a patch for Talos v1.10.9: nothing found\n"


def test_check_names_place_problem_and_remedy_and_exits_one(here: Path) -> None:
    """With the version from the installer image."""
    config = _worker(here, install={"image": "ghcr.io/siderolabs/installer:v1.10.9", "extensions": [{"image": "x"}]})
    result = _gpuctl("check", config.name)
    assert result.exit_code == 1
    assert _screen(result) == snapshot("""\
[extensions] machine.install.extensions: install nothing since Talos v1.10.0: the node boots without an NVIDIA driver
  fix it: remove them; gpuctl talos schematic --stack STACK prints an image with them
[image] machine.install.image: has no extensions, so no NVIDIA driver
  fix it: gpuctl talos schematic --stack STACK prints an image with them
[modules-missing] kernel modules: nvidia, nvidia_uvm, nvidia_drm, nvidia_modeset missing, and none loads by itself
  fix it: gpuctl talos patch adds them
[sysctl-missing] sysctl net.core.bpf_jit_harden: is missing: containers with GPUs do not start
  fix it: set it to "1"
worker.yaml, a configuration for Talos v1.10.9: 4 found
""")


def test_check_compares_with_a_node_of_a_stack(here: Path) -> None:
    config = _worker(here, nodeLabels={"nvidia.com/device-plugin.config": "gpu-2"})
    result = _gpuctl("check", config, "--stack", "lab", "--node", "gpu-2")
    assert result.exit_code == 1
    assert "[label-owner] machine.nodeLabels: nvidia.com/device-plugin.config is set by the stack" in result.stdout
    assert "a configuration for Talos v1.13.9" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "no installer image tells the Talos release: name it, such as v1.13.9"),
        (["--talos-version", "v1.15.0"], "v1.15.0 has no NVIDIA container toolkit in its extensions"),
        (["--talos-version", "v1.8.0"], "v1.8.0 is no release of v1.9 to v1.14"),
        (["--talos-version", "1.13"], "1.13 is no release of v1.9 to v1.14"),
        (["--stack", "lab"], "the stack has several nodes: name one of gpu-1, gpu-2, gpu-3"),
    ],
)
def test_check_asks_for_what_it_cannot_know(here: Path, arguments: list[str], problem: str) -> None:
    result = _gpuctl("check", _worker(here), *arguments)
    assert (result.exit_code, problem in result.stderr) == (2, True)


@pytest.mark.parametrize(("content", "problem"), [("a: [", "is not YAML"), (None, "cannot be read")])
def test_check_refuses_what_is_no_configuration(here: Path, content: str | None, problem: str) -> None:
    if content:
        (here / "file").write_text(content)
    result = _gpuctl("check", here / "file", "--talos-version", "v1.13.9")
    assert (result.exit_code, problem in result.stderr) == (2, True)


OWN_IMAGE = f"factory.talos.dev/metal-installer/{'a' * 64}:v1.12.4"


def test_patch_keeps_an_image_whose_content_only_its_owner_knows(here: Path) -> None:
    """Its schematic may have what the node cannot do without; only the release changes."""
    now = _worker(here, install={"image": OWN_IMAGE})
    result = _gpuctl("patch", "--stack", "lab", "--node", "gpu-1", "--config", now)
    machine = yaml.safe_load((here / "patches" / "gpu-1.yaml").read_text())["machine"]
    kept = OWN_IMAGE.replace("v1.12.4", "v1.13.9")
    assert machine["install"]["image"] == kept
    assert f"upgrade --image {kept}" in result.stdout
    assert "the node's own image is kept: what it contains could not be determined" in result.stdout


def test_patch_names_what_is_lost_with_an_image_that_the_stack_replaces(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = here / "Pulumi.own.yaml"
    stack.write_text((ROOT / "config" / "Pulumi.homelab.yaml").read_text().rstrip() + EXTENSIONS)
    monkeypatch.setenv("PULUMI_OPTION_CONFIG_FILE", str(stack))
    now = _worker(here, install={"image": OWN_IMAGE})
    result = _gpuctl("patch", "--stack", "own", "--config", now)
    assert result.exit_code == 0
    assert f"replaces {OWN_IMAGE.replace('v1.12.4', 'v1.10.9')}" in result.stdout
    assert "other extensions and kernel arguments in it are lost" in result.stdout


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- {op: add, path: /machine/type, value: x}", "is a JSON6902 patch"),
        ("machine: {kernel: {modules: [{name: nvidia}]}}", "is a patch"),
        ("", "is empty"),
        ("clusterName: a\nnodes: []", "it seems to be a talconfig.yaml of talhelper"),
        (
            "machine: {type: worker, files: [{path: /etc/cri/conf.d/20-customization.part, content: 'a b'}]}",
            "is not TOML",
        ),
    ],
)
def test_patch_refuses_what_is_not_a_nodes_whole_configuration(here: Path, content: str, problem: str) -> None:
    (here / "now.yaml").write_text(content)
    result = _gpuctl("patch", "--stack", "lab", "--node", "gpu-1", "--config", "now.yaml")
    assert (result.exit_code, problem in result.stderr) == (2, True)
    assert not (here / "patches").exists()


@pytest.mark.parametrize("folder", ["file", "/proc/x", "/sys/x", "full", "link"])
def test_patch_says_when_it_cannot_write(here: Path, folder: str) -> None:
    (here / "file").write_text("")
    (here / "link").symlink_to("/nonexistent/folder")
    (here / "full").mkdir()
    for node in ("gpu-1", "gpu-2", "gpu-3"):
        (here / "full" / f"{node}.yaml").symlink_to("/dev/full")
    result = _gpuctl("patch", "--stack", "lab", "-o", folder)
    said = "is a file, not a folder" if folder == "file" else "cannot be written"
    assert (result.exit_code, result.stdout, said in result.stderr) == (2, "", True)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("option", ["check", "patch"])
def test_a_file_without_end_is_too_long(here: Path, option: str) -> None:  # noqa: ARG001 (it is the working folder)
    words = {"check": ["/dev/zero"], "patch": ["--stack", "lab", "--node", "gpu-1", "--config", "/dev/zero"]}[option]
    result = _gpuctl(option, *words)
    assert (result.exit_code, "is longer than 4000000 characters" in result.stderr) == (2, True)


def test_check_refuses_what_is_no_machine_configuration(here: Path) -> None:
    (here / "talosconfig").write_text("context: a\ncontexts: {}")
    result = _gpuctl("check", "talosconfig", "--talos-version", "v1.13.9")
    assert (result.exit_code, "it seems to be a talosconfig" in result.stderr) == (2, True)


def test_check_reads_a_file_of_talhelper(here: Path) -> None:
    modules = [{"name": f"nvidia{part}"} for part in ("", "_uvm", "_drm")]
    nodes = [{"hostname": "gpu-1", "kernelModules": modules}, {"hostname": "cp-1"}]
    (here / "talconfig.yaml").write_text(
        yaml.safe_dump({"clusterName": "a", "talosVersion": "v1.13.6", "nodes": nodes})
    )
    result = _gpuctl("check", "talconfig.yaml")
    assert result.exit_code == 1
    assert result.stdout == snapshot("""\
nodes[0] (gpu-1): [image-missing] installer image: is not named, so it has no NVIDIA extensions
  fix it: gpuctl talos schematic --stack STACK prints an image with them
nodes[0] (gpu-1): [modules-missing] kernel modules: nvidia_modeset missing, and none loads by itself
  fix it: gpuctl talos patch adds them
talconfig.yaml, a file of another tool, 1 of its 2 parts with something of NVIDIA's: 2 found
""")


def test_what_could_not_be_determined_is_said_and_is_no_finding(here: Path) -> None:
    config = _worker(
        here,
        install={"image": OWN_IMAGE.replace("v1.12.4", "v1.13.9")},
        kernel={"modules": [{"name": f"nvidia{part}"} for part in ("", "_uvm", "_drm", "_modeset")]},
    )
    result = _gpuctl("check", config.name)
    assert result.exit_code == 0
    assert result.stdout == snapshot("""\
[image-unknown] machine.install.image: whether schematic aaaaaaaaaa... has NVIDIA's extensions could not be determined
  see: talosctl get extensions, on the node
worker.yaml, a configuration for Talos v1.13.9: nothing found
""")


def test_patch_writes_the_file_of_another_tool_for_all_nodes(here: Path) -> None:
    result = _gpuctl("patch", "--stack", "lab", "--for", "omni", "-o", "out")
    said = "out/omni.yaml: in the form of omni, for gpu-1, gpu-2, gpu-3"
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, said)
    assert [path.name for path in (here / "out").iterdir()] == ["omni.yaml"]


def test_the_file_of_another_tool_is_about_all_nodes(here: Path) -> None:  # noqa: ARG001 (it is the working folder)
    result = _gpuctl("patch", "--stack", "lab", "--for", "omni", "--node", "gpu-1")
    assert result.exit_code == 2
    assert "is about all nodes" in result.stderr
