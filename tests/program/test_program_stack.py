"""The Pulumi program declares the desired state: all of it, nothing else, in the order in which it must come."""

from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes
import pytest

from components.stack import GpuStack
from gpuctl.desired.desired import desired_state
from gpuctl.settings import Settings, read_config, read_stack
from tests.fixtures.pulumi_program import Deployment, deploy
from tests.fixtures.stack_files import SHIPPED, VALID, config_of, settings

NODES: list[dict[str, Any]] = [
    {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
    {"name": "gpu-2", "gpu": "l4", "count": 4, "slices": 2, "powerLimit": 72},
]


def _declare(cluster: Settings) -> Deployment:
    def program() -> None:
        provider = pulumi_kubernetes.Provider("cluster", context=cluster.context)
        GpuStack("gpu", desired_state(cluster), pulumi.ResourceOptions(providers=[provider]))

    return deploy(program)


def _identity(manifest: dict[str, Any]) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _taken_back(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the annotation that lets the provider overwrite what others changed in it."""
    annotations = {"annotations": {"pulumi.com/patchForce": "true"}}
    return manifest | {"metadata": manifest["metadata"] | annotations}


def _labels_of_nodes(cluster: Settings) -> list[dict[str, Any]]:
    return [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": node.labels}}
        for node in desired_state(cluster).nodes.values()
    ]


@pytest.mark.parametrize("path", [*SHIPPED, *VALID], ids=lambda path: path.stem)
def test_exactly_the_desired_objects_and_labels_are_declared(path: Path) -> None:
    cluster = read_config("fixture", config_of(path))
    expected = [_taken_back(manifest) for manifest in desired_state(cluster).manifests]
    expected += _labels_of_nodes(cluster) if cluster.label_nodes else []
    assert sorted(_declare(cluster).objects(), key=_identity) == sorted(expected, key=_identity)


def test_nothing_but_kubernetes_objects_components_and_the_provider_is_declared() -> None:
    deployment = _declare(read_stack("lab"))
    others = {resource.type for resource in deployment.resources if not resource.is_kubernetes}
    components = ("Namespace", "RuntimeClass", "NodeLabels", "PowerLimit", "TimeSlicing", "DevicePlugin")
    assert others == {
        "pulumi:providers:kubernetes",
        *(f"gpu:index:{name}" for name in ("GpuStack", "TalosPatches", *components)),
    }


def test_every_object_belongs_to_the_component_that_is_about_it() -> None:
    """The parents are part of an object's identity: another one would replace it."""
    deployment = _declare(settings(nodes=NODES))
    parents = {(each.inputs["kind"], each.name): each.parent for each in deployment.resources if each.is_kubernetes}
    assert parents == {
        ("Namespace", "gpu-device-plugin"): "namespace",
        ("RuntimeClass", "nvidia"): "runtime-class",
        ("Node", "gpu-1"): "node-labels",
        ("Node", "gpu-2"): "node-labels",
        ("ConfigMap", "nvidia-power-limit-agent"): "power-limit",
        ("DaemonSet", "nvidia-power-limit"): "power-limit",
        ("ConfigMap", "nvidia-device-plugin-config"): "time-slicing",
        ("ConfigMap", "nvidia-device-plugin-config-gpu-2"): "time-slicing",
        ("DaemonSet", "nvidia-device-plugin"): "device-plugin",
        ("DaemonSet", "nvidia-device-plugin-gpu-2"): "device-plugin",
    }
    components = {each.name: each.parent for each in deployment.resources if each.type.startswith("gpu:")}
    assert set(components) - {"gpu"} == {name for name, parent in components.items() if parent == "gpu"}


def test_every_object_inherits_the_provider_that_the_stack_is_given() -> None:
    deployment = _declare(settings(nodes=NODES))
    assert {each.provider for each in deployment.resources if each.is_kubernetes} == {"cluster"}


def test_a_stack_that_labels_no_nodes_declares_no_labels() -> None:
    deployment = _declare(settings(labelNodes=False))
    assert {"NodePatch", "NodeLabels"}.isdisjoint(each.type.rpartition(":")[2] for each in deployment.resources)


def test_a_stack_without_power_management_declares_nothing_of_it() -> None:
    deployment = _declare(settings(powerManagement=False))
    assert [each.name for each in deployment.resources if "power-limit" in each.name] == []


def test_alerts_and_dashboard_are_there_before_anything_that_can_go_wrong() -> None:
    """They need the namespace only, and wait neither for the power limit nor for the plugin."""
    deployment = _declare(settings(monitoring=True))
    names = {"gpu-sharing": "PrometheusRule", "gpu-sharing-dashboard": "ConfigMap"}
    for name, kind in names.items():
        resource = deployment.named(name)
        assert (resource.inputs["kind"], resource.parent) == (kind, "monitoring")
        assert "gpu-device-plugin" in resource.after
        assert not resource.after & {"nvidia-power-limit", "nvidia-device-plugin"}


def test_without_monitoring_nothing_of_it_is_declared() -> None:
    kinds = {each.type.rpartition(":")[2] for each in _declare(settings()).resources}
    assert kinds.isdisjoint({"PrometheusRule", "Monitoring"})


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        ("nvidia-power-limit", {"nvidia-power-limit-agent", "gpu-device-plugin", "nvidia", "gpu-1"}),
        ("nvidia-device-plugin-config", {"gpu-device-plugin", "nvidia-power-limit"}),
        ("nvidia-device-plugin", {"nvidia-power-limit", "nvidia-device-plugin-config", "nvidia", "gpu-1"}),
    ],
)
def test_an_object_waits_for_what_it_needs(later: str, earlier: set[str]) -> None:
    """No pod gets a GPU whose limit is not set: the plugin comes after the power limit."""
    assert earlier <= _declare(settings()).named(later).after
