"""Each alert fires when it must, in words with the figure, and no other one does: judged by promtool."""

import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gpuctl.desired.monitoring import rules
from gpuctl.desired.names import yaml_text
from gpuctl.settings import read_config
from tests.fixtures.stack_files import SHIPPED, VALID, config_of
from tests.monitoring import scenario
from tests.monitoring.scenario import BY_MODEL, BY_UUID, FIRST, MIXED, Fired, UsingPod, Values, slices

Judge = Callable[..., None]


@pytest.fixture
def judge(programs: Path, tmp_path: Path) -> Judge:
    """Asserts which alerts fire, by default half an hour after the change, when every patience is over."""

    def judge(changes: Mapping[str, Values], fired: Fired | None = None, minute: int = 30, **keys: Any) -> None:
        scenario.judge(programs / "promtool", tmp_path, scenario.stack(**keys), changes, fired or {}, minute)

    return judge


@pytest.mark.parametrize("path", [*SHIPPED, *VALID], ids=lambda path: path.stem)
def test_promtool_finds_nothing_to_say_about_the_rules_of_a_stack(programs: Path, path: Path, tmp_path: Path) -> None:
    """Its lint also finds two rules that record the same series, of which Prometheus would drop one."""
    (tmp_path / "rules.yml").write_text(yaml_text(rules(read_config("fixture", config_of(path)))))
    command = [programs / "promtool", "check", "rules", "--lint-fatal", tmp_path / "rules.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _gpu(gpu: scenario.Gpu, description: str) -> list[dict[str, Any]]:
    words = f"GPU {gpu.uuid} of node {gpu.node}"
    return [{"node": gpu.node, "uuid": gpu.uuid, "description": description.replace("GPU", words, 1)}]


def test_a_cluster_that_is_as_the_stack_wants_it_raises_no_alert(judge: Judge) -> None:
    judge({})


def test_a_limit_that_is_back_at_the_default_is_lost(judge: Judge) -> None:
    """A reboot, a driver reload or a GPU reset takes it away."""
    changes = {FIRST.series("power_limit_watts"): 350, FIRST.series("enforced_power_limit_watts"): 350}
    lost = "GPU may draw 50 W more than the stack allows, and the agent does not put its limit back."
    judge(changes, {"GpuPowerLimitLost": _gpu(FIRST, lost)})


@pytest.mark.parametrize(("watts", "off"), [(320, "20"), (250, "-50")])
def test_a_limit_that_was_moved_has_drifted(judge: Judge, watts: int, off: str) -> None:
    changes = {FIRST.series("power_limit_watts"): watts, FIRST.series("enforced_power_limit_watts"): watts}
    drift = f"The power limit of GPU is {off} W off the stack's, and the agent does not put it back."
    judge(changes, {"GpuPowerLimitDrift": _gpu(FIRST, drift)})


@pytest.mark.parametrize("watts", [299, 301])
def test_a_watt_of_rounding_is_no_drift(judge: Judge, watts: int) -> None:
    judge({FIRST.series("power_limit_watts"): watts, FIRST.series("enforced_power_limit_watts"): watts})


@pytest.mark.parametrize(("watts", "off"), [(280, "-20"), (340, "40")])
def test_a_card_that_enforces_something_else_than_what_is_set_is_told(judge: Judge, watts: int, off: str) -> None:
    words = f"What GPU enforces is {off} W off the stack's limit, although that limit is set."
    judge({FIRST.series("enforced_power_limit_watts"): watts}, {"GpuPowerLimitNotEnforced": _gpu(FIRST, words)})


@pytest.mark.parametrize("gpu", [BY_UUID, MIXED, BY_MODEL], ids=["by UUID", "in a mixed node", "by model"])
def test_each_gpu_is_compared_with_its_own_limit(judge: Judge, gpu: scenario.Gpu) -> None:
    changes = {gpu.series(name): gpu.limit + 10 for name in ("power_limit_watts", "enforced_power_limit_watts")}
    drift = "The power limit of GPU is 10 W off the stack's, and the agent does not put it back."
    judge(changes, {"GpuPowerLimitDrift": _gpu(gpu, drift)})


@pytest.mark.parametrize(("interval", "minute", "fires"), [(60, 2, False), (60, 3, True), (600, 20, False)])
def test_the_agent_has_two_looks_to_put_a_limit_back(judge: Judge, interval: int, minute: int, *, fires: bool) -> None:
    changes = {FIRST.series("power_limit_watts"): 320, FIRST.series("enforced_power_limit_watts"): 320}
    drift = "The power limit of GPU is 20 W off the stack's, and the agent does not put it back."
    judge(changes, {"GpuPowerLimitDrift": _gpu(FIRST, drift)} if fires else {}, minute, powerInterval=interval)


def test_an_exporter_that_restarts_does_not_start_the_wait_again(judge: Judge) -> None:
    """Its pod has another address then, and so its series another instance."""
    gone, changes = {}, {}
    for name, value in scenario.exported(FIRST).items():
        gone[name] = f"{value}x2 _x20"
    for name, value in scenario.exported(FIRST, "10.0.0.2:9835").items():
        changes[name] = f"_x2 {value}x20"
    changes[FIRST.series("power_limit_watts", "10.0.0.2:9835")] = "_x2 320x20"
    gone[FIRST.series("power_limit_watts")] = "320x2 _x20"
    drift = "The power limit of GPU is 20 W off the stack's, and the agent does not put it back."
    judge(gone | changes, {"GpuPowerLimitDrift": _gpu(FIRST, drift)}, minute=3)


def test_gpus_of_other_machines_are_nobodys_business(judge: Judge) -> None:
    foreign = scenario.Gpu("desktop", "cccccccc-0000-0000-0000-000000000001", "NVIDIA GeForce RTX 3090", 350, 350)
    xid = foreign.series("xid_last_timestamp_seconds", xid="79")
    judge(
        scenario.exported(foreign) | {xid: 1700, slices("capacity", "desktop"): 4, slices("allocatable", "desktop"): 0}
    )


def test_without_power_management_no_limit_is_watched(judge: Judge) -> None:
    changes = {FIRST.series("power_limit_watts"): 350, scenario.ready_agents(): None}
    judge(changes, powerManagement=False, circuitWatts=0)


@pytest.mark.parametrize(("capacity", "missing"), [(4, 4), (0, 8), (None, 8)])
def test_a_node_that_offers_fewer_slices_than_expected_is_told(judge: Judge, capacity: Values, missing: int) -> None:
    changes = {slices("capacity", "gpu-1"): capacity, slices("allocatable", "gpu-1"): capacity}
    words = f"{missing} slices of nvidia_com_gpu are missing on node gpu-1."
    told = {"node": "gpu-1", "resource": "nvidia_com_gpu", "description": words}
    judge(changes, {"GpuCapacityBelowExpected": [told]})


def test_slices_under_a_name_of_their_own_are_counted_under_it(judge: Judge) -> None:
    words = "8 slices of nvidia_com_gpu_shared are missing on node {}."
    told = [
        {"node": node, "resource": "nvidia_com_gpu_shared", "description": words.format(node)}
        for node in ("gpu-1", "gpu-2")
    ]
    judge({}, {"GpuCapacityBelowExpected": told}, renameByDefault=True)


def test_slices_that_are_there_and_not_healthy_are_told(judge: Judge) -> None:
    words = (
        "4 slices of nvidia_com_gpu on node gpu-2 get no new pods: the device plugin found their GPU unhealthy, or "
        "does not run."
    )
    told = {"node": "gpu-2", "resource": "nvidia_com_gpu", "description": words}
    judge({slices("allocatable", "gpu-2"): 4}, {"GpuUnhealthy": [told]})


def test_a_critical_xid_is_told_for_five_minutes(judge: Judge) -> None:
    xid = FIRST.series("xid_last_timestamp_seconds", xid="79")
    told = _gpu(FIRST, "The driver reported Xid 79 for GPU within the last five minutes.")
    judge({xid: 1680}, {"GpuXid": [told[0] | {"xid": "79"}]})
    judge({xid: 1500})


def test_a_fault_of_an_application_is_no_alert(judge: Judge) -> None:
    judge({FIRST.series("xid_last_timestamp_seconds", xid="31"): 1680})


@pytest.mark.parametrize(("ready", "missing"), [(1, 1), (0, 2), (None, 2)])
def test_agents_that_are_not_ready_or_not_there_are_told(judge: Judge, ready: Values, missing: int) -> None:
    words = (
        f"DaemonSet nvidia-power-limit has {missing} ready pods fewer than the stack has nodes: the GPUs of these are "
        "not held at their limits."
    )
    told = {"namespace": "gpu-device-plugin", "daemonset": "nvidia-power-limit", "description": words}
    judge({scenario.ready_agents(): ready}, {"GpuPowerAgentNotReady": [told]})


def test_a_circuit_that_delivers_more_than_it_may_is_told(judge: Judge) -> None:
    """4 GPUs at 310 W and 2 nodes with 150 W besides are 1540 W."""
    draws = {gpu.series("power_draw_watts"): 310 for gpu in scenario.GPUS}
    words = "The nodes on the circuit of gpu-1, gpu-2 draw 40 W more than it allows."
    judge(draws, {"GpuCircuitOverBudget": [{"circuit": "gpu-1, gpu-2", "description": words}]})


def test_a_node_may_have_a_circuit_of_its_own(judge: Judge) -> None:
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
        {"name": "gpu-2", "gpus": {"rtx-3090": 1, "rtx-4090": 1}, "circuitWatts": 900, "baseWatts": 200},
    ]
    words = "The nodes on the circuit of gpu-2 draw 10 W more than it allows."
    draws = {gpu.series("power_draw_watts"): 355 for gpu in (MIXED, BY_MODEL)}
    judge(draws, {"GpuCircuitOverBudget": [{"circuit": "gpu-2", "description": words}]}, nodes=nodes)


