"""What else sets up GPUs, and what forbids the stack's own pods."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from gpuctl.checks import competitors
from gpuctl.checks.model import Check, Outcome, Result, Subject
from tests.fixtures.checks import context_of, results_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.knowledge import unnoticed

PLUGIN_IMAGE = "nvcr.io/nvidia/k8s-device-plugin:v0.17.4"
FORBIDDEN = 'pods "nvidia-device-plugin-" is forbidden: violates PodSecurity "baseline:latest": hostPath volumes'


def cluster() -> FakeCluster:
    return healthy(settings_of())


def only(check: Check, fake: FakeCluster, **config: object) -> Result:
    (found,) = results_of(check, context_of(fake, settings_of(**config)))
    return found


def foreign(fake: FakeCluster, name: str, image: str, node: str = "gpu-1", container: str = "main") -> dict[str, Any]:
    """A pod of somebody else."""
    pod = fake.add_pod(name, node, "elsewhere")
    pod["spec"]["containers"] = [{"name": container, "image": image}]
    return pod


def event(fake: FakeCluster, name: str, message: str, time: str, kind: str = "DaemonSet") -> None:
    """An event about a pod that could not be made."""
    manifest = {
        "kind": "Event",
        "metadata": {"name": f"{name}.{time}", "namespace": "gpu-device-plugin"},
        "reason": "FailedCreate",
        "message": message,
        "lastTimestamp": time,
        "involvedObject": {"kind": kind, "name": name},
    }
    fake.add(manifest)


@pytest.mark.parametrize("check", competitors.CHECKS, ids=lambda check: check.id)
def test_a_healthy_cluster_passes(check: Check) -> None:
    assert only(check, cluster()).outcome is Outcome.PASS


PLUGINS = {
    PLUGIN_IMAGE: "another NVIDIA device plugin",
    "registry.local:5000/k8s-device-plugin@sha256:1234": "another NVIDIA device plugin",
    "gke.gcr.io/nvidia-gpu-device-plugin@sha256:1234": "Google's device plugin",
    "projecthami/hami:v2.10.0": "the device plugin of HAMi",
    "4pdosc/vgpu-device-plugin:1.4": "the device plugin of HAMi",
    "registry.k8s.io/dra-driver-nvidia/dra-driver-nvidia-gpu:v0.4.1": "NVIDIA's DRA driver",
    "nvcr.io/nvidia/k8s-dra-driver-gpu:v25.8.0": "NVIDIA's DRA driver",
}
SETUPS = {
    "nvcr.io/nvidia/gpu-operator:v26.7.0": "NVIDIA's GPU Operator",
    "nvcr.io/nvidia/gpu-feature-discovery:v0.17.0": "GPU Feature Discovery",
    "nvcr.io/nvidia/k8s/container-toolkit:v1.19.1": "the GPU Operator's container toolkit",
    "nvcr.io/nvidia/cloud-native/k8s-mig-manager:v0.12.0": "NVIDIA's MIG manager",
    "nvcr.io/nvidia/driver:580.95.05-ubuntu24.04": "the GPU Operator's driver",
}


def _is_a_plugin(image: str) -> None:
    fake = cluster()
    foreign(fake, "any-name", image)
    found = only(competitors.no_other_device_plugin, fake)
    assert (found.outcome, found.fact) == (Outcome.FAIL, f"{PLUGINS[image]} runs on gpu-1: elsewhere/any-name")
    assert found.subject == "namespace/elsewhere"


def _is_a_setup(image: str) -> None:
    fake = cluster()
    foreign(fake, "any-name", image, "cp-1")
    found = only(competitors.no_other_setup, fake)
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        f"{SETUPS[image]} is in the cluster: elsewhere/any-name",
    )


@pytest.mark.parametrize("image", PLUGINS)
def test_another_device_plugin_is_known_by_its_image(image: str) -> None:
    _is_a_plugin(image)


@pytest.mark.parametrize("image", SETUPS)
def test_what_else_sets_up_gpus_is_known_by_its_image(image: str) -> None:
    _is_a_setup(image)


@pytest.mark.parametrize(
    ("name", "images", "judge"), [("PLUGINS", PLUGINS, _is_a_plugin), ("SETUPS", SETUPS, _is_a_setup)]
)
def test_no_image_can_be_forgotten(name: str, images: dict[str, str], judge: Callable[[str], None]) -> None:
    table: dict[str, str] = getattr(competitors, name)
    image_of = {pattern: next(each for each in images if re.search(pattern, f"/{each}")) for pattern in table}
    cases = {pattern: lambda image=image: judge(image) for pattern, image in image_of.items()}
    assert unnoticed(table, cases) == []


def test_a_device_plugin_on_nodes_of_others_is_none_of_ours() -> None:
    fake = cluster()
    foreign(fake, "plugin", PLUGIN_IMAGE, "cp-1")
    assert only(competitors.no_other_device_plugin, fake).outcome is Outcome.PASS


def test_a_second_stack_of_this_project_is_another_device_plugin() -> None:
    fake = cluster()
    second = healthy(settings_of(namespace="second"))
    fake.pod_objects["theirs"] = second.pod_objects["nvidia-device-plugin-gpu-1"]
    assert only(competitors.no_other_device_plugin, fake).subject == "namespace/second"


def test_an_unlabelled_plugin_in_the_stacks_own_namespace_is_another_one() -> None:
    fake = cluster()
    foreign(fake, "plugin", PLUGIN_IMAGE)["metadata"]["namespace"] = "gpu-device-plugin"
    assert only(competitors.no_other_device_plugin, fake).outcome is Outcome.FAIL


def test_feature_discovery_in_the_plugins_image_is_no_plugin() -> None:
    fake = cluster()
    foreign(fake, "gfd", PLUGIN_IMAGE, container="gpu-feature-discovery")
    assert only(competitors.no_other_device_plugin, fake).outcome is Outcome.PASS
    assert only(competitors.no_other_setup, fake).fact == ("GPU Feature Discovery is in the cluster: elsewhere/gfd")


@pytest.mark.parametrize("container", ["gpu-feature-discovery", "mps-control-daemon-ctr", "config-manager"])
def test_a_container_with_another_duty_in_the_plugins_image_is_no_plugin(container: str) -> None:
    """NVIDIA's Helm chart runs them from one image."""
    fake = cluster()
    foreign(fake, "helper", PLUGIN_IMAGE, container=container)
    assert only(competitors.no_other_device_plugin, fake).outcome is Outcome.PASS


