"""Checks of slices by MPS: the daemon serves, its limits are the stack's, and every pod is its client."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gpuctl.checks import mps
from gpuctl.checks.model import Check, Result
from gpuctl.observed import mps_log
from gpuctl.settings import Settings
from tests.fixtures.checks import context_of, results_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.stack_files import settings

FIRST, SECOND = "GPU-d24ded43-23d4-7ac2-45b3-f2c0f8dd0b59", "GPU-0b8f7f52-31d0-4f3e-b3a9-6a1e5a9c4d21"
DAEMON, PLUGIN = "nvidia-mps-control-daemon-gpu-1", "nvidia-device-plugin-gpu-1"
NVIDIA = "[2026-11-29 12:57:24.445 Control   529] "


def _settings(**keys: Any) -> Settings:
    return settings(**({"sharing": "mps"} | keys))


def _serving(gpu: str = FIRST, memory: int = 6144, threads: int = 25, clients: int = 0) -> str:
    figures = f"memory_total_mib=24576 memory_mib={memory} threads_pct={threads} clients={clients}"
    return f"time=2026-11-29T12:57:24Z level=info msg=serving gpu={gpu} index=0 {figures}"


def _loaded(sharing: object, root: str = "/var/run/gpu-mps") -> list[str]:
    return [
        "I1129 12:57:24.445000 1 main.go:300] Running with config:",
        *json.dumps({"version": "v1", "flags": {"mpsRoot": root}, "sharing": sharing}, indent=2).splitlines(),
    ]


MPS_OF_FOUR = {"timeSlicing": {}, "mps": {"resources": [{"name": "nvidia.com/gpu", "replicas": 4}]}}
SLICES_OF_FOUR = {"timeSlicing": {"resources": [{"name": "nvidia.com/gpu", "replicas": 4}]}}


@pytest.fixture
def fake() -> FakeCluster:
    fake = healthy(_settings(), {"gpu-1": 8})
    fake.logs[DAEMON] = [_serving(), _serving(SECOND)]
    fake.logs[PLUGIN] = _loaded(MPS_OF_FOUR)
    return fake


def _results(check: Check, fake: FakeCluster, stack: Settings | None = None) -> list[Result]:
    return results_of(check, context_of(fake, stack or _settings()))


def _told(check: Check, fake: FakeCluster, stack: Settings | None = None) -> list[str]:
    return [f"{found.outcome}: {found.fact}" for found in _results(check, fake, stack)]


def _began(pod: dict[str, Any], time: str) -> None:
    pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = time


def test_all_of_it_holds_on_a_healthy_node(fake: FakeCluster) -> None:
    checks = [check for check in mps.CHECKS if not check.makes_pods]
    assert [told for check in checks for told in _told(check, fake)] == [
        "pass: the MPS daemon on gpu-1 serves",
        f"pass: {FIRST} of gpu-1 gives a slice 6144 MiB and 25 % of its threads",
        f"pass: {SECOND} of gpu-1 gives a slice 6144 MiB and 25 % of its threads",
        "pass: the device plugin on gpu-1 sends its pods to the MPS daemon",
        "pass: 0 pods of gpu-1 with slices by MPS; 0 programs are connected",
    ]


@pytest.mark.parametrize("check", [each for each in mps.CHECKS if not each.makes_pods], ids=lambda each: each.id)
def test_a_stack_of_time_slices_has_nothing_to_judge(check: Check) -> None:
    assert _told(check, healthy(settings(), {"gpu-1": 8}), settings()) == ["skip: no node shares its GPUs by MPS"]


def test_a_daemon_of_a_node_that_is_not_ready_is_not_judged(fake: FakeCluster) -> None:
    conditions = fake.node_objects["gpu-1"]["status"]["conditions"]
    next(each for each in conditions if each["type"] == "Ready")["status"] = "False"
    assert _told(mps.daemons_serve, fake) == ["skip: gpu-1 is not Ready"]


def test_a_daemon_that_is_not_ready_does_not_serve(fake: FakeCluster) -> None:
    fake.pod_objects[DAEMON]["status"]["conditions"][0]["status"] = "False"
    fake.pod_objects[DAEMON]["status"]["containerStatuses"][0]["ready"] = False
    (found,) = _results(mps.daemons_serve, fake)
    assert (found.outcome, found.fact) == ("fail", "the MPS daemon on gpu-1 does not serve")


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (["ERROR: init 250 result=11", "Server 61 exited with status 1"], "it does not find the driver's libraries"),
        (["An instance of this daemon is already running"], "another MPS daemon runs on the node"),
        (["User did not send valid credentials", "Server 61 exited with status 1"], "its server ends as it starts"),
    ],
    ids=["#1614", "#1595", "#762 and #1094"],
)
def test_a_daemon_that_is_ready_and_serves_no_client_is_known_by_what_it_writes(
    fake: FakeCluster, lines: Sequence[str], cause: str
) -> None:
    fake.logs[DAEMON] += [NVIDIA + line for line in lines]
    (found,) = _results(mps.daemons_serve, fake)
    assert found.outcome == "fail"
    assert found.fact.startswith(f"the MPS daemon on gpu-1 does not serve: {cause}")
    assert found.cause.startswith(cause)


def test_a_server_that_ended_once_and_serves_again_is_no_failure(fake: FakeCluster) -> None:
    fake.logs[DAEMON] += [NVIDIA + line for line in ("Server 61 exited with status 1", "NEW SERVER 62: Ready")]
    assert _told(mps.daemons_serve, fake) == ["pass: the MPS daemon on gpu-1 serves"]


def test_a_server_that_served_and_has_ended_for_each_client_since_is_a_failure(fake: FakeCluster) -> None:
    fake.logs[DAEMON] += [NVIDIA + line for line in ("NEW SERVER 61: Ready", "Server 61 exited with status 1")]
    (found,) = _results(mps.daemons_serve, fake)
    assert found.cause.startswith("its server ends as it starts")


def test_what_every_client_makes_the_daemon_write_is_no_failure() -> None:
    """Driver 580 writes it for each of them."""
    assert mps_log.trouble([NVIDIA + "User did not send valid credentials", NVIDIA + "NEW SERVER 62: Ready"]) == ""


def test_limits_of_before_the_last_change_are_found(fake: FakeCluster) -> None:
    assert _told(mps.limits_are_the_stacks, fake, _settings(memoryPerSliceMiB=4096, threadsPerSlicePercent=50)) == [
        f"fail: {gpu} of gpu-1 gives a slice 6144 MiB and 25 % of its threads, and the stack asks for 4096 MiB and 50 %"
        for gpu in (FIRST, SECOND)
    ]


def test_another_limit_of_threads_alone_is_found(fake: FakeCluster) -> None:
    fake.logs[DAEMON] = [_serving(threads=50)]
    assert _told(mps.limits_are_the_stacks, fake) == [
        f"fail: {FIRST} of gpu-1 gives a slice 6144 MiB and 50 % of its threads, "
        "and the stack asks for 6144 MiB and 25 %"
    ]


def test_the_last_line_of_a_gpu_counts(fake: FakeCluster) -> None:
    fake.logs[DAEMON] = [_serving(memory=1024), _serving(memory=6144)]
    assert _told(mps.limits_are_the_stacks, fake) == [
        f"pass: {FIRST} of gpu-1 gives a slice 6144 MiB and 25 % of its threads"
    ]


def test_limits_that_nobody_tells_are_not_known(fake: FakeCluster) -> None:
    fake.logs[DAEMON] = ["time=2026-11-29T12:57:24Z level=info msg=serving gpu=GPU-1 memory_mib=cut"]
    (told,) = _told(mps.limits_are_the_stacks, fake)
    assert told.startswith("skip: which limits slices of gpu-1 have is not known")


def test_a_plugin_that_still_makes_time_slices_is_found(fake: FakeCluster) -> None:
    fake.logs[PLUGIN] = _loaded(SLICES_OF_FOUR)
    assert _told(mps.plugins_send_pods_to_the_daemon, fake) == [
        "fail: the device plugin on gpu-1 shares by time slicing, and its pods run on the bare GPU"
    ]


def test_a_plugin_that_shares_nothing_is_found(fake: FakeCluster) -> None:
    fake.logs[PLUGIN] = _loaded({"timeSlicing": {}})
    assert _told(mps.plugins_send_pods_to_the_daemon, fake) == [
        "fail: the device plugin on gpu-1 shares no GPU, and its pods run on the bare GPU"
    ]


def test_a_plugin_whose_log_says_nothing_is_not_judged(fake: FakeCluster) -> None:
    fake.logs[PLUGIN] = []
    assert _told(mps.plugins_send_pods_to_the_daemon, fake) == [
        "skip: how the device plugin on gpu-1 shares is not known: its log does not say"
    ]


def test_a_plugin_that_sends_pods_to_another_daemon_is_found(fake: FakeCluster) -> None:
    fake.logs[PLUGIN] = _loaded(MPS_OF_FOUR, "/run/nvidia/mps")
    assert _told(mps.plugins_send_pods_to_the_daemon, fake) == [
        "fail: the device plugin on gpu-1 sends its pods to a daemon in /run/nvidia/mps, "
        "and the stack's is in /var/run/gpu-mps"
    ]


def test_a_pod_that_began_after_the_daemon_is_a_client(fake: FakeCluster) -> None:
    _began(fake.add_pod("trainer", "gpu-1", "team", **{"nvidia.com/gpu": 1}), "2026-01-01T00:00:01Z")
    fake.logs[DAEMON].append(_serving(clients=1))
    assert _told(mps.pods_are_clients, fake) == ["pass: 1 pod of gpu-1 with slices by MPS; 1 program is connected"]


def test_a_pod_of_before_the_daemon_has_no_limit(fake: FakeCluster) -> None:
    _began(fake.add_pod("notebook", "gpu-1", "team", **{"nvidia.com/gpu": 1}), "2025-12-31T23:59:59Z")
    _began(fake.add_pod("trainer", "gpu-1", "team", **{"nvidia.com/gpu": 1}), "2026-01-01T00:00:01Z")
    (found,) = _results(mps.pods_are_clients, fake)
    assert (found.outcome, found.fact) == (
        "fail",
        "1 pod of gpu-1 has a slice since before its MPS daemon, and no limit: team/notebook",
    )
    assert found.remedy == "kubectl --context admin@lab delete pod -n team notebook"


def test_a_pod_whose_last_container_began_after_the_daemon_is_a_client(fake: FakeCluster) -> None:
    """Which of its containers uses the GPU is not known."""
    pod = fake.add_pod("trainer", "gpu-1", "team", **{"nvidia.com/gpu": 1})
    _began(pod, "2025-12-31T23:59:59Z")
    later = {"name": "later", "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}}
    pod["status"]["containerStatuses"].append(pod["status"]["containerStatuses"][0] | later)
    assert _told(mps.pods_are_clients, fake) == ["pass: 1 pod of gpu-1 with slices by MPS; 0 programs are connected"]


def test_without_a_daemon_it_is_not_known_which_pods_have_a_limit(fake: FakeCluster) -> None:
    del fake.pod_objects[DAEMON]
    (told,) = _told(mps.pods_are_clients, fake)
    assert told.startswith("skip: which pods of gpu-1 have a limit is not known: no MPS daemon runs on gpu-1")


def test_a_pod_with_a_whole_gpu_is_no_client() -> None:
    stack = _settings(nodes=[{"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "wholeGpus": 1}])
    fake = healthy(stack, {"gpu-1": {"nvidia.com/gpu": 1, "nvidia.com/gpu.shared": 4}})
    _began(fake.add_pod("whole", "gpu-1", "team", **{"nvidia.com/gpu": 1}), "2025-12-31T23:59:59Z")
    assert _told(mps.pods_are_clients, fake, stack) == [
        "pass: 0 pods of gpu-1 with slices by MPS; 0 programs are connected"
    ]


def test_a_driver_whose_users_take_turns_is_told(fake: FakeCluster) -> None:
    fake.logs[DAEMON].insert(0, 'time=2026-11-29T12:57:24Z level=warn msg=single_user message="take turns"')
    assert _told(mps.daemons_serve, fake) == ["pass: the MPS daemon on gpu-1 serves, one user at a time"]
