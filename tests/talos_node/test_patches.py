"""What real Talos nodes make of machine configurations: the product's patches, and what `gpuctl talos check` finds."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gpuctl.settings.talos_tables import minor_of
from tests.node.bed import wait_for
from tests.talos_node.bed import NODES, STACK, TalosBed

pytestmark = [pytest.mark.talos_node, pytest.mark.timeout(900, func_only=True)]

MODULES = ["nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset"]
CRI_FILE = "/etc/cri/conf.d/20-customization.part"
OLD_LABELS = {"nvidia.com/gpu.present": "true", "nvidia.com/device-plugin.config": "gpu-2"}
"""What a patch of an older version of this project set on gpu-2."""
KEEPS_ONE = f"""\
#!{sys.executable}
import pathlib, sys, yaml
path = pathlib.Path(sys.argv[1])
documents = list(yaml.safe_load_all(path.read_text()))
kernel = next(each for each in documents if "machine" in each)["machine"]["kernel"]
kernel["modules"] = list({{module["name"]: module for module in kernel["modules"]}}.values())
path.write_text(yaml.safe_dump_all(documents))
"""
"""An editor in the place of the person whom `talosctl edit` would show the configuration."""


@pytest.fixture
def unbootable(bed: TalosBed) -> Iterator[TalosBed]:
    """The cluster, whose node gpu-2 a test may keep from booting."""
    yield bed
    bed.changed_by_hand()
    bed.join("gpu-2")
    bed.wait_until_ready("gpu-2")


def found(bed: TalosBed, config: Path) -> str:
    """What `gpuctl talos check` prints of a configuration."""
    return bed.run(sys.executable, "-m", "gpuctl", "talos", "check", str(config)).stdout


def modules(bed: TalosBed, node: str) -> list[str]:
    """The modules that a node's configuration names, as often as it does."""
    return [module["name"] for module in bed.machine(node).get("kernel", {}).get("modules", [])]


def patch_of(bed: TalosBed, name: str, machine: object) -> Path:
    """A patch in a file."""
    path = Path(bed.environment["TMPDIR"]) / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"machine": machine}))
    return path


def before_documents(bed: TalosBed) -> None:
    """Skips a test of the form that configurations have up to v1.13."""
    if minor_of(bed.release.version) >= (1, 14):
        pytest.skip("from Talos v1.14 on, a document stands there once however often it is applied")


def test_the_plain_patch_takes_effect_without_a_reboot_and_nothing_is_found_afterwards(bed: TalosBed) -> None:
    bed.write_stack_file(bed.config())
    assert "[modules-missing]" in found(bed, bed.configuration("gpu-1"))
    assert "Applied configuration without a reboot" in bed.apply("gpu-1", bed.patch_file("gpu-1"))
    specs = bed.talosctl("gpu-1", "get", "kernelmodulespecs", "-o", "jsonpath={.metadata.id}")
    assert set(specs.split()) >= set(MODULES)
    assert "nothing found" in found(bed, bed.configuration("gpu-1"))


def test_the_plain_patch_twice_doubles_the_modules_and_an_editor_ends_that(bed: TalosBed) -> None:
    before_documents(bed)
    bed.write_stack_file(bed.config())
    bed.patch("gpu-1")
    bed.apply("gpu-1", bed.patch_file("gpu-1"))
    assert modules(bed, "gpu-1") == [*MODULES, *MODULES]
    said = found(bed, bed.configuration("gpu-1"))
    assert said.count("[module-twice]") == 4
    assert "keep one entry: talosctl --nodes ADDRESS edit machineconfig" in said
    editor = Path(bed.environment["TMPDIR"]) / "keeps-one"
    editor.write_text(KEEPS_ONE)
    editor.chmod(0o755)
    address = bed.address("gpu-1")
    bed.output("env", f"EDITOR={editor}", "talosctl", "--nodes", address, "edit", "machineconfig")
    assert modules(bed, "gpu-1") == MODULES