def test_a_node_without_metrics_of_its_gpus_is_told(judge: Judge) -> None:
    """Its exporter does not run or is not scraped, or the label `node` is missing."""
    changes = dict.fromkeys([*scenario.exported(MIXED), *scenario.exported(BY_MODEL)])
    words = (
        "Prometheus has no nvidia_smi_gpu_info with node gpu-2 and no DCGM_FI_DEV_POWER_USAGE with Hostname gpu-2: "
        "nobody watches what its GPUs draw."
    )
    judge(changes, {"GpuExporterAbsent": [{"node": "gpu-2", "description": words}]})


def test_without_kube_state_metrics_only_that_is_told(judge: Judge) -> None:
    changes = {name: None for name in scenario.healthy() if name.startswith("kube_")}
    words = "Prometheus has no kube_node_info: nobody watches capacity, health and the power-limit agent."
    judge(changes, {"GpuKubeStateMetricsAbsent": [{"description": words}]})


DCGM = scenario.by_dcgm(*scenario.GPUS)


def test_a_cluster_with_dcgm_instead_raises_no_alert_either(judge: Judge) -> None:
    judge(DCGM)


def test_a_gpu_that_both_exporters_tell_of_is_one_gpu(judge: Judge) -> None:
    """Counted twice, 4 GPUs of 300 W and 2 nodes of 150 W would be more than the circuit's 1500 W."""
    both = scenario.by_dcgm(*scenario.GPUS) | scenario.healthy()
    draws = {name: 300 for name in both if "power_draw_watts" in name or "POWER_USAGE" in name}
    judge(both | draws)


