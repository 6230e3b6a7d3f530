"""A real Prometheus scrapes simulated GPUs: what moves a limit is seen, told, and forgotten when it is fixed."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dashboard.__main__ import FILE
from gpuctl.desired.monitoring import rules
from gpuctl.desired.usage import METRICS
from testbed import debian, driver, tools
from testbed.gpus import NodeSpec, SimulatedGpu
from tests.fixtures.stack_files import settings
from tests.monitoring.exporter import TRAINER, Exporter
from tests.monitoring.server import Prometheus, prometheus

WATCHER = Path(__file__).parents[2] / "gpuctl" / "desired" / "usage_watcher" / "watch.sh"
PID = os.getpid()
"""The simulated nvidia-smi lists no process that is not there."""
SECONDS = 60
"""Longest wait for something that takes two or three."""
STACK = settings(circuitWatts=750, usage=True, usageMetrics=True)
"""One node with two RTX 3090 at 300 W, and 150 W besides."""
QUERIES = [target["expr"] for panel in json.loads(FILE.read_text())["panels"] for target in panel.get("targets", ())]
"""Every expression that the dashboard evaluates."""

pytestmark = pytest.mark.skipif(
    not shutil.which("gcc"), reason="gcc is missing: the simulated driver cannot be compiled"
)


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> list[SimulatedGpu]:
    """Two GPUs at the stack's limit."""
    folder, spec = tmp_path_factory.mktemp("node"), NodeSpec.parse("gpu-1=rtx-3090x2")
    driver.simulated(folder, spec, folder, folder)
    found = driver.simulated_gpus(folder, spec)
    for gpu in found:
        gpu.drift(300)
    return found


@pytest.fixture(scope="module")
def simulated(gpus: list[SimulatedGpu]) -> dict[str, str]:
    """By these variables nvidia-smi finds the GPUs."""
    node = gpus[0].directory.parents[1]
    return {"GPUSIM_CONFIG": str(node / "gpus.conf"), "GPUSIM_STATE": str(node / "gpu")}


