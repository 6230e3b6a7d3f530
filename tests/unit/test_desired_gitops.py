"""The folder for Flux and Argo CD has the desired objects, in the order in which a node needs them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuctl.desired.desired import desired_state
from gpuctl.desired.gitops import gitops_folder
from gpuctl.settings import read_config, read_stack
from tests.fixtures.stack_files import VALID, config_of

FILES = gitops_folder(desired_state(read_stack("lab")), "lab", "clusters/lab/gpu")
WAVE, OPTIONS = "argocd.argoproj.io/sync-wave", "argocd.argoproj.io/sync-options"


def _objects() -> list[tuple[str, dict[str, Any]]]:
    return [
        (path.partition("/")[0], each)
        for path, text in FILES.items()
        if path.endswith("/objects.yaml")
        for each in yaml.safe_load_all(text)
    ]


def _annotations(manifest: dict[str, Any]) -> dict[str, str]:
    return manifest["metadata"]["annotations"]


def test_it_has_every_object_once_and_no_node() -> None:
    """Whoever prunes deletes what is taken out, and a node is nobody's to delete."""
    found = sorted((each["kind"], each["metadata"]["name"]) for _, each in _objects())
    assert found == sorted(
        (each["kind"], each["metadata"]["name"]) for each in desired_state(read_stack("lab")).manifests
    )
    assert "Node" not in {kind for kind, _ in found}


def test_objects_are_the_desired_ones_but_for_the_annotations() -> None:
    for _, each in _objects():
        left = {key: value for key, value in _annotations(each).items() if not key.startswith("argocd.")}
        each["metadata"]["annotations"] = left
        if not left:
            del each["metadata"]["annotations"]
        assert each in desired_state(read_stack("lab")).manifests


def test_argo_cd_limits_power_before_it_offers_gpus() -> None:
    waves = {(each["kind"], each["metadata"]["name"]): _annotations(each)[WAVE] for _, each in _objects()}
    daemon_sets = {name: wave for (kind, name), wave in waves.items() if kind in ("DaemonSet", "Namespace")}
    assert daemon_sets == {
        "gpu-device-plugin": "0",
        "nvidia-power-limit": "1",
        "nvidia-device-plugin": "3",
        "nvidia-device-plugin-gpu-2": "3",
        "nvidia-device-plugin-gpu-3": "3",
    }


def test_argo_cd_prunes_a_config_map_when_no_pod_mounts_it_any_more() -> None:
    assert {each["kind"] for _, each in _objects() if OPTIONS in _annotations(each)} == {"ConfigMap"}
    assert {_annotations(each).get(OPTIONS) for _, each in _objects() if each["kind"] == "ConfigMap"} == {
        "PruneLast=true"
    }


def test_flux_waits_for_each_folder_that_comes_before() -> None:
    order = {
        each["metadata"]["name"]: [name["name"] for name in each["spec"].get("dependsOn", [])]
        for each in yaml.safe_load_all(FILES["flux.yaml"])
    }
    assert order == {
        "gpu-lab-namespace": [],
        "gpu-lab-runtime-class": [],
        "gpu-lab-power-limit": ["gpu-lab-namespace", "gpu-lab-runtime-class"],
        "gpu-lab-device-plugin": ["gpu-lab-namespace", "gpu-lab-runtime-class", "gpu-lab-power-limit"],
    }
    specs = [each["spec"] for each in yaml.safe_load_all(FILES["flux.yaml"])]
    assert all(spec["prune"] and spec["wait"] for spec in specs)
    assert specs[2]["path"] == "./clusters/lab/gpu/power-limit"


def test_flux_prunes_a_config_map_after_what_mounts_it_has_changed() -> None:
    """Within one Kustomization objects are applied before others are pruned."""
    folders = {each["metadata"]["name"]: folder for folder, each in _objects() if each["kind"] == "ConfigMap"}
    assert {folder for name, folder in folders.items() if "power" in name} == {"power-limit"}
    assert {folder for name, folder in folders.items() if "power" not in name} == {"device-plugin"}


def test_every_folder_is_named_to_kustomize() -> None:
    assert yaml.safe_load(FILES["kustomization.yaml"])["resources"] == [
        "namespace",
        "runtime-class",
        "power-limit",
        "device-plugin",
    ]


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_every_object_of_every_stack_is_in_some_folder(path: Path) -> None:
    stack = desired_state(read_config("fixture", config_of(path)))
    files = gitops_folder(stack, "all", "gpu")
    objects = [each for path in files if path.endswith("/objects.yaml") for each in yaml.safe_load_all(files[path])]
    assert len(objects) == len(stack.manifests)