def test_a_gpu_operator_is_named_wherever_it_runs() -> None:
    fake = cluster()
    foreign(fake, "gpu-operator-1", "nvcr.io/nvidia/gpu-operator:v26.7.0", "cp-1")
    found = only(competitors.no_other_setup, fake)
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "NVIDIA's GPU Operator is in the cluster: elsewhere/gpu-operator-1",
    )


def test_a_gpu_operator_is_accepted_where_it_has_nodes_of_its_own() -> None:
    fake = cluster()
    foreign(fake, "gpu-operator-1", "nvcr.io/nvidia/gpu-operator:v26.7.0", "cp-1")
    foreign(fake, "gfd-1", "nvcr.io/nvidia/gpu-feature-discovery:v0.17.0", "gpu-3")
    assert only(competitors.no_other_setup, fake, otherGpuNodes=["gpu-3"]).outcome is Outcome.PASS
    foreign(fake, "gfd-2", "nvcr.io/nvidia/gpu-feature-discovery:v0.17.0", "gpu-2")
    found = only(competitors.no_other_setup, fake, otherGpuNodes=["gpu-3"])
    assert found.fact == "GPU Feature Discovery is in the cluster: elsewhere/gfd-2"


def test_another_power_agent_is_known_by_name_image_or_annotation() -> None:
    for name, image, annotations in (
        ("nvidia-power-limit-x", "busybox", {}),
        ("x", "ghcr.io/jacklul/nvidia_oc:1", {}),
        ("x", "busybox", {"dynamo.nvidia.com/gpu-power-limit": "200"}),
    ):
        fake = cluster()
        foreign(fake, name, image)["metadata"]["annotations"] = annotations
        found = only(competitors.no_other_power_agent, fake)
        assert (found.outcome, found.fact) == (
            Outcome.FAIL,
            f"what looks like another power-limit agent runs on gpu-1: elsewhere/{name}",
        )


def test_power_agents_of_others_are_welcome_where_the_stack_sets_no_limits() -> None:
    fake = healthy(settings_of(powerManagement=False))
    foreign(fake, "nvidia-power-limit-x", "busybox")
    assert only(competitors.no_other_power_agent, fake, powerManagement=False).outcome is Outcome.PASS


def test_pods_that_pod_security_forbids_are_told_by_the_last_event() -> None:
    fake = cluster()
    del fake.pod_objects["nvidia-device-plugin-gpu-1"]
    event(fake, "nvidia-device-plugin", FORBIDDEN, "2026-01-01T00:00:02Z")
    event(fake, "nvidia-device-plugin", "an older reason", "2026-01-01T00:00:01Z")
    event(fake, "a-job", "another kind", "2026-01-01T00:00:03Z", "Job")
    found = only(competitors.own_pods_are_allowed, fake)
    assert found == Result(
        Outcome.FAIL,
        f"daemonset/nvidia-device-plugin gets no pods: {FORBIDDEN}",
        Subject(kind="daemonset", name="nvidia-device-plugin", component="nvidia-device-plugin"),
        "pulumi up --refresh --stack lab",
        "namespace gpu-device-plugin does not allow privileged pods",
    )


def test_another_refusal_of_the_api_server_is_told_in_its_words() -> None:
    fake = cluster()
    del fake.pod_objects["nvidia-power-limit-gpu-1"]
    event(fake, "nvidia-power-limit", "exceeded quota: pods", "2026-01-01T00:00:02Z")
    found = only(competitors.own_pods_are_allowed, fake)
    assert (found.fact, found.cause) == ("daemonset/nvidia-power-limit gets no pods: exceeded quota: pods", "")
    assert found.remedy == ("kubectl --context admin@lab describe daemonset -n gpu-device-plugin nvidia-power-limit")


def test_events_of_former_days_are_not_held_against_pods_that_are_there() -> None:
    fake = cluster()
    event(fake, "nvidia-device-plugin", FORBIDDEN, "2026-01-01T00:00:02Z")
    assert only(competitors.own_pods_are_allowed, fake).outcome is Outcome.PASS