@pytest.mark.parametrize("default", [350, None], ids=["the default is told", "the default is not told"])
def test_dcgm_tells_of_a_limit_that_is_lost(judge: Judge, default: Values) -> None:
    told = {"POWER_MGMT_LIMIT": 350, "ENFORCED_POWER_LIMIT": 350, "POWER_MGMT_LIMIT_DEF": default}
    lost = "GPU may draw 50 W more than the stack allows, and the agent does not put its limit back."
    judge(DCGM | {FIRST.of_dcgm(name): value for name, value in told.items()}, {"GpuPowerLimitLost": _gpu(FIRST, lost)})


@pytest.mark.parametrize("gpu", scenario.GPUS, ids=["by node", "by UUID", "in a mixed node", "by model"])
def test_dcgm_tells_of_a_limit_that_has_drifted(judge: Judge, gpu: scenario.Gpu) -> None:
    changes = {gpu.of_dcgm(name): gpu.limit + 10 for name in ("POWER_MGMT_LIMIT", "ENFORCED_POWER_LIMIT")}
    drift = "The power limit of GPU is 10 W off the stack's, and the agent does not put it back."
    judge(DCGM | changes, {"GpuPowerLimitDrift": _gpu(gpu, drift)})


def test_dcgm_tells_of_a_card_that_enforces_something_else(judge: Judge) -> None:
    words = "What GPU enforces is 40 W off the stack's limit, although that limit is set."
    judge(DCGM | {FIRST.of_dcgm("ENFORCED_POWER_LIMIT"): 340}, {"GpuPowerLimitNotEnforced": _gpu(FIRST, words)})


