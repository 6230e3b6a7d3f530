"""Every Kubernetes object of a stack, whole, and right for the API server's own schema."""

import copy
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from gpuctl.desired.desired import desired_state
from gpuctl.desired.names import CHECKSUM_ANNOTATION, Manifest, yaml_text
from gpuctl.settings import read_config, read_stack
from tests.fixtures import kubernetes_schema
from tests.fixtures.manifests import manifests
from tests.fixtures.names import without_hash
from tests.fixtures.snapshots import YamlSnapshot
from tests.fixtures.stack_files import ROOT, SHIPPED, VALID, config_of, each_shipped, each_valid, settings

SCRIPTS = ("nvidia-power-limit-agent", "nvidia-device-plugin-supervisor")
MPS = "nvidia-mps-control-daemon"


def identity(manifest: Manifest) -> tuple[str, str | None, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace"), metadata["name"]


def _without_long_texts(documents: list[Manifest]) -> list[Manifest]:
    """With a word in place of the dashboard's text, and of scripts and their hashes."""
    documents = copy.deepcopy(documents)
    for document in documents:
        for name in (*SCRIPTS, f"{MPS}-scripts"):
            if document["metadata"]["name"].startswith(name):
                document["data"] = dict.fromkeys(document["data"], "a script")
                document["metadata"]["name"] = f"{name}-HASH"
        if document["metadata"]["name"].startswith("nvidia-device-plugin") and document["kind"] == "DaemonSet":
            document["spec"]["template"]["spec"]["volumes"][2]["configMap"]["name"] = f"{SCRIPTS[1]}-HASH"
        if document["metadata"]["name"] == "gpu-sharing-dashboard":
            document["data"] = dict.fromkeys(document["data"], "the dashboard")
        if document["metadata"]["name"].startswith("nvidia-power-limit") and document["kind"] == "DaemonSet":
            document["spec"]["template"]["metadata"]["annotations"][CHECKSUM_ANNOTATION] = "its hash"
            document["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] = "nvidia-power-limit-agent-HASH"
        if document["kind"] == "DaemonSet":
            _without_hashes_of_mps(document["metadata"]["name"], document["spec"]["template"])
    return documents


def _without_hashes_of_mps(name: str, template: dict[str, Any]) -> None:
    for volume in template["spec"]["volumes"]:
        if volume["name"] == "mps-daemon":
            volume["configMap"]["name"] = f"{MPS}-scripts-HASH"
    if name.startswith(MPS):
        template["metadata"]["annotations"][CHECKSUM_ANNOTATION] = "its hash"


RELEASED: dict[str, str] = json.loads((ROOT / "tests" / "fixtures" / "released_manifests.json").read_text())
"""Stack file -> SHA-256 of what the last release rendered of it, without what is left out here as well."""


@pytest.mark.parametrize(
    "path", [each for each in [*SHIPPED, *VALID] if each.stem in RELEASED], ids=lambda each: each.stem
)
def test_the_objects_are_byte_for_byte_those_of_the_last_release(path: Path) -> None:
    """But for the scripts, the alerts and the dashboard, and for the ConfigMaps that pods read once.

    These have a hash in their names now, and nobody can change them.
    """
    text = yaml_text(
        *_without_scripts_alerts_and_dashboard(desired_state(read_config("fixture", config_of(path))).manifests)
    )
    for name, digest in re.findall("name: (.*)-([0-9a-f]{10})\n", text):
        text = text.replace(f"name: {name}-{digest}\n", f"name: {name}\n")
    text = text.replace("\nimmutable: true\n", "\n")
    assert hashlib.sha256(text.encode()).hexdigest() == RELEASED[path.stem]


def test_the_last_release_is_known_by_all_its_stack_files() -> None:
    assert len(RELEASED) == 28


def _without_scripts_alerts_and_dashboard(documents: Iterable[Manifest]) -> list[Manifest]:
    kept = [
        copy.deepcopy(each)
        for each in documents
        if each["kind"] != "PrometheusRule" and not each["metadata"]["name"].startswith(SCRIPTS[1])
    ]
    for each in kept:
        if each["kind"] == "ConfigMap":
            each["data"] = {name: text for name, text in each["data"].items() if not name.endswith((".sh", ".json"))}
        if each["metadata"]["name"] == "nvidia-power-limit":
            del each["spec"]["template"]["metadata"]["annotations"][CHECKSUM_ANNOTATION]
            _remove(each["spec"]["template"]["spec"]["containers"][0]["env"], "POWER_LIMIT_KEPT_ON")
        if each["kind"] == "DaemonSet" and each["metadata"]["name"].startswith("nvidia-device-plugin"):
            pod = each["spec"]["template"]["spec"]
            assert pod["containers"][0].pop("command") == ["/busybox/sh", "/supervisor/supervisor.sh"]
            for listed in (pod["containers"][0]["volumeMounts"], pod["volumes"]):
                _remove(listed, "supervisor", "state")
    return kept


def _remove(listed: list[dict[str, Any]], *names: str) -> None:
    listed[:] = [each for each in listed if each["name"] not in names]


@pytest.mark.parametrize("stack", ["homelab", "lab"])
def test_these_are_the_objects_of_a_shipped_stack(stack: str, snapshot: SnapshotAssertion) -> None:
    documents = _without_long_texts(manifests(read_stack(stack)))
    assert documents == snapshot(extension_class=YamlSnapshot)


def test_these_are_the_objects_of_monitoring(snapshot: SnapshotAssertion) -> None:
    (path,) = (path for path in VALID if path.stem == "alerts-and-dashboard")
    namespace, *_, rule, dashboard = _without_long_texts(manifests(read_config("fixture", config_of(path))))
    assert namespace["metadata"]["name"] == rule["metadata"]["namespace"]
    assert [rule, dashboard] == snapshot(extension_class=YamlSnapshot)


def test_these_are_the_objects_of_mps(snapshot: SnapshotAssertion) -> None:
    """Of GPUs that are shared in two ways, beside whole ones."""
    (path,) = (path for path in VALID if path.stem == "mps-with-limits-of-its-own")
    documents = _without_long_texts(manifests(read_config("fixture", config_of(path))))
    named = {MPS, "nvidia-device-plugin"}
    wanted = [each for each in documents if each["metadata"].get("labels", {}).get("app.kubernetes.io/name") in named]
    assert [each for each in wanted if each["metadata"]["labels"]["app.kubernetes.io/instance"] != "gpu-4"] == snapshot(
        extension_class=YamlSnapshot
    )


@pytest.mark.parametrize("version", kubernetes_schema.VERSIONS)
def test_the_api_server_understands_every_field_of_mps(version: str) -> None:
    wrong = [kubernetes_schema.unknown_or_wrong(each, version) for each in manifests(settings(sharing="mps"))]
    assert [each for each in wrong if each] == []


@pytest.mark.parametrize("version", kubernetes_schema.VERSIONS)
@each_shipped
def test_the_api_server_understands_every_field(stack: str, version: str) -> None:
    mistakes = {
        identity(manifest): kubernetes_schema.unknown_or_wrong(manifest, version)
        for manifest in manifests(read_stack(stack))
    }
    assert set(mistakes.values()) == {None}


def test_a_field_that_does_not_exist_would_be_found() -> None:
    (*_, daemon_set) = manifests(settings())
    daemon_set["spec"]["template"]["spec"]["runtimeClass"] = "nvidia"
    assert "'runtimeClass' was unexpected" in str(kubernetes_schema.unknown_or_wrong(daemon_set, "1.36"))


@each_valid
def test_no_two_objects_of_a_stack_are_the_same(path: Path) -> None:
    found = [identity(manifest) for manifest in manifests(read_config("fixture", config_of(path)))]
    assert len(set(found)) == len(found)


def test_an_object_stands_after_what_it_needs() -> None:
    """The namespace before what is in it, the power limit before the plugin that hands the GPUs out."""
    found = [identity(manifest) for manifest in manifests(settings(namespace="gpus"))]
    assert [(kind, namespace, without_hash(name)) for kind, namespace, name in found] == [
        ("Namespace", None, "gpus"),
        ("RuntimeClass", None, "nvidia"),
        ("ConfigMap", "gpus", "nvidia-power-limit-agent"),
        ("DaemonSet", "gpus", "nvidia-power-limit"),
        ("ConfigMap", "gpus", "nvidia-device-plugin-supervisor"),
        ("ConfigMap", "gpus", "nvidia-device-plugin-config"),
        ("DaemonSet", "gpus", "nvidia-device-plugin"),
    ]


def test_without_power_management_nothing_of_it_is_left() -> None:
    names = [without_hash(name) for _, _, name in map(identity, manifests(settings(powerManagement=False)))]
    plugin = ["nvidia-device-plugin-supervisor", "nvidia-device-plugin-config", "nvidia-device-plugin"]
    assert names == ["gpu-device-plugin", "nvidia", *plugin]


def test_the_namespace_admits_the_pods_on_talos() -> None:
    """Talos enforces `baseline`, which forbids host folders and capabilities: the DaemonSets would get no pods."""
    labels = manifests(settings())[0]["metadata"]["labels"]
    assert {mode: labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {
        "enforce": "privileged",
        "warn": "privileged",
        "audit": "privileged",
    }


def test_a_part_has_the_outputs_by_which_its_component_is_known() -> None:
    """They stand in the records of deployed stacks, where others read them."""
    parts = desired_state(settings(namespace="gpus")).parts
    said = {part.name: dict(part.outputs) for part in parts if part.name != "talos-patches"}
    assert {name: outputs for name, outputs in said.items() if outputs} == {
        "namespace": {"name": "gpus"},
        "runtime-class": {"name": "nvidia"},
        "time-slicing": {"hashes": {"default": "d68ff3446536c414e97959bf9fbd8efa6c299be2b165785e9b03e315e92e5c04"}},
        "device-plugin": {"image": "nvcr.io/nvidia/k8s-device-plugin:v0.18.2"},
    }
