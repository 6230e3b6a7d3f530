"""What Talos' own configuration library says about the patches: each line's, at the release in testbed/go/talos-LINE.

It parses, merges, writes, reads again and validates. That a node boots with the result is not shown here.
"""

from pathlib import Path

import pytest

from gpuctl.desired.talos import Form, form_of, provider_patches, talos_patch
from gpuctl.machine_config import Wanted, parse, present
from gpuctl.machine_config import check as check_gpus
from testbed.talos import RELEASES, base, check, merge
from tests.talos.clusters import COMBINATIONS, LINES_AND_CONTRACTS, Combination, lab, node_of, patch_of

FILES_DEPRECATED = ".machine.files is deprecated; use dedicated configuration documents instead"
"""v1.14 on the fields that the Pulumi provider knows; only with a default runtime."""
NO_IMAGE = (
    "installer.image is not set, if Talos is not booted from asset built by Image Factory, installation will fail"
)
"""v1.14 on its own configurations, and so with a patch that cannot name the image because no disk is known."""

each_line_and_contract = pytest.mark.parametrize(("line", "contract"), LINES_AND_CONTRACTS)


@pytest.mark.parametrize("way", COMBINATIONS, ids=str)
def test_the_library_accepts_the_patch_without_a_warning(way: Combination) -> None:
    cluster = lab(
        way.line,
        way.contract,
        driverChannel=way.channel,
        kernelModules=way.modules,
        defaultRuntime=way.default_runtime,
    )
    verdict = check(way.line, base(way.line, way.contract), [patch_of(cluster)])
    assert (verdict.stage, verdict.errors, verdict.warnings) == ("", (), ())
    assert check_gpus(parse(verdict.merged), RELEASES[way.line], Wanted(cluster, node_of(cluster))) == []


@each_line_and_contract
def test_the_same_patch_fits_a_control_plane_node(line: str, contract: str) -> None:
    """A small cluster's GPUs are often in one; its configuration has labels of its own."""
    cluster = lab(line, contract, defaultRuntime=True)
    verdict = check(line, base(line, contract, "controlplane"), [patch_of(cluster)])
    assert (verdict.stage, verdict.errors, verdict.warnings) == ("", (), ())
    assert check_gpus(parse(verdict.merged), RELEASES[line], Wanted(cluster, node_of(cluster))) == []


def test_without_the_install_disk_a_patch_for_v1_14_leaves_the_image_out() -> None:
    """With the image alone it would erase the disk, and fail."""
    cluster = lab("1.14", "1.14", installDiskSelector="")
    verdict = check("1.14", base("1.14", "1.14"), [patch_of(cluster)])
    assert (verdict.errors, verdict.warnings) == ((), (NO_IMAGE,))


@each_line_and_contract
def test_the_plain_patch_twice_is_accepted_and_found_by_check(line: str, contract: str) -> None:
    """Nothing but `check` says that every module and the file are there twice; from v1.14 on, documents are not."""
    patch = patch_of(lab(line, contract, defaultRuntime=True))
    verdict = check(line, base(line, contract), [patch, patch])
    assert (verdict.stage, verdict.errors, verdict.warnings) == ("", (), ())
    codes = {finding.code for finding in check_gpus(parse(verdict.merged), RELEASES[line])}
    assert codes == (set() if line == "1.14" else {"module-twice", "file-twice"})


@each_line_and_contract
def test_a_patch_computed_from_the_nodes_configuration_changes_nothing_the_second_time(
    line: str, contract: str, tmp_path: Path
) -> None:
    cluster = lab(line, contract, defaultRuntime=True)
    once = tmp_path / "once.yaml"
    once.write_text(check(line, base(line, contract), [patch_of(cluster)]).merged)
    seen = present(parse(once.read_text()), cluster.talos_version)
    verdict = check(line, once, [talos_patch(cluster, node_of(cluster), seen)])
    assert (verdict.errors, verdict.merged) == ((), once.read_text())


@each_line_and_contract
def test_a_node_that_was_patched_on_its_first_line_can_be_patched_on_a_newer_one(
    line: str, contract: str, tmp_path: Path
) -> None:
    """The configuration, old patch and all, is what the first line's library wrote."""
    first = lab(contract, contract)
    old = tmp_path / "old.yaml"
    old.write_text(merge(contract, base(contract, contract), [patch_of(first)]))
    cluster = lab(line, contract)
    seen = present(parse(old.read_text()), cluster.talos_version)
    verdict = check(line, old, [talos_patch(cluster, node_of(cluster), seen)])
    assert (verdict.stage, verdict.errors, verdict.warnings) == ("", (), ())
    codes = {finding.code for finding in check_gpus(parse(verdict.merged), RELEASES[line])}
    assert codes <= {"sysctl-needless"}, "the only part of an old patch that a newer line has no use for"


@pytest.mark.parametrize("line", ["1.9", "1.10", "1.11", "1.12", "1.13"])
def test_a_fragment_of_the_nodes_own_is_merged_into_the_one_entry(line: str, tmp_path: Path) -> None:
    """A second entry for that path is valid and ends the boot."""
    own = """\
machine:
  files:
    - op: create
      path: /etc/cri/conf.d/20-customization.part
      permissions: 0o600
      content: |
        [plugins."io.containerd.cri.v1.runtime"]
          device_ownership_from_security_context = true
"""
    cluster = lab(line, line, defaultRuntime=True)
    config = tmp_path / "config.yaml"
    config.write_text(merge(line, base(line, line), [own]))
    seen = present(parse(config.read_text()), cluster.talos_version)
    verdict = check(line, config, [talos_patch(cluster, node_of(cluster), seen)])
    assert (verdict.stage, verdict.errors, verdict.warnings) == ("", (), ())
    (entry,) = parse(verdict.merged).entries("files")
    assert 'default_runtime_name = "nvidia"' in entry["content"]
    assert "device_ownership_from_security_context = true" in entry["content"]


@pytest.mark.parametrize("default_runtime", [False, True], ids=["plain", "default-runtime"])
@pytest.mark.parametrize(("line", "contract"), [(line, each) for line, each in LINES_AND_CONTRACTS if each != "1.14"])
def test_what_the_pulumi_provider_writes_is_accepted_by_the_nodes_line(
    line: str, contract: str, default_runtime: bool, tmp_path: Path
) -> None:
    """The provider merges with the library of v1.13, whatever the node runs, and knows no document of v1.14."""
    cluster = lab(line, contract, defaultRuntime=default_runtime)
    patch = provider_patches(cluster)[node_of(cluster).name]
    written = tmp_path / "written.yaml"
    written.write_text(merge("1.13", base("1.13", contract), [patch]))
    verdict = check(line, written, [])
    assert (verdict.stage, verdict.errors) == ("", ())
    assert verdict.warnings == ((FILES_DEPRECATED,) if line == "1.14" and default_runtime else ())


def test_the_patches_take_all_three_forms() -> None:
    """Else the tests above would have tried less than they say."""
    clusters = [lab(line, contract) for line, contract in LINES_AND_CONTRACTS]
    assert {form_of(cluster, node_of(cluster)) for cluster in clusters} == set(Form)
