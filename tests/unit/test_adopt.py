"""`gpuctl adopt`: what becomes of a cluster that shares its GPUs already, by the way in which it does."""

from typing import Any

import pytest

from gpuctl.adopt.adoption import Adoption, NoSuchStackError, adoption, may_take_over, take_over
from gpuctl.adopt.keepers import keeper_of
from gpuctl.desired.desired import desired_state
from gpuctl.preflight.refusals import refusals, see
from tests.fixtures import starts
from tests.fixtures.checks import settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.starts import add_daemon_pod, chart, kustomization, of_another_stack, operands, running, written

OWN = "gpu/lab"
KUBECTL = "kubectl --context admin@lab"
RUNTIME_CLASS, NAMESPACE = "RuntimeClass nvidia", "Namespace gpu-device-plugin"


def _adoption(fake: FakeCluster, from_stack: str = "", **config: object) -> Adoption:
    return adoption(desired_state(settings_of(**config)), OWN, fake, from_stack)


def _fates(found: Adoption) -> dict[str, str]:
    return {each.title: each.fate.value for each in found.items}


def _commands(found: Adoption) -> list[str]:
    return [step.command or step.what for step in found.steps]


def _refusals(fake: FakeCluster, **config: object) -> list[str]:
    return refusals(desired_state(settings_of(**config)), OWN, see(fake))


def test_a_cluster_without_anything_needs_nothing() -> None:
    found = _adoption(running())
    assert (found.items, found.obstacles, found.steps) == ((), (), [])


def test_a_runtime_class_by_hand_is_taken_over_and_then_pulumi_up_is_not_refused() -> None:
    fake = running(written([starts.RUNTIME_CLASS]))
    assert len(_refusals(fake)) == 1
    found = _adoption(fake)
    assert _fates(found) == {RUNTIME_CLASS: "taken over"}
    assert found.steps == []
    take_over(fake, found.marked, OWN)
    (made,) = fake.list("RuntimeClass")
    assert made["handler"] == "nvidia"
    assert made["metadata"]["labels"] == {"app.kubernetes.io/part-of": "gpu-sharing"}
    assert made["metadata"]["annotations"] == {"gpu-sharing/stack": "gpu/lab"}
    assert _refusals(fake) == []
    assert _fates(_adoption(fake)) == {RUNTIME_CLASS: "the stack's"}


def test_of_a_kustomization_the_plugin_goes_and_its_namespace_is_taken_over() -> None:
    found = _adoption(running(written(kustomization())))
    assert _fates(found) == {
        RUNTIME_CLASS: "taken over",
        NAMESPACE: "taken over",
        "DaemonSet gpu-device-plugin/nvidia-device-plugin": "must go",
    }
    assert _commands(found) == [
        f"{KUBECTL} delete -n gpu-device-plugin daemonset nvidia-device-plugin --cascade=foreground",
        f"{KUBECTL} delete configmap -n gpu-device-plugin time-slicing-config --ignore-not-found",
    ]
    assert found.nodes[0].pods == ("team/trainer",)
    assert (found.nodes[0].offers, found.nodes[0].wanted) == ({"nvidia.com/gpu": 8}, {"nvidia.com/gpu": 8})


def test_a_namespace_that_holds_something_of_value_is_left() -> None:
    fake = running(written(kustomization()))
    fake.add_pod("notebook", "gpu-1", "gpu-device-plugin")
    fake.add({"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": "gpu-device-plugin"}})
    fake.add({"kind": "ConfigMap", "metadata": {"name": "of-value", "namespace": "gpu-device-plugin"}})
    found = _adoption(fake)
    left = next(each for each in found.items if each.title == NAMESPACE)
    assert (left.fate.value, left.why) == (
        "left",
        "it holds pod notebook, ConfigMap of-value, which `pulumi destroy` would delete with it",
    )
    assert _commands(found)[0] == "pulumi config set --stack lab gpu:namespace gpu-sharing"


def test_helms_release_is_uninstalled_by_helm_and_waited_for() -> None:
    fake = running([*written(chart()[:2]), *written(chart()[2:], "helm")])
    found = _adoption(fake)
    assert _fates(found) == {
        RUNTIME_CLASS: "taken over",
        "DaemonSet nvidia-device-plugin/nvdp-nvidia-device-plugin": "must go",
    }
    assert _commands(found) == [
        "helm uninstall nvdp -n nvidia-device-plugin --kube-context admin@lab --wait",
        f"{KUBECTL} wait --for=delete -n nvidia-device-plugin pod/nvdp-nvidia-device-plugin-x7k2p --timeout=5m",
    ]


