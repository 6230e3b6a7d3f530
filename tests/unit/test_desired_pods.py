"""The pods may do next to nothing, and are probed where they serve."""

import hashlib
import re
from typing import Any

import pytest

from gpuctl.desired.names import Manifest
from gpuctl.settings import Settings, read_config
from tests.fixtures.manifests import manifests
from tests.fixtures.stack_files import ROOT, VALID, config_of, settings

SOCKETS = "/var/lib/kubelet/device-plugins"
AGENT = ROOT / "gpuctl" / "desired" / "power_limit_agent"

_STACKS = [read_config("fixture", config_of(path)) for path in VALID]
EVERY_POD = [
    pytest.param(manifest["spec"]["template"]["spec"], manifest, id=f"{path.stem}:{manifest['metadata']['name']}")
    for path, stack in zip(VALID, _STACKS, strict=True)
    for manifest in manifests(stack)
    if manifest["kind"] == "DaemonSet"
]
every_pod = pytest.mark.parametrize(("pod", "manifest"), EVERY_POD)


def _container(name: str, **keys: Any) -> dict[str, Any]:
    return _pod(name, **keys)["containers"][0]


def _pod(name: str, **keys: Any) -> dict[str, Any]:
    (daemon_set,) = (each for each in _daemon_sets(settings(**keys)) if each["metadata"]["name"] == name)
    return daemon_set["spec"]["template"]["spec"]


def _daemon_sets(cluster: Settings) -> list[Manifest]:
    return [manifest for manifest in manifests(cluster) if manifest["kind"] == "DaemonSet"]


def test_the_plugin_has_no_privilege_at_all() -> None:
    """It needs uid 0 to write into the kubelet's folder, and no capability."""
    assert _pod("nvidia-device-plugin")["securityContext"] == {
        "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert _container("nvidia-device-plugin")["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_usage_watcher_has_the_nodes_process_ids_and_nothing_else() -> None:
    """The user id is that of no image: /proc shows its owner the memory of a process."""
    pod = _pod("nvidia-gpu-usage", usage=True)
    assert (pod["hostPID"], pod["automountServiceAccountToken"], pod["runtimeClassName"]) == (True, False, "nvidia")
    assert not {"hostNetwork", "hostIPC"} & pod.keys()
    assert [volume.keys() - {"name"} for volume in pod["volumes"]] == [{"configMap"}, {"emptyDir"}]
    container = _container("nvidia-gpu-usage", usage=True, usageInterval=15)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 59418,
    }
    assert container["env"] == [
        {"name": "USAGE_INTERVAL", "value": "15"},
        {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
        {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "utility"},
    ]


def test_nobody_watches_unless_the_stack_file_says_so() -> None:
    assert "nvidia-gpu-usage" not in str(manifests(settings()))


def test_the_power_limit_has_the_one_capability_that_setting_it_takes() -> None:
    """Spelt without CAP_: with it, the API server refuses allowPrivilegeEscalation: false."""
    assert _pod("nvidia-power-limit")["securityContext"] == {
        "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert _container("nvidia-power-limit")["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]},
    }


PLUGINS = ("nvidia-device-plugin", "nvidia-whole-gpu-plugin", "nvidia-mps-control-daemon", "nvidia-dra-driver")
"""With the daemon that a plugin waits for: what runs once on a node, and not beside its successor."""
DRIVER = ["/var/lib/kubelet/plugins_registry", "/var/lib/kubelet/plugins/gpu.nvidia.com", "/var/run/cdi"]


def _name(manifest: Manifest) -> str:
    return manifest["metadata"]["labels"]["app.kubernetes.io/name"]


def _has_toolkit(pod: Any) -> bool:
    return "runtimeClassName" in pod


def _env(pod: Any) -> list[dict[str, str]]:
    return pod["containers"][0]["env"]


@every_pod
def test_no_pod_shares_more_with_its_host_than_a_folder_or_process_ids(pod: Any, manifest: Manifest) -> None:
    host_paths = [volume["hostPath"] for volume in pod["volumes"] if "hostPath" in volume]
    name = _name(manifest)
    if name == "nvidia-dra-driver" or not _has_toolkit(pod):
        of_the_driver = [each["path"].rpartition("/")[2] for each in host_paths if "type" not in each]
        assert of_the_driver == ["bin", "lib64"]
        host_paths = [each for each in host_paths if "type" in each]
    shared = "/var/lib/kubelet/plugins/gpu-power-limit"
    mps = [{"path": path, "type": "DirectoryOrCreate"} for path in ("/var/run/gpu-mps", "/var/run/gpu-mps/shm")]
    if name == "nvidia-device-plugin" and any(each["name"] == "CUDA_MPS_PIPE_DIRECTORY" for each in _env(pod)):
        assert host_paths[1:] == mps
        del host_paths[1:]
    assert (
        host_paths
        == {
            "nvidia-device-plugin": [{"path": SOCKETS, "type": "Directory"}],
            "nvidia-whole-gpu-plugin": [{"path": SOCKETS, "type": "Directory"}],
            "nvidia-power-limit": [{"path": shared, "type": "DirectoryOrCreate"}],
            "nvidia-gpu-usage": [],
            "nvidia-dra-driver": [
                {"path": path, "type": "Directory" if path.endswith("registry") else "DirectoryOrCreate"}
                for path in DRIVER
            ],
            "nvidia-mps-control-daemon": mps,
        }[name]
    )
    entered = {"hostPID", "hostNetwork", "hostIPC", "hostUsers"} & set(pod)
    assert entered == ({"hostPID"} if name == "nvidia-gpu-usage" else set())
    assert ("privileged" in str(pod)) is not _has_toolkit(pod)


