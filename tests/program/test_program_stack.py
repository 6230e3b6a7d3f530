"""The Pulumi program declares the desired state: all of it, nothing else, in the order in which it must come."""

from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes
import pytest

from components.stack import GpuStack
from gpuctl.desired.desired import desired_state
from gpuctl.settings import Settings, read_config, read_stack
from tests.fixtures.names import without_hash
from tests.fixtures.pulumi_program import Deployment, deploy
from tests.fixtures.stack_files import SHIPPED, VALID, config_of, settings

OWN = {"gpu-sharing/stack": "gpu/fixture", "pulumi.com/patchFieldManager": "gpu-sharing"}
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
    """The manifest with the annotations that say whose it is, and let the provider overwrite what others changed."""
    annotations = OWN | {"pulumi.com/patchForce": "true"}
    return manifest | {"metadata": manifest["metadata"] | {"annotations": annotations}}


def _labels_of_nodes(cluster: Settings) -> list[dict[str, Any]]:
    return [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": node.labels, "annotations": OWN}}
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
    components = ("Namespace", "RuntimeClass", "NodeLabels", "PowerLimit", "Supervisor", "TimeSlicing", "DevicePlugin")
    assert others == {
        "pulumi:providers:kubernetes",
        *(f"gpu:index:{name}" for name in ("GpuStack", "TalosPatches", *components)),
    }


IDENTITIES = {
    ("gpu:index:GpuStack", "gpu", "gpu-fixture"),
    ("gpu:index:TalosPatches", "talos-patches", "gpu"),
    ("gpu:index:Namespace", "namespace", "gpu"),
    ("kubernetes:core/v1:Namespace", "gpu-device-plugin", "namespace"),
    ("gpu:index:RuntimeClass", "runtime-class", "gpu"),
    ("kubernetes:node.k8s.io/v1:RuntimeClass", "nvidia", "runtime-class"),
    ("gpu:index:NodeLabels", "node-labels", "gpu"),
    ("kubernetes:core/v1:NodePatch", "gpu-1", "node-labels"),
    ("kubernetes:core/v1:NodePatch", "gpu-2", "node-labels"),
    ("gpu:index:PowerLimit", "power-limit", "gpu"),
    ("kubernetes:core/v1:ConfigMap", "nvidia-power-limit-agent", "power-limit"),
    ("kubernetes:apps/v1:DaemonSet", "nvidia-power-limit", "power-limit"),
    ("gpu:index:Supervisor", "device-plugin-supervisor", "gpu"),
    ("kubernetes:core/v1:ConfigMap", "nvidia-device-plugin-supervisor", "device-plugin-supervisor"),
    ("gpu:index:TimeSlicing", "time-slicing", "gpu"),
    ("kubernetes:core/v1:ConfigMap", "nvidia-device-plugin-config", "time-slicing"),
    ("kubernetes:core/v1:ConfigMap", "nvidia-device-plugin-config-gpu-2", "time-slicing"),
    ("gpu:index:DevicePlugin", "device-plugin", "gpu"),
    ("kubernetes:apps/v1:DaemonSet", "nvidia-device-plugin", "device-plugin"),
    ("kubernetes:apps/v1:DaemonSet", "nvidia-device-plugin-gpu-2", "device-plugin"),
    ("gpu:index:Usage", "usage", "gpu"),
    ("kubernetes:core/v1:ConfigMap", "nvidia-gpu-usage-watcher", "usage"),
    ("kubernetes:apps/v1:DaemonSet", "nvidia-gpu-usage", "usage"),
    ("gpu:index:Monitoring", "monitoring", "gpu"),
    ("kubernetes:networking.k8s.io/v1:NetworkPolicy", "nvidia-gpu-usage-network", "usage"),
    ("kubernetes:monitoring.coreos.com/v1:PrometheusRule", "gpu-sharing", "monitoring"),
    ("kubernetes:core/v1:ConfigMap", "gpu-sharing-dashboard", "monitoring"),
}
"""Type token, name and parent of everything, as in the stacks that are deployed."""


def test_every_resource_is_the_one_that_deployed_stacks_have() -> None:
    """They are its identity: with another type, name or parent Pulumi would replace it."""
    declared = _declare(settings(nodes=NODES, usage=True, monitoring=True)).resources
    found = {(each.type, each.name, each.parent) for each in declared if not each.type.startswith("pulumi:")}
    assert found == IDENTITIES


def test_a_config_map_whose_name_has_a_hash_is_known_by_it() -> None:
    """Else an update that goes back to the content of the last but one, which failed, would delete what it has made."""
    declared = _declare(settings(nodes=NODES, usage=True)).resources
    hashed = {each.name: each.own_name for each in declared if each.own_name != each.name}
    assert {without_hash(own_name): own_name for own_name in hashed.values()} == hashed
    assert hashed.keys() == {
        "nvidia-device-plugin-config",
        "nvidia-device-plugin-config-gpu-2",
        "nvidia-device-plugin-supervisor",
        "nvidia-gpu-usage-watcher",
        "nvidia-power-limit-agent",
    }
    assert {each.own_name for each in declared if each.name in hashed} == {
        each.inputs["metadata"]["name"] for each in declared if each.name in hashed
    }


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
        ("nvidia-gpu-usage", {"nvidia-gpu-usage-watcher", "gpu-device-plugin", "nvidia", "gpu-1"}),
        ("nvidia-power-limit", {"nvidia-power-limit-agent", "gpu-device-plugin", "nvidia", "gpu-1"}),
        ("nvidia-device-plugin-config", {"gpu-device-plugin", "nvidia-power-limit"}),
        ("nvidia-device-plugin", {"nvidia-power-limit", "nvidia-device-plugin-config", "nvidia", "gpu-1"}),
    ],
)
def test_an_object_waits_for_what_it_needs(later: str, earlier: set[str]) -> None:
    """No pod gets a GPU whose limit is not set: the plugin comes after the power limit."""
    assert earlier <= _declare(settings(usage=True)).named(later).after