def _operator() -> FakeCluster:
    policy = written([starts.CLUSTER_POLICY], "helm")
    return running([*policy, *written(operands(policy[0]["metadata"]["uid"]), "gpu-operator")])


def test_the_gpu_operator_goes_as_a_whole_and_takes_its_runtime_class_along() -> None:
    found = _adoption(_operator())
    assert _fates(found) == {
        RUNTIME_CLASS: "must go",
        "DaemonSet gpu-operator/nvidia-device-plugin-daemonset": "must go",
    }
    assert {str(each.keeper) for each in found.items} == {"Helm release gpu-operator in gpu-operator"}
    assert _commands(found)[0] == "helm uninstall gpu-operator -n gpu-operator --kube-context admin@lab --wait"
    assert found.marked == []


def test_a_runtime_class_that_goes_must_be_one_that_the_stack_creates() -> None:
    found = _adoption(_operator(), createRuntimeClass=False)
    assert _commands(found)[0] == "pulumi config set --stack lab gpu:createRuntimeClass true"


def test_a_driver_that_would_go_under_running_pods_is_in_the_way() -> None:
    fake = _operator()
    uid = fake.objects["ClusterPolicy", None, "cluster-policy"]["metadata"]["uid"]
    driver = operands(uid)[3]
    driver["metadata"]["name"] = "nvidia-driver-daemonset"
    driver["spec"]["template"]["spec"]["containers"] = [{"name": "driver", "image": "nvcr.io/nvidia/driver:580"}]
    (made,) = written([driver])
    fake.add(made)
    add_daemon_pod(fake, made)
    (obstacle,) = _adoption(fake).obstacles
    assert obstacle.startswith("the GPU Operator's driver runs on gpu-1 and would go with Helm release gpu-operator")


def test_an_operator_that_serves_none_of_the_stacks_nodes_is_left() -> None:
    fake = FakeCluster()
    for name in ("gpu-1", "gpu-2", "gpu-9"):
        fake.add_node(name)
    uid = "uid-ClusterPolicy-cluster-policy"
    for each in (*written([starts.CLUSTER_POLICY], "helm"), *written(operands(uid))):
        fake.add(each)
    operator = fake.add_pod("gpu-operator-5b6c7d8f9-2kq4z", "gpu-9", "gpu-operator")
    operator["spec"]["containers"] = [{"name": "gpu-operator", "image": "nvcr.io/nvidia/gpu-operator:v26.7.0"}]
    fake.objects["Pod", "gpu-operator", operator["metadata"]["name"]] = {"kind": "Pod"} | operator
    found = _adoption(fake)
    assert _fates(found) == {
        RUNTIME_CLASS: "left",
        "Pod gpu-operator/gpu-operator-5b6c7d8f9-2kq4z": "left",
    }
    assert _commands(found) == ["pulumi config set --stack lab gpu:createRuntimeClass false"]


def test_what_serves_nodes_of_others_too_is_kept_off_the_stacks() -> None:
    fake = running(written(kustomization("gpus")))
    fake.add_node("gpu-9")
    add_daemon_pod(fake, kustomization("gpus")[3], "gpu-9", "p4x9q")
    found = _adoption(fake)
    assert _commands(found) == [
        "by its node selector, keep it off gpu-1: it serves gpu-9 too, which the stack does not have",
        f"{KUBECTL} wait --for=delete -n gpus pod/nvidia-device-plugin-x7k2p --timeout=5m",
    ]


def test_the_gpu_operator_for_other_nodes_stays_with_its_runtime_class() -> None:
    fake = _operator()
    fake.add_node("gpu-9")
    add_daemon_pod(fake, operands("")[3], "gpu-9", "p4x9q")
    found = _adoption(fake)
    assert _fates(found)[RUNTIME_CLASS] == "left"
    assert _commands(found)[:2] == [
        "pulumi config set --stack lab gpu:createRuntimeClass false",
        f"{KUBECTL} label nodes gpu-1 nvidia.com/gpu.deploy.operands=false",
    ]