def test_dcgm_tells_of_an_overloaded_circuit(judge: Judge) -> None:
    draws = {gpu.of_dcgm("POWER_USAGE"): 310 for gpu in scenario.GPUS}
    words = "The nodes on the circuit of gpu-1, gpu-2 draw 40 W more than it allows."
    judge(DCGM | draws, {"GpuCircuitOverBudget": [{"circuit": "gpu-1, gpu-2", "description": words}]})


def test_dcgm_tells_of_a_critical_xid_for_five_minutes(judge: Judge) -> None:
    """Its series goes on saying which Xid was the last."""
    told = _gpu(FIRST, "The driver reported Xid 79 for GPU within the last five minutes.")
    judge(DCGM | {FIRST.of_dcgm("XID_ERRORS"): "0x27 79x12"}, {"GpuXid": [told[0] | {"xid": "79"}]})
    judge(DCGM | {FIRST.of_dcgm("XID_ERRORS"): "0x20 79x19"})
    judge(DCGM | {FIRST.of_dcgm("XID_ERRORS"): "0x27 31x12"})


def test_a_node_that_neither_exporter_tells_of_is_told(judge: Judge) -> None:
    silent = dict.fromkeys(scenario.by_dcgm(MIXED, BY_MODEL))
    words = (
        "Prometheus has no nvidia_smi_gpu_info with node gpu-2 and no DCGM_FI_DEV_POWER_USAGE with Hostname gpu-2: "
        "nobody watches what its GPUs draw."
    )
    judge(DCGM | silent, {"GpuExporterAbsent": [{"node": "gpu-2", "description": words}]})


@pytest.mark.parametrize(
    "changes",
    [{}, DCGM, scenario.by_dcgm(FIRST) | scenario.exported(FIRST)],
    ids=["nvidia_gpu_exporter", "dcgm", "both"],
)
def test_whichever_exporter_there_is_the_same_figures_are_recorded_for_the_dashboard(
    programs: Path, tmp_path: Path, changes: Mapping[str, Values]
) -> None:
    measured = {
        "gpu_stack:power_draw_watts": 100,
        "gpu_stack:power_limit_watts:requested": 300,
        "gpu_stack:power_limit_watts:enforced": 300,
        "gpu_stack:temperature_celsius": 60,
        "gpu_stack:utilization_ratio": 0.5,
        "gpu_stack:memory_used_ratio": 0.25,
    }
    scenario.measure(programs / "promtool", tmp_path, changes, measured)


def test_a_dcgm_exporter_without_counters_of_limits_leaves_no_limit_unwatched_silently(judge: Judge) -> None:
    """As its default list of counters has it."""
    limits = ("POWER_MGMT_LIMIT", "ENFORCED_POWER_LIMIT", "POWER_MGMT_LIMIT_DEF")
    unknown = {gpu.of_dcgm(name): None for gpu in (MIXED, BY_MODEL) for name in limits}
    words = (
        "The exporter tells of 2 GPUs of node gpu-2, and of none of their power limits: dcgm-exporter does so only "
        "with the counters that docs/monitoring.md lists."
    )
    judge(DCGM | unknown, {"GpuPowerLimitUnwatched": [{"node": "gpu-2", "description": words}]})


@pytest.mark.parametrize("known", ["POWER_MGMT_LIMIT", "ENFORCED_POWER_LIMIT"])
def test_one_of_the_two_limits_is_enough_to_be_watched(judge: Judge, known: str) -> None:
    unknown = {"POWER_MGMT_LIMIT", "ENFORCED_POWER_LIMIT"} - {known}
    judge(DCGM | {gpu.of_dcgm(name): None for gpu in scenario.GPUS for name in unknown})


def test_a_gpu_that_takes_no_limit_is_held_where_it_enforces_less_and_not_where_it_enforces_more(judge: Judge) -> None:
    """A laptop's says N/A for the limit that is set, and tells what it enforces."""
    requested = FIRST.series("power_limit_watts")
    judge({requested: None, FIRST.series("enforced_power_limit_watts"): 175})
    words = "What GPU enforces is 50 W off the stack's limit, although that limit is set."
    changes = {requested: None, FIRST.series("enforced_power_limit_watts"): 350}
    judge(changes, {"GpuPowerLimitNotEnforced": _gpu(FIRST, words)})


