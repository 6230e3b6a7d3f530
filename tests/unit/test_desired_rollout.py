"""What a changed setting changes in the cluster: as few pods as it can."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given

from gpuctl.desired.desired import desired_state
from gpuctl.desired.names import Manifest
from gpuctl.settings import Settings
from tests.fixtures.manifests import manifests
from tests.fixtures.names import without_hash
from tests.fixtures.stack_files import settings
from tests.fixtures.strategies import clusters

TEMPLATE = "spec.template"
CHECKSUM = f"{TEMPLATE}.metadata.annotations.checksum/config"
ENVIRONMENT = f"{TEMPLATE}.spec.containers.0.env"


@given(clusters())
def test_a_selector_is_the_objects_name_and_its_profile_and_nothing_that_changes(cluster: Settings) -> None:
    """Kubernetes refuses to change one, and Pulumi would replace the DaemonSet: no pods in between."""
    for manifest in manifests(cluster):
        if manifest["kind"] != "DaemonSet":
            continue
        labels, spec = manifest["metadata"]["labels"], manifest["spec"]
        plain, profile = labels["app.kubernetes.io/name"], labels["app.kubernetes.io/instance"]
        selected = {"app.kubernetes.io/name": plain, "app.kubernetes.io/instance": profile}
        assert spec["selector"] == {"matchLabels": selected}
        assert selected.items() <= spec["template"]["metadata"]["labels"].items()
        assert manifest["metadata"]["name"] == (plain if profile == "default" else f"{plain}-{profile}")


@given(clusters(powerManagement=True))
def test_a_plugin_is_on_the_nodes_of_its_profile_and_the_power_limit_on_all(cluster: Settings) -> None:
    for (kind, _), manifest in _by_name(cluster).items():
        if kind != "DaemonSet":
            continue
        labels, pod = manifest["metadata"]["labels"], manifest["spec"]["template"]["spec"]
        if labels["app.kubernetes.io/name"] == "nvidia-power-limit":
            (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
                "nodeSelectorTerms"
            ]
            assert term == {"matchExpressions": [{"key": "nvidia.com/device-plugin.config", "operator": "Exists"}]}
            assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        else:
            profile = labels["app.kubernetes.io/instance"]
            assert "affinity" not in pod
            assert pod["nodeSelector"] == {
                "nvidia.com/gpu.present": "true",
                "nvidia.com/device-plugin.config": profile,
            }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"slices": 8},
            {
                ("nvidia-device-plugin-config", "data.config.yaml"),
                ("nvidia-device-plugin-config", "metadata.name"),
                ("nvidia-device-plugin", CHECKSUM),
                ("nvidia-device-plugin", f"{TEMPLATE}.spec.volumes.0.configMap.name"),
            },
        ),
        ({"powerLimit": 250}, {("nvidia-power-limit", f"{ENVIRONMENT}.3.value")}),
        ({"powerInterval": 30}, {("nvidia-power-limit", f"{ENVIRONMENT}.4.value")}),
        (
            {"powerLimits": {"rtx-3090": 250}},
            {("nvidia-power-limit", f"{ENVIRONMENT}.7.{key}") for key in ("name", "value")},
        ),
        (
            {"devicePluginVersion": "v0.17.4"},
            {(name, f"{TEMPLATE}.spec.containers.0.image") for name in ("nvidia-device-plugin", "nvidia-power-limit")},
        ),
        ({"labelNodes": False, "talosVersion": "v1.12.4", "driverChannel": "lts"}, set[tuple[str, str]]()),
    ],
    ids=["slices", "powerLimit", "powerInterval", "powerLimits", "devicePluginVersion", "what only Talos reads"],
)
def test_a_changed_setting_changes_this_and_nothing_else(change: Any, expected: set[tuple[str, str]]) -> None:
    """Of all objects; so that a change takes away as few GPUs as it can."""
    before, after = _by_name(settings()), _by_name(settings(**change))
    assert before.keys() == after.keys()
    assert {
        (name, path) for kind, name in before for path in _changes(before[kind, name], after[kind, name])
    } == expected


def _by_name(cluster: Settings) -> dict[tuple[str, str], Manifest]:
    """By the names under which Pulumi knows them."""
    return {
        (manifest["kind"], name): manifest
        for part in desired_state(cluster).parts
        if not part.is_patch
        for name, manifest in part.objects.items()
    }


def _changes(before: Manifest, after: Manifest) -> set[str]:
    """The paths at which two manifests differ."""
    return {path for path, _ in set(_leaves(before)) ^ set(_leaves(after))}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            parts = list(cast(dict[str, Any], value).items())
        case list():
            parts = [(str(index), part) for index, part in enumerate(cast(list[Any], value))]
        case _:
            yield path.removeprefix("."), value
            return
    for step, part in parts:
        yield from _leaves(part, f"{path}.{step}")


def test_other_slices_on_one_node_leave_the_other_nodes_alone() -> None:
    nodes: list[dict[str, Any]] = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
        {"name": "gpu-2", "gpu": "rtx-3090", "count": 2, "slices": 6},
    ]
    before = _by_name(settings(nodes=nodes))
    after = _by_name(settings(nodes=[nodes[0], nodes[1] | {"slices": 8}]))
    assert before.keys() == after.keys()
    assert {name for kind, name in before if before[kind, name] != after[kind, name]} == {
        "nvidia-device-plugin-config-gpu-2",
        "nvidia-device-plugin-gpu-2",
    }


def test_what_a_pod_reads_once_has_another_name_when_it_says_something_else() -> None:
    """A kubelet that has the former content in its cache would give it to the new pod, which never reads again."""
    names = {slices: _by_name(settings(slices=slices))["ConfigMap", "nvidia-device-plugin-config"] for slices in (4, 6)}
    assert [each["metadata"]["name"] for each in names.values()] == [
        "nvidia-device-plugin-config-1f2c6bdd0d",
        "nvidia-device-plugin-config-5c01c1c664",
    ]
    agent = _by_name(settings())["ConfigMap", "nvidia-power-limit-agent"]
    assert without_hash(agent["metadata"]["name"]) == "nvidia-power-limit-agent"
    assert all(each["immutable"] for each in (*names.values(), agent)), "nobody can change what a pod has read"
