"""GPUs by the DRA driver: the same figures, the same pods, and the least that the driver needs."""

from typing import Any

import pytest

from gpuctl.desired.alerts import alerts
from gpuctl.desired.desired import Desired, desired_state
from gpuctl.desired.dra.claims import claim_templates
from gpuctl.desired.figures import figures
from gpuctl.desired.verify_cronjob import verify_cronjob
from gpuctl.settings import Settings
from tests.fixtures.stack_files import settings

LABEL = "nvidia.com/device-plugin.config"
FIRST, SECOND = ({"name": name, "gpu": "rtx-3090", "count": 2} for name in ("gpu-1", "gpu-2"))
BARE = {"talosVersion": "v1.15.0"}


def _desired(*nodes: dict[str, Any], **keys: Any) -> Desired:
    return desired_state(settings(nodes=list(nodes) or [FIRST, SECOND], **keys))


def _dra(*nodes: dict[str, Any], **keys: Any) -> Desired:
    return _desired(*nodes, backend="dra", **keys)


def _daemon_sets(desired: Desired) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in desired.manifests if each["kind"] == "DaemonSet"}


def _pod(desired: Desired, name: str = "nvidia-dra-driver") -> dict[str, Any]:
    return _daemon_sets(desired)[name]["spec"]["template"]["spec"]


def _container(desired: Desired, name: str = "nvidia-dra-driver") -> dict[str, Any]:
    (container,) = _pod(desired, name)["containers"]
    return container


def _env(desired: Desired, name: str = "nvidia-dra-driver") -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in _container(desired, name)["env"]}


def _the(desired: Desired, kind: str) -> dict[str, Any]:
    (found,) = [each for each in desired.manifests if each["kind"] == kind]
    return found


def test_the_same_stack_file_gives_the_same_figures_with_either_backend() -> None:
    plugin, dra = _desired().outputs, _dra().outputs
    same = ("gpuCapacity", "memoryPerSliceMiB", "powerBudgetWatts", "circuits", "namespace")
    assert {key: dra[key] for key in same} == {key: plugin[key] for key in same}
    assert (dra["gpuCapacity"]["total"], dra["gpuCapacity"]["offers"]["gpu-1"]) == (16, {"nvidia.com/gpu": 8})
    assert dra["backends"] == {"gpu-1": "dra", "gpu-2": "dra"}
    assert "backends" not in plugin


def test_a_stack_by_dra_alone_has_nothing_of_the_device_plugin() -> None:
    kinds = [(each["kind"], each["metadata"]["name"]) for each in _dra().manifests]
    assert kinds[4:] == [
        ("ServiceAccount", "nvidia-dra-driver"),
        ("ClusterRole", "nvidia-dra-driver"),
        ("ClusterRoleBinding", "nvidia-dra-driver"),
        ("ValidatingAdmissionPolicy", "nvidia-dra-driver-own-slices"),
        ("ValidatingAdmissionPolicyBinding", "nvidia-dra-driver-own-slices"),
        ("DeviceClass", "gpu.nvidia.com"),
        ("DaemonSet", "nvidia-dra-driver"),
    ]
    assert kinds[:4] == [
        ("Namespace", "gpu-device-plugin"),
        ("RuntimeClass", "nvidia"),
        ("ConfigMap", kinds[2][1]),
        ("DaemonSet", "nvidia-power-limit"),
    ]


def test_each_node_has_one_backend_and_no_label_that_the_other_one_selects() -> None:
    """Two that offer the same GPU would have it counted twice."""
    desired = _desired(FIRST, SECOND | {"backend": "dra"})
    assert {name: node.labels[LABEL] for name, node in desired.nodes.items()} == {
        "gpu-1": "default",
        "gpu-2": "dra_gpu-2",
    }
    serving = {name: [node.name for node in desired.selected_by(each)] for name, each in _daemon_sets(desired).items()}
    assert serving == {
        "nvidia-power-limit": ["gpu-1", "gpu-2"],
        "nvidia-device-plugin": ["gpu-1"],
        "nvidia-dra-driver-gpu-2": ["gpu-2"],
    }


def test_a_node_that_changes_its_backend_leaves_the_former_daemon_set_at_once() -> None:
    """With the label of its profile alone it would stay with both until the end of the update."""
    other = {"slices": 2, "profile": "twos"}
    before, after = (_desired(FIRST, SECOND | other | {"backend": each}) for each in ("device-plugin", "dra"))
    assert [each.nodes["gpu-2"].labels[LABEL] for each in (before, after)] == ["twos", "dra_twos"]
    assert after.profiles[1].name == before.profiles[1].name == "twos"


def test_slices_are_shares_and_one_slice_is_none() -> None:
    """The API server refuses a device with one share, while the driver is Ready."""
    desired = _dra(FIRST, SECOND | {"slices": 1})
    assert _env(desired)["CONSUMABLE_SHARES"] == "4"
    assert _env(desired)["FEATURE_GATES"] == "ConsumableShares=true,NVMLDeviceHealthCheck=true"
    whole = _env(desired, "nvidia-dra-driver-gpu-2")
    assert "CONSUMABLE_SHARES" not in whole
    assert whole["FEATURE_GATES"] == "NVMLDeviceHealthCheck=true"