def test_a_gpu_that_is_left_alone_is_compared_with_no_limit(judge: Judge) -> None:
    changes = {BY_MODEL.of_dcgm(name): 450 for name in ("POWER_MGMT_LIMIT", "ENFORCED_POWER_LIMIT")}
    limits = {"rtx-4090": "none", f"GPU-{BY_UUID.uuid}": BY_UUID.limit}
    judge(DCGM | changes, powerLimits=limits, circuitWatts=2000)


class TestUsage:
    """Pods on the first GPU, of which four share 24 GiB."""

    TRAINER, NOTEBOOK = UsingPod("trainer", gib=5, sm=0.9), UsingPod("notebook", gib=1, sm=0)

    @staticmethod
    def idle(pod: str) -> dict[str, Any]:
        words = f"team/{pod} holds 1 nvidia_com_gpu of node gpu-1 and was seen to compute nothing for an hour."
        return {"node": "gpu-1", "resource": "nvidia_com_gpu", "namespace": "team", "pod": pod, "description": words}

    @pytest.fixture
    def judge(self, judge: Judge) -> Judge:
        """After 70 minutes."""
        return partial(judge, minute=70, usage=True, usageMetrics=True)

    def test_pods_that_keep_to_their_shares_and_compute_are_no_alert(self, judge: Judge) -> None:
        judge(scenario.used(self.TRAINER, self.NOTEBOOK._replace(sm="0x40 0.01 0x38")))

    def test_a_pod_over_its_share_is_told_with_how_much(self, judge: Judge) -> None:
        words = (
            f"team/trainer holds 1.5GiB more than its share of the memory of GPU {FIRST.uuid} of node gpu-1: other "
            "pods there may get an out of memory."
        )
        told = {"node": "gpu-1", "uuid": FIRST.uuid, "namespace": "team", "pod": "trainer", "description": words}
        judge(scenario.used(self.TRAINER._replace(gib=7.5)), {"GpuMemoryOverShare": [told]})

    def test_a_pod_that_computes_nothing_for_an_hour_is_told_with_or_without_a_process(self, judge: Judge) -> None:
        idle = {"GpuIdleHolder": [self.idle("notebook")]}
        judge(scenario.used(self.TRAINER, self.NOTEBOOK), idle)
        judge(scenario.used(self.TRAINER, self.NOTEBOOK._replace(gib=None, sm=None)), idle)
        judge(scenario.used(self.TRAINER, self.NOTEBOOK), minute=50)

    def test_a_pod_whose_share_is_not_known_is_not_called_idle(self, judge: Judge) -> None:
        judge(scenario.used(self.NOTEBOOK._replace(sm=None)))

    def test_a_gpu_that_draws_much_without_a_process_is_told(self, judge: Judge) -> None:
        draws = {FIRST.series("power_draw_watts"): 151, BY_UUID.series("power_draw_watts"): 99}
        words = "GPU draws 151 W, more than half of its limit, and no process is on it."
        judge(scenario.used(processes=0) | draws, {"GpuDrawWithoutUser": _gpu(FIRST, words)})
        judge(scenario.used(processes=1) | draws)

    @pytest.mark.parametrize("up", [0, None], ids=["nvidia-smi does not answer", "not scraped"])
    def test_a_node_that_nobody_watches_is_told_and_its_pods_are_not_called_idle(
        self, judge: Judge, up: Values
    ) -> None:
        words = "Prometheus has no gpu_usage_up with node gpu-1, or nvidia-smi does not answer the usage watcher there."
        unseen = scenario.used(self.NOTEBOOK._replace(gib=None, sm=None)) | {scenario.watcher_up("gpu-1"): up}
        judge(unseen, {"GpuUsageUnwatched": [{"node": "gpu-1", "description": words}]})

    def test_two_watchers_that_hand_over_to_each_other_count_once(self, judge: Judge) -> None:
        one = scenario.used(self.TRAINER)
        other = {name.replace("nvidia-gpu-usage-x", "nvidia-gpu-usage-y"): value for name, value in one.items()}
        judge(one | other)
