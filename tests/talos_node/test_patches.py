"""What real Talos nodes make of the product's patches, and which other configurations `gpuctl talos check` warns of."""

import re
import sys
from pathlib import Path

import pytest

from gpuctl.desired.talos import provider_patches
from gpuctl.settings import read_config
from gpuctl.settings.talos_tables import minor_of
from tests.node.bed import Config, gpu_pod, wait_for
from tests.talos_node.bed import NODES, STACK, TalosBed

pytestmark = [pytest.mark.talos_node, pytest.mark.timeout(900, func_only=True)]

MODULES = ["nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset"]
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


def has_documents(bed: TalosBed) -> bool:
    """Whether modules, labels and files are documents of the configuration, and no fields."""
    return minor_of(bed.release.version) >= (1, 14)


def modules(bed: TalosBed, node: str) -> list[str]:
    """The modules that a node's configuration names, as often as it does."""
    fields, *documents = bed.documents(node)
    names = [module["name"] for module in fields["machine"].get("kernel", {}).get("modules", [])]
    return names + [document["name"] for document in documents if document["kind"] == "KernelModuleConfig"]


def labels_patch(bed: TalosBed, labels: dict[str, str]) -> Path:
    """A patch that sets labels of the node."""
    if has_documents(bed):
        return bed.file("labels", {"apiVersion": "v1alpha1", "kind": "KubeNodeConfig", "labels": labels})
    return bed.file("labels", {"machine": {"nodeLabels": labels}})


def specified_modules(bed: TalosBed, node: str) -> set[str]:
    """The modules that a node would load."""
    return set(bed.talosctl(node, "get", "kernelmodulespecs", "-o", "jsonpath={.metadata.id}").split())


def test_the_plain_patch_takes_effect_without_a_reboot_and_nothing_is_found_afterwards(bed: TalosBed) -> None:
    bed.write_stack_file(bed.config())
    assert "[modules-missing]" in bed.check(bed.configuration("gpu-1"))
    assert "Applied configuration without a reboot" in bed.apply("gpu-1", bed.patch_file("gpu-1"))
    assert specified_modules(bed, "gpu-1") >= set(MODULES)
    assert "nothing found" in bed.check(bed.configuration("gpu-1"))


def test_the_plain_patch_twice_doubles_the_modules_of_fields_and_an_editor_ends_that(bed: TalosBed) -> None:
    bed.write_stack_file(bed.config())
    bed.patch("gpu-1")
    bed.apply("gpu-1", bed.patch_file("gpu-1"))
    if has_documents(bed):
        assert sorted(modules(bed, "gpu-1")) == sorted(MODULES)
        return
    assert modules(bed, "gpu-1") == [*MODULES, *MODULES]
    said = bed.check(bed.configuration("gpu-1"))
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
    before = bed.documents("gpu-1")
    bed.patch("gpu-1")
    assert bed.documents("gpu-1") == before


@pytest.mark.before_line(1, 13)
def test_the_sysctl_of_lines_before_v1_13_reaches_the_kernels_setting_of_the_node(bed: TalosBed) -> None:
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
    bed.apply("gpu-2", labels_patch(bed, OLD_LABELS))
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


def test_a_reserved_label_is_refused_to_the_node(bed: TalosBed) -> None:
    patch = labels_patch(bed, {"node-role.kubernetes.io/gpu": ""})
    assert "[label-reserved]" in bed.check_patch(patch)
    bed.apply("gpu-2", patch)
    wait_for(True, lambda: "is not allowed to modify labels: node-role.kubernetes.io/gpu" in bed.says("gpu-2"))


def test_the_default_runtime_gives_a_gpu_to_a_pod_that_names_no_runtime(bed: TalosBed) -> None:
    """containerd's configuration takes a reboot up to v1.13; since then Talos restarts containerd by itself."""
    config = bed.config(defaultRuntime=True, nodes=bed.nodes())
    bed.write_stack_file(config)
    said = bed.patch("gpu-2")
    assert f"Applied configuration with{'out' if has_documents(bed) else ''} a reboot" in said
    file = "/etc/cri/conf.d/cri.toml"
    wait_for(True, lambda: "default_runtime_name = 'nvidia'" in bed.read("gpu-2", file))
    bed.deploy(config)
    wait_for(4, lambda: bed.allocatable("gpu-2"))
    pod: Config = gpu_pod("plain", "gpu-2")
    del pod["spec"]["runtimeClassName"]
    bed.create(pod)
    bed.output("kubectl", "wait", "--for=condition=Ready", "--timeout=110s", "pod/plain")
    assert "RTX 4090" in bed.output("kubectl", "exec", "plain", "--", "nvidia-smi", "-L")


def test_a_configuration_patched_in_an_older_line_takes_the_patch_of_the_nodes_own(bed: TalosBed) -> None:
    """As on an upgrade: the form stays that of the line that installed the node. No patch removes a sysctl."""
    older = "1.9" if bed.release.minor == "1.10" else "1.10"
    bed.write_stack_file(bed.config(talosVersion=f"v{older}.6"))
    bed.join("gpu-2", bed.patch_file("gpu-2"), contract=older)
    bed.wait_until_ready("gpu-2")
    bed.write_stack_file(bed.config(talosContract=f"v{older}"))
    bed.patch("gpu-2")
    assert sorted(modules(bed, "gpu-2")) == sorted(MODULES)
    said = bed.check(bed.configuration("gpu-2"), "--stack", STACK, "--node", "gpu-2")
    codes = set(re.findall(r"\[([a-z-]+)\]", said))
    assert codes == ({"sysctl-needless"} if minor_of(bed.release.version) >= (1, 13) else set[str]()), said


def test_a_new_node_gets_its_patch_in_maintenance_mode_and_a_node_of_the_old_name_its_slices(bed: TalosBed) -> None:
    """Its disk and its object are gone, as after a reset; the stack knows only the name."""
    bed.changed_by_hand()
    bed.deploy(bed.config())
    bed.join("gpu-2", bed.patch_file("gpu-2"))
    bed.wait_until_ready("gpu-2")
    assert specified_modules(bed, "gpu-2") >= set(MODULES)
    assert "NOD003" in bed.begins()
    bed.changed_by_hand()
    bed.deploy(bed.config())
    wait_for([8, 2], lambda: [bed.allocatable(node.name) for node in NODES])
    assert "NOD003" not in bed.begins()
    bed.gpuctl("talos", "check", str(bed.configuration("gpu-2")), "--stack", STACK, "--node", "gpu-2")


@pytest.mark.before_line(1, 14)  # the provider cannot read what v1.14 wrote, and the stack refuses such nodes
def test_what_the_stack_would_apply_takes_effect_and_takes_back_what_others_changed(bed: TalosBed) -> None:
    """The Pulumi provider merges its patch with the configuration it is given, and applies the whole of it."""
    keys = bed.config() | {"context": bed.cluster.context}
    settings = read_config(STACK, {f"gpu:{key}": value for key, value in keys.items()})
    patch = Path(bed.environment["TMPDIR"]) / "provider.yaml"
    patch.write_text(provider_patches(settings)["gpu-2"])
    given = bed.cluster.talos.worker_config(bed.release.minor)
    bed.apply("gpu-2", labels_patch(bed, {"example.com/by-hand": "yes"}))
    bed.wait_for_labels("gpu-2", {"example.com/by-hand": "yes"})
    bed.talosctl("gpu-2", "apply-config", "--file", str(given), "--config-patch", f"@{patch}")
    assert modules(bed, "gpu-2") == MODULES
    wait_for(None, lambda: bed.labels("gpu-2").get("example.com/by-hand"))