def test_a_pod_that_asks_for_nvidia_com_gpu_gets_a_device_of_the_driver() -> None:
    spec = _the(_dra(), "DeviceClass")["spec"]
    assert spec["extendedResourceName"] == "nvidia.com/gpu"
    expression = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'"
    assert spec["selectors"] == [{"cel": {"expression": expression}}]


def test_the_driver_may_read_its_node_and_claims_and_write_slices() -> None:
    rules = _the(_dra(), "ClusterRole")["rules"]
    granted = {(kind, verb) for rule in rules for kind in rule["resources"] for verb in rule["verbs"]}
    assert granted == {
        ("nodes", "get"),
        ("resourceclaims", "get"),
        *(("resourceslices", verb) for verb in ("list", "watch", "create", "update", "delete")),
    }


def test_the_policy_is_bound_to_the_account_that_the_driver_runs_as() -> None:
    """Upstream's names another account, and applies to nobody."""
    desired = _dra(namespace="gpus")
    account = f"system:serviceaccount:gpus:{_pod(desired)['serviceAccountName']}"
    (condition,) = _the(desired, "ValidatingAdmissionPolicy")["spec"]["matchConditions"]
    assert condition["expression"] == f"request.userInfo.username == '{account}'"
    (subject,) = _the(desired, "ClusterRoleBinding")["subjects"]
    assert (subject["namespace"], subject["name"]) == ("gpus", "nvidia-dra-driver")
    binding = _the(desired, "ValidatingAdmissionPolicyBinding")["spec"]
    assert binding == {"policyName": "nvidia-dra-driver-own-slices", "validationActions": ["Deny"]}


