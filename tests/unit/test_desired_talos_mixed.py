"""Nodes of one stack that need different drivers: each has its own image, patch and expectations."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from gpuctl.checks import talos
from gpuctl.checks.model import Check, Outcome
from gpuctl.checks.workstation import kubectl_is_installed, talosctl_is_installed
from gpuctl.cli.app import app
from gpuctl.cluster.programs import Ran
from gpuctl.desired.desired import desired_state
from gpuctl.desired.schematic import installer_image
from gpuctl.desired.talos import talos_patches
from gpuctl.machine_config import Wanted, check, parse, present
from gpuctl.settings import Settings
from tests.fixtures.checks import FakePrograms, context_of, results_of
from tests.fixtures.fake_cluster import healthy
from tests.fixtures.stack_files import VALID, config_of
from tests.fixtures.stack_files import settings as settings_of

PROPRIETARY_LTS = "af8eb82417d3deaa94d2ef19c3b590b0dac1b2549d0b9b35b3da2bc325de75f7"
OPEN_PRODUCTION = "1deaeeb1ea2e7901c21c109368a7261f52dfd9a91e9d7eea83cfd0f0e1b7d488"
FACTORY = "factory.talos.dev/metal-installer"
IMAGES = {"gpu-old": f"{FACTORY}/{PROPRIETARY_LTS}:v1.12.8", "gpu-new": f"{FACTORY}/{OPEN_PRODUCTION}:v1.13.9"}
OFFERED = {"gpu-old": 4, "gpu-new": 4}
FILE = next(path for path in VALID if path.stem == "pascal-beside-blackwell")


@pytest.fixture
def settings() -> Settings:
    return settings_of(**{key.removeprefix("gpu:"): value for key, value in config_of(FILE).items()})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a project with this stack, in which the command runs."""
    (tmp_path / "Pulumi.yaml").write_text("name: gpu\nruntime: python\n")
    (tmp_path / "Pulumi.mixed.yaml").write_text(FILE.read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _gpuctl(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["talos", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_each_node_has_the_image_that_drives_its_gpus(settings: Settings) -> None:
    assert {node.name: installer_image(settings.on(node)) for node in settings.nodes} == IMAGES
    patches = {name: yaml.safe_load(text)["machine"] for name, text in talos_patches(settings).items()}
    assert {name: patch["install"]["image"] for name, patch in patches.items()} == IMAGES


def test_a_patch_is_of_the_nodes_own_release(settings: Settings) -> None:
    """nvidia-container-cli, which needs the sysctl, went with Talos v1.13."""
    patches = {name: yaml.safe_load(text)["machine"] for name, text in talos_patches(settings).items()}
    assert patches["gpu-old"]["sysctls"] == {"net.core.bpf_jit_harden": "1"}
    assert "sysctls" not in patches["gpu-new"]


def test_the_outputs_say_it_for_each_node_and_name_none_that_would_be_for_all(settings: Settings) -> None:
    said = desired_state(settings).outputs["talos"]
    assert (said["schematicId"], said["installerImage"]) == (None, None)
    assert said["byNode"] == {
        "gpu-old": {"schematicId": PROPRIETARY_LTS, "installerImage": IMAGES["gpu-old"]},
        "gpu-new": {"schematicId": OPEN_PRODUCTION, "installerImage": IMAGES["gpu-new"]},
    }


def test_the_outputs_of_nodes_that_are_alike_are_for_all() -> None:
    said = desired_state(settings_of()).outputs["talos"]
    assert (said["schematicId"], said["installerImage"]) == (OPEN_PRODUCTION, IMAGES["gpu-new"])


def _described(name: str, version: str, driver: str, toolkit: str, channel: str, schematic: str) -> dict[str, str]:
    return {
        f"{name}-{channel}": f"{driver}-{version}",
        f"nvidia-container-toolkit-{channel}": f"{driver}-v{toolkit}",
        "schematic": schematic,
    }


@pytest.mark.parametrize("asked", talos.CHECKS[:4], ids=lambda check: check.id)
def test_checks_hold_each_node_against_its_own(asked: Check, settings: Settings) -> None:
    cluster = healthy(settings, OFFERED)
    runs = {
        "gpu-old": _described("nonfree-kmod-nvidia", "v1.12.8", "580.126.20", "1.18.2", "lts", PROPRIETARY_LTS),
        "gpu-new": _described(
            "nvidia-open-gpu-kernel-modules", "v1.13.9", "595.91.07", "1.19.1", "production", OPEN_PRODUCTION
        ),
    }
    for name, extensions in runs.items():
        node = cluster.node_objects[name]
        node["metadata"]["annotations"] = {f"extensions.talos.dev/{key}": value for key, value in extensions.items()}
        node["status"]["nodeInfo"]["osImage"] = "Talos (v1.12.8)" if name == "gpu-old" else "Talos (v1.13.9)"
    assert [found.outcome for found in results_of(asked, context_of(cluster, settings))] == [Outcome.PASS] * 2


def test_a_wrong_image_is_mended_with_that_nodes_own(settings: Settings) -> None:
    found = results_of(talos.talos_is_the_stacks, context_of(healthy(settings, OFFERED), settings))
    (failed,) = [each for each in found if each.outcome is Outcome.FAIL]
    assert failed.fact == "node gpu-old runs Talos v1.13.9 and the stack file says v1.12.8"
    assert failed.remedy == f"talosctl upgrade -n gpu-old --image {IMAGES['gpu-old']}"


@pytest.mark.parametrize(
    ("version", "outcome"),
    [("v1.11.0", Outcome.FAIL), ("v1.12.0", Outcome.PASS), ("v1.13.0", Outcome.PASS), ("v1.14.0", Outcome.FAIL)],
)
def test_talosctl_is_of_the_line_of_one_of_the_nodes(version: str, outcome: Outcome, settings: Settings) -> None:
    programs = FakePrograms(talosctl=Ran(f"Client {version}", "", 0))
    (found,) = results_of(talosctl_is_installed, context_of(healthy(settings, OFFERED), settings, programs))
    assert found.outcome is outcome
    assert found.fact.endswith("of the minor version of Talos v1.12.8 or v1.13.9")


@pytest.mark.parametrize(("version", "outcome"), [("v1.36.0", Outcome.PASS), ("v1.37.0", Outcome.FAIL)])
def test_kubectl_fits_what_every_node_runs(version: str, outcome: Outcome, settings: Settings) -> None:
    """Talos v1.12 runs Kubernetes 1.30 to 1.35, and kubectl may be one minor version away."""
    programs = FakePrograms(kubectl=Ran(f'{{"clientVersion": {{"gitVersion": "{version}"}}}}', "", 0))
    (found,) = results_of(kubectl_is_installed, context_of(healthy(settings, OFFERED), settings, programs))
    assert (found.outcome, found.fact.partition("which ")[2]) == (outcome, "runs Kubernetes v1.31 to v1.35")


def test_a_configuration_is_held_against_its_own_node(settings: Settings) -> None:
    old, new = settings.nodes
    patch = parse(talos_patches(settings)["gpu-old"])
    assert check(patch, "v1.12.8", Wanted(settings, old)) == []
    (found,) = [each for each in check(patch, "v1.12.8", Wanted(settings, new)) if each.code == "image-differs"]
    assert found.problem == f"is {IMAGES['gpu-old']} and should be {IMAGES['gpu-new']}"
    assert present(patch, "v1.12.8").own_image is None


def test_patch_says_what_is_a_nodes_own(here: Path) -> None:
    lines = _gpuctl("patch", "--stack", "mixed").stdout.splitlines()
    assert lines[:2] == [
        "gpu-old: patches/gpu-old.yaml, fields of `machine`, for Talos v1.12.8",
        "  of its own: talosVersion v1.12.8, driverChannel lts, kernelModules proprietary",
    ]
    assert f"  talosctl --nodes gpu-old upgrade --image {IMAGES['gpu-old']}" in lines
    new = lines.index("gpu-new: patches/gpu-new.yaml, fields of `machine`, for Talos v1.13.9")
    assert lines[new + 1] == "  talosctl --nodes gpu-new patch machineconfig --patch @patches/gpu-new.yaml"
    assert {path.name for path in (here / "patches").iterdir()} == {"gpu-old.yaml", "gpu-new.yaml"}


@pytest.mark.usefixtures("here")
def test_schematic_prints_one_image_and_asks_which() -> None:
    both = _gpuctl("schematic", "--stack", "mixed")
    assert (both.exit_code, both.stdout) == (2, "")
    assert "the nodes have 2 different images: name one of gpu-new, gpu-old" in both.stderr
    old = _gpuctl("schematic", "--stack", "mixed", "--node", "gpu-old")
    assert "- siderolabs/nonfree-kmod-nvidia-lts\n" in old.stdout
    assert f"# installer image: {IMAGES['gpu-old']}\n" in old.stdout


@pytest.mark.usefixtures("here")
def test_check_takes_the_release_of_the_node() -> None:
    assert _gpuctl("patch", "--stack", "mixed").exit_code == 0
    found = _gpuctl("check", "patches/gpu-old.yaml", "--stack", "mixed", "--node", "gpu-old")
    assert (found.exit_code, found.stdout) == (0, "patches/gpu-old.yaml, a patch for Talos v1.12.8: nothing found\n")