def _older() -> FakeCluster:
    """What a version deployed that did not write down of which stack it is."""
    fake = healthy(settings_of())
    fake.add({"kind": "ConfigMap", "metadata": _of_the_project("nvidia-power-limit-agent")})
    return fake


def _of_the_project(name: str, **metadata: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": "gpu-sharing"}
    return {"name": name, "namespace": "gpu-device-plugin", "labels": labels, **metadata}


def test_pulumi_up_takes_an_older_version_as_it_is_and_what_it_leaves_is_named() -> None:
    fake = _older()
    found = _adoption(fake)
    assert _refusals(fake) == []
    assert found.marked == []
    assert _fates(found) == {
        RUNTIME_CLASS: "the stack's",
        NAMESPACE: "the stack's",
        "ConfigMap gpu-device-plugin/nvidia-power-limit-agent": "left",
    }
    assert _commands(found) == [
        f"{KUBECTL} delete configmap -n gpu-device-plugin nvidia-power-limit-agent --ignore-not-found"
    ]


def test_an_older_version_in_another_namespace_must_go() -> None:
    fake = _older()
    found = _adoption(fake, namespace="gpu-new")
    assert _fates(found)["DaemonSet gpu-device-plugin/nvidia-device-plugin"] == "must go"
    assert _fates(found)["DaemonSet gpu-device-plugin/nvidia-power-limit"] == "must go"
    assert f"{KUBECTL} delete -n gpu-device-plugin daemonset nvidia-power-limit --cascade=foreground" in _commands(
        found
    )


def test_another_stack_is_in_the_way_until_it_is_said_to_be_gone() -> None:
    fake = of_another_stack()
    (obstacle,) = _adoption(fake).obstacles
    assert obstacle.startswith("namespace/gpu-device-plugin, runtimeclass/nvidia, node/gpu-1, node/gpu-2 belong to")
    assert _adoption(fake).marked == []
    found = _adoption(fake, "gpu/old")
    assert found.obstacles == ()
    assert [each.title for each in found.marked] == [RUNTIME_CLASS, NAMESPACE, "Node gpu-1", "Node gpu-2"]
    take_over(fake, found.marked, OWN)
    node = fake.node_objects["gpu-1"]["metadata"]
    assert node["annotations"] == {"gpu-sharing/stack": "gpu/lab"}
    assert node["labels"]["nvidia.com/device-plugin.config"] == "default"


def test_what_a_stack_has_in_another_namespace_is_removed_by_it_or_by_hand_once_it_is_gone() -> None:
    fake = of_another_stack()
    plugin, agent = (
        fake.objects["DaemonSet", "gpu-device-plugin", name] for name in ("nvidia-device-plugin", "nvidia-power-limit")
    )
    plugin["metadata"]["annotations"] = {"gpu-sharing/stack": "gpu/old"}
    assert "gpu-sharing/stack" not in agent["metadata"].get("annotations", {})
    delete = f"{KUBECTL} delete -n gpu-device-plugin daemonset nvidia-"
    theirs = _commands(_adoption(fake, namespace="gpu-new"))
    assert "pulumi destroy --stack old" in theirs
    assert f"{delete}power-limit --cascade=foreground" in theirs
    gone = _commands(_adoption(fake, "gpu/old", namespace="gpu-new"))
    assert gone[:2] == [
        f"{delete}power-limit --cascade=foreground",
        f"{delete}device-plugin --cascade=foreground",
    ]


@pytest.mark.parametrize("name", ["gpu/never", OWN])
def test_a_stack_of_which_nothing_is_there_is_refused(name: str) -> None:
    with pytest.raises(NoSuchStackError, match="gpu/old"):
        _adoption(of_another_stack(), name)


FLUX = {"kustomize.toolkit.fluxcd.io/name": "gpu", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
KEPT: dict[str, dict[str, Any]] = {
    "Flux, Kustomization gpu in flux-system": {"labels": FLUX},
    "Argo CD, application gpu": {"annotations": {"argocd.argoproj.io/tracking-id": "gpu:node.k8s.io/RuntimeClass:/n"}},
    "Helm release rc in kube-system": {
        "annotations": {"meta.helm.sh/release-name": "rc", "meta.helm.sh/release-namespace": "kube-system"}
    },
    "Addon nvidia": {"ownerReferences": [{"kind": "Addon", "name": "nvidia", "uid": "1"}]},
    "field manager talos": {"managedFields": [{"manager": "talos", "operation": "Apply"}]},
    "unknown": {"managedFields": []},
}


@pytest.mark.parametrize("keeper", KEPT)
def test_what_a_tool_keeps_is_used_as_it_is_and_never_touched(keeper: str) -> None:
    (runtime_class,) = written([starts.RUNTIME_CLASS])
    runtime_class["metadata"] |= KEPT[keeper]
    assert str(keeper_of(runtime_class)) == keeper
    found = _adoption(running([runtime_class]))
    assert _fates(found) == {RUNTIME_CLASS: "left"}
    assert _commands(found) == ["pulumi config set --stack lab gpu:createRuntimeClass false"]
    assert _adoption(running([runtime_class]), createRuntimeClass=False).steps == []


def test_a_plugin_that_a_tool_declares_is_removed_there() -> None:
    objects = written(kustomization("gpus"))
    objects[3]["metadata"]["labels"] = FLUX
    found = _adoption(running(objects))
    assert _commands(found)[0] == (
        "remove another NVIDIA device plugin where Flux, Kustomization gpu in flux-system declares it"
    )


def test_a_runtime_class_with_another_handler_must_go() -> None:
    (runtime_class,) = written([starts.RUNTIME_CLASS | {"handler": "runc"}])
    found = _adoption(running([runtime_class]))
    assert _fates(found) == {RUNTIME_CLASS: "must go"}
    assert _commands(found) == [f"{KUBECTL} delete runtimeclass nvidia"]


@pytest.mark.parametrize(
    ("manager", "what"),
    [
        ("kubectl-label", "the stack sets this label"),
        ("nfd-master", "once field manager nfd-master does not set it any more"),
    ],
)
def test_a_label_with_another_value_must_go_first(manager: str, what: str) -> None:
    fake = running()
    label = "nvidia.com/device-plugin.config"
    node = fake.node_objects["gpu-1"]
    node["metadata"]["labels"][label] = "theirs"
    fields: dict[str, Any] = {"f:metadata": {"f:labels": {f"f:{label}": {}}}}
    node["metadata"]["managedFields"] = [{"manager": "kubelet"}, {"manager": manager, "fieldsV1": fields}]
    found = _adoption(fake)
    assert _fates(found) == {"Node gpu-1": "must go"}
    assert [(step.what, step.command) for step in found.steps] == [
        (what, f"{KUBECTL} label node gpu-1 nvidia.com/device-plugin.config-")
    ]


def test_a_power_agent_of_others_must_go_only_where_the_stack_sets_limits() -> None:
    objects = written(kustomization("gpus"))
    objects[3]["metadata"]["name"] = "nvidia-power-limit"
    objects[3]["spec"]["template"]["spec"]["containers"] = [{"name": "main", "image": "debian:13-slim"}]
    assert _fates(_adoption(running(objects)))["DaemonSet gpus/nvidia-power-limit"] == "must go"
    assert "DaemonSet gpus/nvidia-power-limit" not in _fates(_adoption(running(objects), powerManagement=False))


def test_pods_that_ask_for_what_the_stack_does_not_offer_are_named() -> None:
    fake = running()
    fake.node_objects["gpu-1"]["status"]["allocatable"] = {"nvidia.com/gpu.shared": "8"}
    fake.node_objects["gpu-1"]["status"]["capacity"] = {"nvidia.com/gpu.shared": "8"}
    fake.add_pod("notebook", "gpu-1", "team", **{"nvidia.com/gpu.shared": 1})
    node = _adoption(fake).nodes[0]
    assert (node.pods, node.stranded) == (("team/notebook", "team/trainer"), ("team/notebook",))


def test_a_cluster_of_other_nodes_is_not_touched() -> None:
    fake = running(written([starts.RUNTIME_CLASS]))
    del fake.node_objects["gpu-2"]
    (obstacle,) = _adoption(fake).obstacles
    assert obstacle.startswith("context admin@lab has no node gpu-2")


def test_what_the_user_may_not_change_is_known_before_anything_is() -> None:
    fake = running(written(kustomization()))
    fake.forbidden.add("patch Namespace")
    assert may_take_over(fake, _adoption(fake).marked) == ["Namespace"]
    assert "apply" not in fake.calls