def test_behind_the_runtime_class_the_driver_may_do_nothing() -> None:
    pod = _pod(_dra())
    assert (pod["runtimeClassName"], pod["securityContext"]["seccompProfile"]) == ("nvidia", {"type": "RuntimeDefault"})
    assert _container(_dra())["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert _env(_dra())["NVIDIA_VISIBLE_DEVICES"] == "all"


def test_of_the_driver_root_bin_and_lib64_are_seen_and_no_dev_below_it() -> None:
    """A bare `dev` would be taken for the place of the device nodes: every pod waits, and the driver is Ready."""
    desired = _dra(driverRoot="/opt/nvidia")
    mounts = {each["mountPath"]: each for each in _container(desired)["volumeMounts"]}
    below = {path: each["readOnly"] for path, each in mounts.items() if path.startswith("/driver-root")}
    assert below == {"/driver-root/bin": True, "/driver-root/lib64": True}
    folders = {each["name"]: each["hostPath"] for each in _pod(desired)["volumes"]}
    assert folders["driver-bin"] == {"path": "/opt/nvidia/bin"}
    assert folders["driver-lib64"] == {"path": "/opt/nvidia/lib64"}
    assert _env(desired)["NVIDIA_DRIVER_ROOT"] == "/opt/nvidia"


def test_a_change_comes_to_one_node_after_the_other() -> None:
    spec = _daemon_sets(_dra())["nvidia-dra-driver"]["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}


class TestWithoutToolkit:
    """From Talos v1.15 on."""

    def test_no_pod_names_a_runtime_class_and_there_is_none(self) -> None:
        desired = _dra(usage=True, **BARE)
        assert not [each for each in _daemon_sets(desired) if "runtimeClassName" in _pod(desired, each)]
        assert "RuntimeClass" not in {each["kind"] for each in desired.manifests}
        assert sorted(_daemon_sets(desired)) == [
            "nvidia-dra-driver",
            "nvidia-gpu-usage-without-toolkit",
            "nvidia-power-limit-without-toolkit",
        ]

    def test_driver_agent_and_watcher_are_privileged_because_nothing_less_opens_the_device_nodes(self) -> None:
        desired = _dra(usage=True, **BARE)
        contexts = {name: _container(desired, name)["securityContext"] for name in _daemon_sets(desired)}
        privileged = {"privileged": True, "readOnlyRootFilesystem": True}
        assert contexts == {
            "nvidia-dra-driver": privileged,
            "nvidia-power-limit-without-toolkit": privileged,
            "nvidia-gpu-usage-without-toolkit": privileged | {"runAsNonRoot": True, "runAsUser": 59418},
        }

    def test_agent_and_watcher_have_the_nodes_own_nvidia_smi(self) -> None:
        desired = _dra(usage=True, **BARE)
        for name in ("nvidia-power-limit-without-toolkit", "nvidia-gpu-usage-without-toolkit"):
            mounts = {each["mountPath"] for each in _container(desired, name)["volumeMounts"] if each.get("readOnly")}
            assert {"/usr/local/nvidia/bin", "/usr/local/nvidia/lib64"} <= mounts
            assert _env(desired, name)["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64"
            assert "NVIDIA_VISIBLE_DEVICES" not in _env(desired, name)

    def test_each_node_of_a_mixed_cluster_has_one_agent_and_one_driver(self) -> None:
        desired = _dra(FIRST, SECOND | BARE)
        serving = {
            name: [node.name for node in desired.selected_by(each)] for name, each in _daemon_sets(desired).items()
        }
        assert serving == {
            "nvidia-power-limit": ["gpu-1"],
            "nvidia-power-limit-without-toolkit": ["gpu-2"],
            "nvidia-dra-driver": ["gpu-1"],
            "nvidia-dra-driver-gpu-2": ["gpu-2"],
        }
        assert "runtimeClassName" in _pod(desired)
        assert "runtimeClassName" not in _pod(desired, "nvidia-dra-driver-gpu-2")

    def test_kubernetes_is_not_compared_with_a_talos_that_is_not_in_the_table(self) -> None:
        assert settings(backend="dra", kubernetesVersion="v1.38.0", **BARE).talos_version == "v1.15.0"


@pytest.mark.parametrize("kubernetes", ["v1.36.0", "v1.37.2"])
def test_the_first_kubernetes_with_shares_by_default_is_taken(kubernetes: str) -> None:
    assert settings(backend="dra", talosVersion="v1.14.6", kubernetesVersion=kubernetes).backend == "dra"


def test_claims_ask_for_shares_memory_a_model_or_a_uuid() -> None:
    found = claim_templates(settings(backend="dra", slices=6), "team")
    asked = {each["metadata"]["name"]: each["spec"]["spec"]["devices"]["requests"][0]["exactly"] for each in found}
    assert {each["metadata"]["namespace"] for each in found} == {"team"}
    assert {each.pop("deviceClassName") for each in asked.values()} == {"gpu.nvidia.com"}
    model = "device.attributes['gpu.nvidia.com'].productName == \"NVIDIA GeForce RTX 3090\""
    uuid = "device.attributes['gpu.nvidia.com'].uuid == \"GPU-00000000-0000-0000-0000-000000000000\""
    assert asked == {
        "gpu-one-share": {},
        "gpu-2-shares": {"capacity": {"requests": {"shares": "2"}}},
        "gpu-6-shares": {"capacity": {"requests": {"shares": "6"}}},
        "gpu-12gi-of-memory": {"capacity": {"requests": {"memory": "12Gi"}}},
        "gpu-a-rtx-3090": {"selectors": [{"cel": {"expression": model}}]},
        "gpu-by-uuid": {"selectors": [{"cel": {"expression": uuid}}]},
    }


def test_whole_gpus_have_no_shares_to_ask_for() -> None:
    names = [each["metadata"]["name"] for each in claim_templates(settings(backend="dra", slices=1), "team")]
    assert names == ["gpu-one-share", "gpu-a-rtx-3090", "gpu-by-uuid"]


def test_alerts_speak_of_the_driver_where_the_slices_have_no_series() -> None:
    rules = {each.get("alert") or each["record"]: each for each in (*figures(_mixed()), *alerts(_mixed()))}
    assert 'gpu_stack:slices:expected{backend=""}' in rules["GpuCapacityBelowExpected"]["expr"]
    assert rules["gpu_stack:dra_drivers:expected"]["expr"] == "vector(1)"
    assert rules["gpu_stack:dra_drivers:expected"]["labels"]["daemonset"] == "nvidia-dra-driver-gpu-2"
    slices = [each["labels"] for each in figures(_mixed()) if each["record"] == "gpu_stack:slices:expected"]
    assert [each.get("backend") for each in slices] == [None, "dra"]
    plugin = {each["alert"]: each["expr"] for each in alerts(settings())}
    assert "GpuDraDriverNotReady" in rules
    assert "GpuDraDriverNotReady" not in plugin
    assert "backend" not in plugin["GpuCapacityBelowExpected"]


def test_each_daemon_set_of_agents_is_expected_on_its_own_nodes() -> None:
    rules = figures(settings(nodes=[FIRST, SECOND | BARE], backend="dra"))
    agents = [each for each in rules if each["record"] == "gpu_stack:power_limit_agents:expected"]
    assert [(each["labels"]["daemonset"], each["expr"]) for each in agents] == [
        ("nvidia-power-limit", "vector(1)"),
        ("nvidia-power-limit-without-toolkit", "vector(1)"),
    ]


def test_the_cronjob_may_read_slices_claims_and_the_events_of_pods() -> None:
    granted = [rule for each in verify_cronjob(_mixed(), "lab", "x@sha256:0") for rule in each.get("rules", ())]
    assert {
        "apiGroups": ["resource.k8s.io"],
        "resources": ["resourceclaims", "resourceslices"],
        "verbs": ["list"],
    } in granted
    everywhere = verify_cronjob(_mixed(), "lab", "x@sha256:0")[1]["rules"]
    assert {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]} in everywhere


def _mixed() -> Settings:
    return settings(nodes=[FIRST, SECOND | {"backend": "dra"}])