@pytest.fixture(scope="module")
def watcher(
    gpus: list[SimulatedGpu], simulated: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the usage watcher, as the stack deploys it; team/trainer computes on the first GPU."""
    folder = tmp_path_factory.mktemp("watcher")
    process = folder / "proc" / str(PID)
    process.mkdir(parents=True)
    (folder / "proc" / "uptime").write_text("4000.00 9999.00\n")
    (process / "cgroup").write_text(f"0::/kubepods/pod{TRAINER}/{'c0ffee' * 8}\n")
    (process / "stat").write_text(f"{PID} (python3) S {' '.join(map(str, range(4, 22)))} 100000 23\n")
    (process / "comm").write_text("python3\n")
    gpus[0].set_processes([(PID, 5000, 80)])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    its = {"USAGE_INTERVAL": "0.5", "USAGE_PORT": port, "USAGE_NODE": "gpu-1", "USAGE_STATE": str(folder / "state")}
    variables = simulated | its | {"USAGE_PROC": str(folder / "proc"), "PATH": str(tools.simulated_driver())}
    program = [debian.packages() / "bin" / "busybox", "sh", WATCHER, "run"]
    running = subprocess.Popen(program, env=variables, stdout=subprocess.DEVNULL)
    yield f"127.0.0.1:{port}"
    running.terminate()
    running.wait(timeout=30)


@pytest.fixture(scope="module")
def watching(
    programs: Path, watcher: str, simulated: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus with the stack's rules, whose patience is a second: how long it lasts, promtool has judged."""
    document = rules(STACK)
    for rule in document["groups"][0]["rules"]:
        if "alert" in rule:
            rule["for"] = "1s"
    with Exporter("gpu-1", 8, tools.simulated_driver() / "nvidia-smi", simulated) as exporter:
        threading.Thread(target=exporter.serve_forever, daemon=True).start()
        targets = {"targets": [exporter.address]}
        scrapes = [
            {"job_name": "gpus", "metrics_path": "/gpus", "static_configs": [targets | {"labels": {"node": "gpu-1"}}]},
            {"job_name": "usage", "metrics_path": METRICS, "static_configs": [{"targets": [watcher]}]},
            {"job_name": "kube", "metrics_path": "/kube", "honor_labels": True, "static_configs": [targets]},
        ]
        with prometheus(programs / "prometheus", tmp_path_factory.mktemp("prometheus"), scrapes, document) as server:
            yield server
        exporter.shutdown()


def _wait_for(expected: object, read: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while (seen := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    assert seen == expected


@pytest.fixture
def calm(watching: Prometheus, gpus: list[SimulatedGpu]) -> Iterator[Prometheus]:
    """Prometheus when it has seen everything and no alert fires; what a test does to the GPUs is undone."""
    recorded = "count({__name__=~'gpu_stack:.+'})"
    _wait_for(["31"], lambda: [each["value"][1] for each in watching.query(recorded)])
    _wait_for([], lambda: list(watching.firing()))
    yield watching
    for gpu in gpus:
        gpu.drift(300)
        gpu.cap_elsewhere(None)
        gpu.draw(None)


def test_a_limit_that_is_moved_fires_and_stops_firing_when_it_is_put_back(
    calm: Prometheus, gpus: list[SimulatedGpu]
) -> None:
    gpus[0].drift(320)
    _wait_for(["GpuPowerLimitDrift"], lambda: list(calm.firing()))
    alert = calm.firing()["GpuPowerLimitDrift"]
    uuid = gpus[0].uuid.removeprefix("GPU-")
    assert alert["labels"] == {"alertname": "GpuPowerLimitDrift", "node": "gpu-1", "uuid": uuid, "severity": "warning"}
    assert alert["annotations"]["description"] == (
        f"The power limit of GPU {uuid} of node gpu-1 is 20 W off the stack's, and the agent does not put it back."
    )
    gpus[0].drift(300)
    _wait_for([], lambda: list(calm.firing()))


def test_a_reloaded_driver_is_a_lost_limit(calm: Prometheus, gpus: list[SimulatedGpu]) -> None:
    gpus[1].reload_driver()
    _wait_for(["GpuPowerLimitLost"], lambda: list(calm.firing()))


def test_a_card_that_is_capped_elsewhere_is_told(calm: Prometheus, gpus: list[SimulatedGpu]) -> None:
    gpus[0].cap_elsewhere(250)
    _wait_for(["GpuPowerLimitNotEnforced"], lambda: list(calm.firing()))


def test_a_circuit_is_watched_by_what_is_drawn(calm: Prometheus, gpus: list[SimulatedGpu]) -> None:
    """And nothing runs on the second GPU that would explain its draw."""
    gpus[0].draw(320)
    gpus[1].draw(300)
    _wait_for(["GpuCircuitOverBudget", "GpuDrawWithoutUser"], lambda: sorted(calm.firing()))
    assert calm.firing()["GpuCircuitOverBudget"]["annotations"]["description"] == (
        "The nodes on the circuit of gpu-1 draw 20 W more than it allows."
    )


def test_what_the_usage_watcher_serves_has_the_pods_name_and_its_share(
    calm: Prometheus, gpus: list[SimulatedGpu]
) -> None:
    series = {"node": "gpu-1", "uuid": gpus[0].uuid.removeprefix("GPU-"), "namespace": "team", "pod": "trainer"}
    for name, value, more in (
        ("gpu_stack:pod_memory_bytes", str(5000 * 2**20), {}),
        ("gpu_stack:pod_memory_share_bytes", str(6 * 2**30), {"resource": "nvidia_com_gpu"}),
        ("gpu_stack:pod_sm_ratio", "0.8", {}),
    ):
        [found] = calm.query(name)
        assert (found["metric"], found["value"][1]) == ({"__name__": name} | series | more, value)


def test_a_pod_that_takes_more_than_its_share_fires_until_it_gives_it_back(
    calm: Prometheus, gpus: list[SimulatedGpu]
) -> None:
    gpus[0].set_processes([(PID, 7168, 80)])
    try:
        _wait_for(["GpuMemoryOverShare"], lambda: list(calm.firing()))
    finally:
        gpus[0].set_processes([(PID, 5000, 80)])
    _wait_for([], lambda: list(calm.firing()))


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_dashboard_has_an_answer(calm: Prometheus, query: str) -> None:
    assert calm.query(query.replace("$node", ".*")) != []