@every_pod
def test_no_pod_but_the_dra_driver_gets_a_token_for_the_api_server(pod: Any, manifest: Manifest) -> None:
    """No other asks the API server anything."""
    if _name(manifest) == "nvidia-dra-driver":
        assert pod["serviceAccountName"] == "nvidia-dra-driver"
        assert "automountServiceAccountToken" not in pod
    else:
        assert pod["automountServiceAccountToken"] is False
        assert "serviceAccountName" not in pod, manifest["metadata"]["name"]


@every_pod
def test_every_container_says_what_it_needs_and_what_it_may_take(pod: Any, manifest: Manifest) -> None:
    (container,) = pod["containers"]
    assert "initContainers" not in pod
    assert set(container["resources"]["requests"]) == set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert container["name"] == manifest["metadata"]["labels"]["app.kubernetes.io/name"]


@every_pod
def test_no_pod_uses_up_a_slice(pod: Any, manifest: Manifest) -> None:
    """They see their GPUs through the runtime; a request would hide all but one, and take a slice from the users."""
    assert "nvidia.com" not in str(pod["containers"][0]["resources"])
    visible = [each["value"] for each in pod["containers"][0]["env"] if each["name"] == "NVIDIA_VISIBLE_DEVICES"]
    if not _has_toolkit(pod):
        assert visible == (["void"] if _name(manifest) == "nvidia-dra-driver" else [])
        return
    assert pod["runtimeClassName"] == "nvidia"
    (visible,) = visible
    assert re.fullmatch(r"all|(\d+|GPU-[-0-9a-f]{36})(,(\d+|GPU-[-0-9a-f]{36}))*", visible), manifest["kind"]


@every_pod
def test_a_pod_survives_full_nodes_taints_and_control_planes(pod: Any, manifest: Manifest) -> None:
    assert pod["priorityClassName"] == "system-node-critical"
    assert {toleration["key"] for toleration in pod["tolerations"]} == {
        "nvidia.com/gpu",
        "node-role.kubernetes.io/control-plane",
    }, manifest["metadata"]["name"]


@every_pod
def test_a_bad_configuration_stops_at_the_first_node(pod: Any, manifest: Manifest) -> None:
    """A pod that is available the moment it starts and then exits lets the rollout take every node down.

    Of the power limit the old pod stays until the new one is ready, so that a bad one takes down nothing at all. With a
    surge, minReadySeconds would make the update stand still.
    """
    runs_once = manifest["metadata"]["name"].startswith(PLUGINS)
    assert manifest["spec"].get("minReadySeconds") == (5 if runs_once else None), pod
    assert manifest["spec"]["updateStrategy"]["rollingUpdate"] == (
        {"maxUnavailable": 1} if runs_once else {"maxSurge": "100%", "maxUnavailable": 0}
    )


@pytest.mark.parametrize(
    ("keys", "socket"),
    [
        ({}, "nvidia-gpu.sock"),
        ({"slices": 1}, "nvidia-gpu.sock"),
        ({"renameByDefault": True}, "nvidia-gpu.shared.sock"),
    ],
)
def test_the_plugin_is_probed_at_the_socket_it_serves(keys: dict[str, Any], socket: str) -> None:
    """It has no HTTP port; the socket is called after the resource."""
    container = _container("nvidia-device-plugin", **keys)
    commands = [container[f"{probe}Probe"]["exec"]["command"] for probe in ("startup", "readiness", "liveness")]
    assert commands == [["/busybox/test", "-S", f"{SOCKETS}/{socket}"]] * 3


def test_the_power_limit_is_ready_only_while_the_watts_are_right() -> None:
    """One failed look is enough: `pulumi up` and a rollout wait for the watts, not for a process."""
    container = _container("nvidia-power-limit")
    verbs = {probe: container[f"{probe}Probe"]["exec"]["command"][-1] for probe in ("startup", "readiness", "liveness")}
    assert verbs == {"startup": "alive", "readiness": "ready", "liveness": "alive"}
    assert container["readinessProbe"]["failureThreshold"] == 1


