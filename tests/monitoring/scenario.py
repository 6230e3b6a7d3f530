"""A cluster as Prometheus sees it, series by series: as the stack wants it, but for what a test changes."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gpuctl.desired.monitoring import rules
from gpuctl.settings import Settings
from tests.fixtures.stack_files import settings

MINUTES = 80
"""For how long every scenario lasts."""

Values = int | float | str | None
"""A constant, or promtool's own notation of a value per minute; None for a series that is not there."""
Fired = Mapping[str, list[dict[str, Any]]]
"""Alert -> labels and description of each that fires."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as the exporter shows it."""

    node: str
    uuid: str
    name: str
    limit: int
    default: int

    def series(self, metric: str, instance: str = "10.0.0.1:9835", **labels: str) -> str:
        """The name of one of its series, as it comes from the exporter by the assumed scrape configuration."""
        return _series(f"nvidia_smi_{metric}", job="gpu", instance=instance, node=self.node, uuid=self.uuid, **labels)

    def of_dcgm(self, metric: str) -> str:
        """The name of one of its series as dcgm-exporter writes it; the pods that use the GPU come and go with them."""
        labels = {"gpu": "0", "UUID": f"GPU-{self.uuid}", "modelName": self.name, "Hostname": self.node}
        return _series(f"DCGM_FI_DEV_{metric}", job="dcgm", instance="10.0.0.1:9400", exported_pod="one", **labels)


FIRST = Gpu("gpu-1", "aaaaaaaa-0000-0000-0000-000000000001", "NVIDIA GeForce RTX 3090", limit=300, default=350)
BY_UUID = Gpu("gpu-1", "aaaaaaaa-0000-0000-0000-000000000002", "NVIDIA GeForce RTX 3090", limit=200, default=350)
MIXED = Gpu("gpu-2", "bbbbbbbb-0000-0000-0000-000000000001", "NVIDIA GeForce RTX 3090", limit=300, default=350)
BY_MODEL = Gpu("gpu-2", "bbbbbbbb-0000-0000-0000-000000000002", "NVIDIA GeForce RTX 4090", limit=250, default=450)
GPUS = (FIRST, BY_UUID, MIXED, BY_MODEL)


def stack(**keys: Any) -> Settings:
    """The stack that wants exactly this cluster, on a circuit of 1500 W."""
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
        {"name": "gpu-2", "gpus": {"rtx-3090": 1, "rtx-4090": 1}},
    ]
    limits = {"rtx-4090": BY_MODEL.limit, f"GPU-{BY_UUID.uuid}": BY_UUID.limit}
    return settings(**{"nodes": nodes, "powerLimits": limits, "circuitWatts": 1500} | keys)


def slices(status: str, node: str) -> str:
    """The series of kube-state-metrics with a node's `capacity` or `allocatable`."""
    return _kube(f"kube_node_status_{status}", node=node, resource="nvidia_com_gpu", unit="integer")


def ready_agents() -> str:
    """The series with the number of agents that are ready."""
    return _kube("kube_daemonset_status_number_ready", namespace="gpu-device-plugin", daemonset="nvidia-power-limit")


def node_info(node: str) -> str:
    """The series by which kube-state-metrics shows that it knows a node."""
    return _kube("kube_node_info", node=node)


def healthy() -> dict[str, Values]:
    """Every series, with the value the stack wants."""
    found: dict[str, Values] = {ready_agents(): 2}
    for node in ("gpu-1", "gpu-2"):
        found |= {node_info(node): 1, slices("capacity", node): 8, slices("allocatable", node): 8}
    for gpu in GPUS:
        found |= exported(gpu)
    return found


def exported(gpu: Gpu, instance: str = "10.0.0.1:9835") -> dict[str, Values]:
    """The series of a GPU."""
    return {
        gpu.series("gpu_info", instance, name=gpu.name): 1,
        gpu.series("power_limit_watts", instance): gpu.limit,
        gpu.series("enforced_power_limit_watts", instance): gpu.limit,
        gpu.series("power_default_limit_watts", instance): gpu.default,
        gpu.series("power_draw_watts", instance): 100,
        gpu.series("temperature_gpu", instance): 60,
        gpu.series("utilization_gpu_ratio", instance): 0.5,
        gpu.series("memory_used_bytes", instance): 6 << 30,
        gpu.series("memory_total_bytes", instance): 24 << 30,
    }


def by_dcgm(*gpus: Gpu) -> dict[str, Values]:
    """Changes after which dcgm-exporter tells of some GPUs, and nvidia_gpu_exporter nothing."""
    found: dict[str, Values] = {}
    for gpu in gpus:
        found |= dict.fromkeys(exported(gpu)) | {
            gpu.of_dcgm("POWER_MGMT_LIMIT"): gpu.limit,
            gpu.of_dcgm("ENFORCED_POWER_LIMIT"): gpu.limit,
            gpu.of_dcgm("POWER_MGMT_LIMIT_DEF"): gpu.default,
            gpu.of_dcgm("POWER_USAGE"): 100,
            gpu.of_dcgm("XID_ERRORS"): 0,
            gpu.of_dcgm("GPU_TEMP"): 60,
            gpu.of_dcgm("GPU_UTIL"): 50,
            gpu.of_dcgm("FB_USED"): 6144,
            gpu.of_dcgm("FB_FREE"): 18432,
        }
    return found


