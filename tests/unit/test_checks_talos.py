"""Checks of what Talos says about its nodes, from labels, annotations and talosctl."""

import json
from typing import Any

import pytest

from gpuctl.checks import talos
from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.cluster.programs import Ran
from gpuctl.desired.schematic import schematic_id
from tests.fixtures.checks import FakePrograms, context_of, results_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy

KERNEL, TOOLKIT = "nvidia-open-gpu-kernel-modules-production", "nvidia-container-toolkit-production"
VERSIONS = {KERNEL: "595.91.07-v1.13.9", TOOLKIT: "595.91.07-v1.19.1"}
"""Of the production channel of Talos v1.13.9."""
MODULES = "".join(f"{name} 16384 0 - Live 0x0\n" for name in ("nvidia_uvm", "nvidia", "nvidia_drm", "nvidia_modeset"))
SETTINGS = settings_of(
    nodes=[{"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "address": "192.0.2.11"}],
)


@pytest.fixture
def cluster() -> FakeCluster:
    """Its GPU node tells its extensions as Talos does: versions as labels, the schematic's ID as an annotation."""
    cluster = healthy(SETTINGS)
    metadata = cluster.node_objects["gpu-1"]["metadata"]
    metadata["labels"] |= {f"extensions.talos.dev/{name}": version for name, version in VERSIONS.items()}
    metadata["annotations"] = {"extensions.talos.dev/schematic": schematic_id(SETTINGS)}
    return cluster


def _found(check: Check, cluster: FakeCluster, **programs: Ran) -> Result:
    (found,) = results_of(check, context_of(cluster, SETTINGS, FakePrograms(**programs)))
    return found


def _labels(cluster: FakeCluster) -> dict[str, str]:
    return cluster.node_objects["gpu-1"]["metadata"]["labels"]


def _bare(cluster: FakeCluster) -> None:
    """Removes what Talos tells about its extensions."""
    cluster.node_objects["gpu-1"]["metadata"]["annotations"] = {}
    for name in VERSIONS:
        del _labels(cluster)[f"extensions.talos.dev/{name}"]


def _printed(*names: str) -> Ran:
    """Extensions as `talosctl get extensions -o json` prints them: one document after the other."""
    layers: list[dict[str, Any]] = [{"metadata": {"name": name, "version": "1"}} for name in names]
    return Ran("\n".join(json.dumps({"node": "192.0.2.11", "spec": layer}, indent=2) for layer in layers), "", 0)


@pytest.mark.parametrize("check", talos.CHECKS, ids=lambda check: check.id)
def test_a_node_as_the_stack_asks_for_it_passes(check: Check, cluster: FakeCluster) -> None:
    assert _found(check, cluster, talosctl=Ran(MODULES, "", 0)).outcome is Outcome.PASS


@pytest.mark.parametrize("check", talos.CHECKS, ids=lambda check: check.id)
def test_of_a_node_without_talos_nothing_is_told(check: Check, cluster: FakeCluster) -> None:
    cluster.node_objects["gpu-1"]["status"]["nodeInfo"]["osImage"] = "Debian GNU/Linux 12 (bookworm)"
    found = _found(check, cluster, talosctl=Ran("", "", 0))
    assert (found.outcome, found.fact) == (
        Outcome.SKIP,
        "node gpu-1: Debian GNU/Linux 12 (bookworm), not Talos",
    )


def test_another_release_is_told_with_the_upgrade_of_that_node(cluster: FakeCluster) -> None:
    cluster.node_objects["gpu-1"]["status"]["nodeInfo"]["osImage"] = "Talos (v1.12.4)"
    found = _found(talos.talos_is_the_stacks, cluster)
    assert found.fact == "node gpu-1 runs Talos v1.12.4 and the stack file says v1.13.9"
    assert found.remedy == (
        f"talosctl upgrade -n 192.0.2.11 --image factory.talos.dev/metal-installer/{schematic_id(SETTINGS)}:v1.13.9"
    )


def test_a_label_of_talos_and_the_stack_is_found_before_it_is_in_the_way(cluster: FakeCluster) -> None:
    """With the commands for this node, which have its address."""
    owned = '["nvidia.com/device-plugin.config","example.com/rack"]'
    cluster.node_objects["gpu-1"]["metadata"]["annotations"]["talos.dev/owned-labels"] = owned
    found = _found(talos.labels_have_one_owner, cluster)
    assert found.outcome is Outcome.FAIL
    assert found.fact.startswith("node gpu-1: its Talos configuration sets nvidia.com/device-plugin.config, which")
    assert found.remedy == (
        "talosctl --nodes 192.0.2.11 get machineconfig v1alpha1 -o yaml >now.yaml && "
        "gpuctl talos patch --stack lab --node gpu-1 --config now.yaml && "
        "talosctl --nodes 192.0.2.11 patch machineconfig --patch @patches/gpu-1.yaml && pulumi up --stack lab"
    )


def test_that_a_node_has_gpus_may_be_said_by_talos_as_well(cluster: FakeCluster) -> None:
    cluster.node_objects["gpu-1"]["metadata"]["annotations"]["talos.dev/owned-labels"] = '["nvidia.com/gpu.present"]'
    assert _found(talos.labels_have_one_owner, cluster).outcome is Outcome.PASS
    _labels(cluster)["nvidia.com/gpu.present"] = "false"
    assert _found(talos.labels_have_one_owner, cluster).outcome is Outcome.FAIL


@pytest.mark.parametrize("release", ["v1.15.0", "v1.15.0-beta.1", "v1.16.2"])
def test_a_release_without_the_toolkit_has_no_ground_for_a_stack(cluster: FakeCluster, release: str) -> None:
    """Its extension is still called nvidia-container-toolkit."""
    cluster.node_objects["gpu-1"]["status"]["nodeInfo"]["osImage"] = f"Talos ({release})"
    found = _found(talos.extensions_are_there, cluster)
    assert found.fact.startswith(f"node gpu-1 runs Talos {release}, which has no NVIDIA container toolkit")
    assert found.remedy == "talosctl --nodes 192.0.2.11 rollback"


class TestExtensions:
    def test_a_missing_one_is_named(self, cluster: FakeCluster) -> None:
        del _labels(cluster)[f"extensions.talos.dev/{TOOLKIT}"]
        found = _found(talos.extensions_are_there, cluster)
        assert (found.outcome, found.fact) == (Outcome.FAIL, f"node gpu-1 lacks the extension {TOOLKIT}")
        assert found.cause == "its image was made without it"

    def test_those_of_the_other_channel_are_named_as_what_is_there_instead(self, cluster: FakeCluster) -> None:
        lts = "nvidia-container-toolkit-lts"
        _labels(cluster)[f"extensions.talos.dev/{lts}"] = _labels(cluster).pop(f"extensions.talos.dev/{TOOLKIT}")
        assert _found(talos.extensions_are_there, cluster).cause == f"its image has {lts} instead"

    def test_where_kubernetes_knows_none_talos_is_asked(self, cluster: FakeCluster) -> None:
        _bare(cluster)
        programs = FakePrograms(talosctl=_printed(KERNEL, TOOLKIT))
        (found,) = results_of(talos.extensions_are_there, context_of(cluster, SETTINGS, programs))
        assert found.outcome is Outcome.PASS
        assert programs.commands == [("talosctl", "-n", "192.0.2.11", "get", "extensions", "-o", "json")]
        assert _found(talos.extensions_are_there, cluster, talosctl=_printed(KERNEL)).outcome is Outcome.FAIL
        assert _found(talos.extensions_are_there, cluster, talosctl=Ran("", "", 0)).outcome is Outcome.FAIL

    @pytest.mark.parametrize(
        ("programs", "reason"),
        [
            ({}, "talosctl is not installed here"),
            ({"talosctl": Ran("", "error: no talosconfig\n", 1)}, "no talosconfig"),
        ],
    )
    def test_where_nobody_knows_it_is_skipped_with_the_reason(
        self, cluster: FakeCluster, programs: dict[str, Ran], reason: str
    ) -> None:
        _bare(cluster)
        found = _found(talos.extensions_are_there, cluster, **programs)
        assert (found.outcome, found.fact.rpartition(": ")[2]) == (Outcome.SKIP, reason)

    def test_another_version_is_told_beside_the_expected_one(self, cluster: FakeCluster) -> None:
        _labels(cluster)[f"extensions.talos.dev/{TOOLKIT}"] = "595.58.03-v1.19.0"
        found = _found(talos.extension_versions_fit, cluster)
        assert found.outcome is Outcome.FAIL
        assert found.fact == f"node gpu-1: {TOOLKIT} is 595.58.03-v1.19.0 and not 595.91.07-v1.19.1"

    def test_versions_of_a_release_that_nobody_knows_are_not_told(self, cluster: FakeCluster) -> None:
        unknown = settings_of(talosVersion="v1.14.7", nodes=[{"name": "gpu-1", "gpu": "rtx-3090", "count": 2}])
        (found,) = results_of(talos.extension_versions_fit, context_of(cluster, unknown))
        assert found.outcome is Outcome.SKIP


class TestSchematic:
    def test_another_image_is_told(self, cluster: FakeCluster) -> None:
        cluster.node_objects["gpu-1"]["metadata"]["annotations"]["extensions.talos.dev/schematic"] = "376567988ad37013"
        found = _found(talos.schematic_is_the_stacks, cluster)
        assert found.outcome is Outcome.FAIL
        assert found.fact.startswith("node gpu-1's image is of schematic 376567988a... and the stack's is ")

    def test_a_node_that_does_not_tell_is_skipped(self, cluster: FakeCluster) -> None:
        _bare(cluster)
        assert _found(talos.schematic_is_the_stacks, cluster).outcome is Outcome.SKIP


class TestModules:
    def test_one_that_is_not_loaded_is_named(self, cluster: FakeCluster) -> None:
        """`nvidia` is not taken for there because `nvidia_drm` is."""
        listed = "".join(line for line in MODULES.splitlines(keepends=True) if not line.startswith("nvidia "))
        found = _found(talos.modules_are_loaded, cluster, talosctl=Ran(listed, "", 0))
        assert (found.outcome, found.fact) == (Outcome.FAIL, "node gpu-1 has not loaded nvidia")
        assert found.remedy == "talosctl -n 192.0.2.11 dmesg"

    def test_without_talosctl_or_its_configuration_it_is_skipped(self, cluster: FakeCluster) -> None:
        assert _found(talos.modules_are_loaded, cluster).outcome is Outcome.SKIP
        found = _found(talos.modules_are_loaded, cluster, talosctl=Ran("", "error: no talosconfig\n", 1))
        assert (found.outcome, found.fact) == (
            Outcome.SKIP,
            "the kernel modules of gpu-1 cannot be read: no talosconfig",
        )

    def test_only_a_deep_run_asks_every_node(self) -> None:
        assert [check.id for check in talos.CHECKS if check.deep] == ["TAL005"]