def test_the_power_limit_is_told_watts_period_and_the_gpus_of_its_nodes() -> None:
    nodes = [{"name": f"gpu-{number}", "gpu": "rtx-3090", "count": number} for number in (1, 2)]
    container = _container("nvidia-power-limit", powerLimit=280, powerInterval=30, nodes=nodes)
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert values["POWER_LIMIT_WATTS"] == "280"
    assert values["POWER_LIMIT_INTERVAL"] == "30"
    assert values["NODE_GPU_COUNTS"] == "gpu-1=1 gpu-2=2"


MIXED = {"gpus": {"rtx-3090": 1, "rtx-4090": 2}}
UUID = "GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd"


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ({}, []),
        ({"nodes": [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "powerLimit": 280}]}, ["gpu-1 280"]),
        ({"powerLimits": {"rtx-3090": 250}}, ["gpu-1 250"]),
        ({"powerLimits": {UUID: 250}}, [f"{UUID} 250"]),
        ({"nodes": [MIXED | {"name": "gpu-1"}]}, []),
        ({"nodes": [MIXED | {"name": "gpu-1"}], "powerLimits": {"rtx-3090": 250, "rtx-4090": 250}}, ["gpu-1 250"]),
        (
            {"nodes": [MIXED | {"name": "gpu-1"}], "powerLimits": {"rtx-4090": 320}},
            ["gpu-1 300 NVIDIA GeForce RTX 3090", "gpu-1 320 NVIDIA GeForce RTX 4090"],
        ),
        (
            {"nodes": [MIXED | {"name": "gpu-1"}], "powerLimits": {"rtx-4090": 250}},
            ["gpu-1 250", "gpu-1 300 NVIDIA GeForce RTX 3090", "gpu-1 250 NVIDIA GeForce RTX 4090"],
        ),
        (
            {"nodes": [{"name": "gpu-1", "gpus": {"matrox": 1, "rtx-4090": 1}}], "powerLimits": {"rtx-4090": 250}},
            ["gpu-1 250 NVIDIA GeForce RTX 4090"],
        ),
    ],
    ids=[
        "one limit for all",
        "a node's own",
        "a model's own, on a node of that model alone",
        "a GPU's own",
        "mixed GPUs with one limit",
        "mixed GPUs with one limit of their own",
        "mixed GPUs with two limits",
        "mixed GPUs, and the lowest for a GPU of no known name",
        "a GPU without a name in the catalogue",
    ],
)
def test_the_power_limit_is_told_which_limits_differ(keys: dict[str, Any], lines: list[str]) -> None:
    """By the name that the driver prints only where it must be: boards of partners may have another."""
    container = _container("nvidia-power-limit", **keys)
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert values.get("POWER_LIMITS", "").splitlines() == lines
    assert "" not in values.values(), "the API server would take it away, and the object would differ for ever"


def test_the_power_limits_pods_run_the_script_in_the_config_map() -> None:
    (agent,) = (each for each in manifests(settings()) if each["kind"] == "ConfigMap" and "agent.sh" in each["data"])
    (daemon_set,) = (each for each in _daemon_sets(settings()) if each["metadata"]["name"] == "nvidia-power-limit")
    template = daemon_set["spec"]["template"]
    scripts = [(AGENT / name).read_text() for name in ("agent.sh", "handover.sh")]
    assert agent["data"] == {"agent.sh": scripts[0], "handover.sh": scripts[1]}
    assert template["metadata"]["annotations"] == {
        "checksum/config": hashlib.sha256("".join(scripts).encode()).hexdigest()
    }
    assert template["spec"]["containers"][0]["command"] == ["/busybox/sh", "/agent/agent.sh", "run"]
    mounted = {volume["name"]: volume.get("configMap") for volume in template["spec"]["volumes"]}
    assert mounted["agent"] == {"name": agent["metadata"]["name"]}


def test_limits_are_kept_on_the_nodes_of_a_circuit_when_the_agent_goes() -> None:
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 1},
        {"name": "gpu-2", "gpu": "rtx-3090", "count": 1, "circuitWatts": 2000},
        {"name": "gpu-3", "gpu": "rtx-3090", "count": 1},
    ]
    kept = [env for env in _container("nvidia-power-limit", nodes=nodes)["env"] if env["name"] == "POWER_LIMIT_KEPT_ON"]
    assert kept == [{"name": "POWER_LIMIT_KEPT_ON", "value": "gpu-2"}]


def test_no_limit_is_kept_where_no_circuit_is_known() -> None:
    assert "POWER_LIMIT_KEPT_ON" not in str(_pod("nvidia-power-limit"))


def test_the_plugin_runs_under_its_supervisor() -> None:
    """In the shell of the plugin's own image."""
    assert _container("nvidia-device-plugin")["command"] == ["/busybox/sh", "/supervisor/supervisor.sh"]
    (scripts,) = (
        each["data"]
        for each in manifests(settings())
        if each["metadata"]["name"].startswith("nvidia-device-plugin-supervisor-")
    )
    assert set(scripts) == {"supervisor.sh"}