def test_a_patch_computed_from_the_live_configuration_adds_nothing_the_second_time(bed: TalosBed) -> None:
    bed.write_stack_file(bed.config())
    bed.patch("gpu-1")
    before = bed.machine("gpu-1")
    bed.patch("gpu-1")
    assert bed.machine("gpu-1") == before


def test_the_sysctl_of_lines_before_v1_13_reaches_the_kernels_setting_of_the_node(bed: TalosBed) -> None:
    if minor_of(bed.release.version) >= (1, 13):
        pytest.skip("patches for Talos v1.13 and later name no sysctl")
    bed.write_stack_file(bed.config())
    bed.patch("gpu-1")
    status = ("get", "kernelparamstatus", "proc.sys.net.core.bpf_jit_harden", "-o", "jsonpath={.spec.current}")
    wait_for("1", lambda: bed.talosctl("gpu-1", *status).strip())


def test_labels_of_an_older_patch_are_refused_when_they_are_in_the_way_and_the_commands_take_them_out(
    bed: TalosBed,
) -> None:
    """The first update agrees with them; other slices do not. Without the refusal Pulumi ends in a field conflict."""
    bed.write_stack_file(bed.config())
    bed.patch("gpu-1")
    bed.patch("gpu-2")
    bed.apply("gpu-2", patch_of(bed, "old", {"nodeLabels": OLD_LABELS}))
    bed.wait_for_labels("gpu-2", OLD_LABELS)
    bed.deploy(bed.config())
    assert "TAL006" in bed.begins()
    up = bed.start_deploying(bed.config(nodes=bed.nodes()))
    said, _ = up.communicate(timeout=300)
    assert up.returncode != 0
    assert "field conflict" not in said
    [commands] = {line.partition("run this again: ")[2] for line in said.splitlines() if "run this again: " in line}
    assert f"talosctl --nodes {bed.address('gpu-2')} get machineconfig" in commands
    bed.shell(commands)
    wait_for(set[str](), lambda: OLD_LABELS.keys() & bed.labels("gpu-2").keys())
    bed.deploy(bed.config(nodes=bed.nodes()))
    bed.wait_for_labels("gpu-2", {"nvidia.com/device-plugin.config": "default"})
    wait_for(4, lambda: bed.allocatable("gpu-2"))
    assert "TAL006" not in bed.begins(nodes=bed.nodes())


@pytest.mark.parametrize(
    ("code", "files", "reason"),
    [
        ("file-path", ["/etc/cri/conf.d/21-nvidia.part"], "create operation not allowed outside of /var"),
        ("file-twice", [CRI_FILE, CRI_FILE], "already exists"),
    ],
)
def test_a_file_that_check_refuses_keeps_a_node_from_booting(
    unbootable: TalosBed, code: str, files: list[str], reason: str
) -> None:
    bed = unbootable
    before_documents(bed)
    entries = [{"op": "create", "path": path, "permissions": 0o600, "content": "# nothing\n"} for path in files]
    patch = patch_of(bed, code, {"files": entries})
    assert f"[{code}]" in found(bed, patch)
    bed.join("gpu-2", patch)
    wait_for(True, lambda: reason in bed.console("gpu-2"))


def test_a_new_node_gets_its_patch_in_maintenance_mode_and_a_node_of_the_old_name_its_slices(bed: TalosBed) -> None:
    """Its disk and its object are gone, as after a reset; the stack knows only the name."""
    bed.deploy(bed.config())
    bed.join("gpu-2", bed.patch_file("gpu-2"))
    bed.wait_until_ready("gpu-2")
    specs = bed.talosctl("gpu-2", "get", "kernelmodulespecs", "-o", "jsonpath={.metadata.id}")
    assert set(specs.split()) >= set(MODULES)
    assert "NOD003" in bed.begins()
    bed.changed_by_hand()
    bed.deploy(bed.config())
    wait_for([8, 2], lambda: [bed.allocatable(node.name) for node in NODES])
    assert "NOD003" not in bed.begins()
    bed.gpuctl("talos", "check", str(bed.configuration("gpu-2")), "--stack", STACK, "--node", "gpu-2")