class UsingPod(NamedTuple):
    """A pod with a slice, and what it has of a GPU by the usage watcher; None of what the watcher does not say."""

    name: str
    gib: float | None
    sm: Values

    def on(self, gpu: Gpu) -> dict[str, Values]:
        """Its series."""
        uid, usage = f"uid-{self.name}", {"node": gpu.node, "uuid": f"GPU-{gpu.uuid}"}
        its = {"namespace": "team", "pod": self.name}
        limit = {"node": gpu.node, "container": "main", "resource": "nvidia_com_gpu", "unit": "integer"}
        return {
            _kube("kube_pod_info", **its, uid=uid, node=gpu.node): 1,
            _kube("kube_pod_status_phase", **its, uid=uid, phase="Running"): 1,
            _kube("kube_pod_container_resource_limits", **its, uid=uid, **limit): 1,
            _watcher("pod_memory_bytes", **usage, pod_uid=uid): None if self.gib is None else int(self.gib * 2**30),
            _watcher("pod_sm_ratio", **usage, pod_uid=uid): self.sm,
        }


def used(*pods: UsingPod, processes: int = 1) -> dict[str, Values]:
    """Changes after which the usage watchers report, with these pods on the first GPU."""
    found: dict[str, Values] = {_watcher("up", node=node): 1 for node in ("gpu-1", "gpu-2")}
    for index, gpu in enumerate(GPUS):
        labels = {"node": gpu.node, "uuid": f"GPU-{gpu.uuid}", "index": str(index % 2)}
        found |= {
            _watcher("gpu_memory_total_bytes", **labels): 24 << 30,
            _watcher("gpu_processes", **labels): processes,
        }
    for pod in pods:
        found |= pod.on(FIRST)
    return found


def watcher_up(node: str) -> str:
    """The series by which the usage watcher of a node says that it sees its GPUs."""
    return _watcher("up", node=node)


def judge(
    promtool: Path, folder: Path, cluster: Settings, changes: Mapping[str, Values], fired: Fired, minute: int
) -> None:
    """Lets promtool find out whether exactly these alerts fire, in these words, at a minute of a scenario."""
    document = rules(cluster)
    alerts = [rule for rule in document["groups"][0]["rules"] if "alert" in rule]
    assert set(fired) <= {alert["alert"] for alert in alerts}
    for alert in alerts:
        alert["annotations"] = {"description": alert["annotations"]["description"]}
    expected = [
        {"eval_time": f"{minute}m", "alertname": alert["alert"], "exp_alerts": _expected(alert, fired)}
        for alert in alerts
    ]
    _ask(promtool, folder, document, changes, alert_rule_test=expected)


def measure(promtool: Path, folder: Path, changes: Mapping[str, Values], measured: Mapping[str, float]) -> None:
    """Lets promtool find out whether the stack's rules record exactly this of the first GPU.

    Args:
        promtool: the program.
        folder: to write its files to.
        changes: to a healthy cluster.
        measured: series -> its value.
    """
    expected = [
        {
            "expr": f'{name}{{node="{FIRST.node}",uuid="{FIRST.uuid}"}}',
            "eval_time": "30m",
            "exp_samples": [{"labels": _series(name, node=FIRST.node, uuid=FIRST.uuid), "value": value}],
        }
        for name, value in measured.items()
    ]
    _ask(promtool, folder, rules(stack()), changes, promql_expr_test=expected)


def _ask(promtool: Path, folder: Path, document: Any, changes: Mapping[str, Values], **expected: Any) -> None:
    (folder / "rules.yml").write_text(yaml.safe_dump(document))
    case: dict[str, Any] = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": value if isinstance(value, str) else f"{value}x{MINUTES}"}
            for name, value in {**healthy(), **changes}.items()
            if value is not None
        ],
    }
    (folder / "case.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [case | expected]}))
    done = subprocess.run(
        [promtool, "test", "rules", folder / "case.yml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _expected(alert: dict[str, Any], fired: Fired) -> list[dict[str, Any]]:
    return [
        {
            "exp_labels": alert["labels"] | {key: value for key, value in each.items() if key != "description"},
            "exp_annotations": {"description": each["description"]},
        }
        for each in fired.get(alert["alert"], ())
    ]


def _kube(metric: str, **labels: str) -> str:
    return _series(metric, job="kube-state-metrics", instance="10.0.0.9:8080", **labels)


def _watcher(metric: str, **labels: str) -> str:
    """Prometheus says of each series from which pod it got it: none of these labels may be taken for a user's."""
    scraped = {"instance": "10.0.0.1:9836", "namespace": "gpu-device-plugin", "pod": "nvidia-gpu-usage-x"}
    return _series(f"gpu_usage_{metric}", job="usage", **scraped, **labels)


def _series(metric: str, /, **labels: str) -> str:
    return f"{metric}{{{', '.join(f'{key}={json.dumps(value)}' for key, value in labels.items())}}}"
