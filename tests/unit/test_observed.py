"""What is seen of live objects: why a pod does not run, who holds which GPU, what the device plugin's log says."""

from typing import Any

import msgspec
import pytest

from gpuctl.cluster import Node, Pod
from gpuctl.observed import devices
from gpuctl.observed.nodes import Amount, gpu_resources, is_nvidia_gpu, is_phantom, talos_release, why_not_ready
from gpuctl.observed.plugin_log import RESET_XIDS, loaded_config, replicas, unhealthy_gpus
from gpuctl.observed.pods import (
    PodProblem,
    State,
    Warned,
    cannot_be_pulled,
    last_words,
    pod_problem,
    unschedulable,
    warnings,
)
from tests.fixtures.knowledge import unnoticed

GPU = "nvidia.com/gpu"
FIRST, SECOND = "GPU-dc0c82b9-9f8d-5ade-9c8d-46216b68816b", "GPU-69e0eefb-7fa6-58a3-9547-4b2f2738e885"
READY = [{"type": "Ready", "status": "True"}]


def pod(name: str = "trainer", *, slices: int = 0, held: tuple[str, ...] = (), **status: Any) -> Pod:
    container = {"name": "main", "resources": {"limits": {GPU: str(slices)} if slices else {}}}
    if held:
        resources = [{"resourceID": each, "health": "Healthy"} for each in held]
        status = {
            "containerStatuses": [{"name": "main", "allocatedResourcesStatus": [{"name": GPU, "resources": resources}]}]
        } | status
    metadata = {"name": name, "namespace": "team", "uid": name}
    return msgspec.convert(
        {
            "metadata": metadata,
            "spec": {"nodeName": "gpu-1", "containers": [container]},
            "status": {"phase": "Running"} | status,
        },
        Pod,
    )


def state(**container: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "main"} | container]}


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ({"conditions": READY}, None),
        ({"phase": "Succeeded"}, None),
        (
            state(state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off\n pulling"}}),
            PodProblem(State.WAITING, "ImagePullBackOff", "Back-off\n pulling"),
        ),
        (
            state(
                state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
                lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            ),
            PodProblem(State.CRASHING, "CrashLoopBackOff", "back-off 5m0s", "OOMKilled, exit code 137 (SIGKILL)"),
        ),
        (
            state(state={"terminated": {"exitCode": 2, "reason": "Error"}}),
            PodProblem(State.ENDED, "Error", "", "exit code 2"),
        ),
        (state(state={"running": {}}), PodProblem(State.UNREADY)),
        (
            {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no healthy devices"},
            PodProblem(State.NOT_STARTED, "UnexpectedAdmissionError", "no healthy devices"),
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "taint"}
                ]
            },
            PodProblem(State.NOT_STARTED, "Unschedulable", "taint"),
        ),
    ],
    ids=["ready", "over", "waits", "crashes", "ended", "unready", "refused", "unscheduled"],
)
def test_why_a_pod_does_not_do_its_work(status: dict[str, Any], problem: PodProblem | None) -> None:
    assert pod_problem(pod(**status)) == problem


@pytest.mark.parametrize(
    ("reason", "never"),
    [
        ("ImagePullBackOff", True),
        ("InvalidImageName", True),
        ("ErrImageNeverPull", True),
        ("ErrImagePull", False),
        ("ContainerCreating", False),
    ],
)
def test_an_image_that_is_not_there_is_told_from_one_that_is_on_its_way(reason: str, never: bool) -> None:
    """The first try of a pull is no verdict: the kubelet tries again, and backs off only then."""
    assert cannot_be_pulled(pod(**state(state={"waiting": {"reason": reason}}))) is never


def test_a_problem_is_one_line() -> None:
    assert (
        PodProblem(State.WAITING, "ImagePullBackOff", "Back-off\n pulling").why == "ImagePullBackOff: Back-off pulling"
    )
    assert PodProblem(State.ENDED, exit="exit code 2").why == "exit code 2"


@pytest.mark.parametrize(
    ("log", "ended", "said"),
    [
        (["E1125 main.go:173] no NVML"], "exit code 1", "E1125 main.go:173] no NVML"),
        (["I1128 20:01:07 main.go:1] Ignoring the following XIDs"], "exit code 1", "exit code 1"),
        (["time=2026-01-01T00:00:00Z level=info msg=sample"], "exit code 1", "exit code 1"),
        (['{"level":"info","msg":"started"}'], "exit code 1", "exit code 1"),
        (["panic: boom"], "exit code 137 (SIGKILL)", "exit code 137 (SIGKILL)"),
        ([], "", "back-off 5m0s"),
    ],
    ids=["an error", "information of klog", "of logfmt", "of JSON", "killed", "nothing"],
)
def test_the_last_words_of_a_program_are_no_reason_when_they_are_innocent(
    log: list[str], ended: str, said: str
) -> None:
    """What is killed writes nothing of it, so the line before is about something else."""
    assert last_words(PodProblem(State.CRASHING, "CrashLoopBackOff", "back-off 5m0s", ended), log) == said


def test_a_pod_with_a_node_does_not_wait_for_one() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "Insufficient nvidia.com/gpu"}
    waiting = msgspec.convert({"metadata": {"name": "a"}, "status": {"conditions": [condition]}}, Pod)
    assert unschedulable(waiting) == "Insufficient nvidia.com/gpu"
    assert unschedulable(pod(conditions=[condition])) == ""


def test_warnings_are_told_once_each_and_the_newest_last() -> None:
    def event(message: str, time: str, **more: str) -> dict[str, Any]:
        return {
            "involvedObject": {"kind": "Pod", "name": "a"},
            "reason": "Failed",
            "message": message,
            "lastTimestamp": time,
        } | more

    found = warnings([event("new", "3"), event("old", "1"), event("old", "2"), event("fine", "4", type="Normal"), {}])
    assert found["Pod", "a"] == [Warned("Failed", "old"), Warned("Failed", "new")]


def test_the_pods_of_a_gpu_are_counted_by_slice() -> None:
    both, one = pod("both", slices=2, held=(f"{FIRST}::0", f"{SECOND}::3")), pod("one", slices=1, held=(f"{FIRST}::1",))
    found = devices.usage([both, one], GPU)
    assert {gpu: [each.name for each in pods] for gpu, pods in found.pods.items()} == {
        FIRST: ["both", "one"],
        SECOND: ["both"],
    }
    assert found.is_complete
    assert devices.held([both, one], GPU) == 3


def test_who_holds_what_is_not_known_when_a_kubelet_reports_less_than_was_asked_for() -> None:
    assert not devices.usage([pod("a", slices=2, held=(f"{FIRST}::0",))], GPU).is_complete
    assert not devices.usage([pod("a", slices=1)], GPU).is_complete
    assert devices.usage([], GPU).is_complete


def test_a_whole_gpu_is_known_by_its_uuid_too() -> None:
    (device,) = devices.devices(pod(slices=1, held=(FIRST,)), GPU)
    assert (device.gpu, device.is_healthy) == (FIRST, True)


def test_pods_that_are_over_hold_nothing() -> None:
    assert devices.users([pod("a", slices=1), pod("b", slices=1, phase="Succeeded"), pod("c")], GPU).keys() == {"gpu-1"}
    assert [each.name for each in devices.users([pod("a", slices=1), pod("c")], GPU)["gpu-1"]] == ["a"]


def node(capacity: dict[str, str] | None = None, **info: str) -> Node:
    status = {"capacity": capacity or {}, "allocatable": capacity or {}, "nodeInfo": info}
    return msgspec.convert({"metadata": {"name": "gpu-1"}, "status": status}, Node)


def test_what_a_node_has_of_gpu_vendors() -> None:
    found = gpu_resources(node({"cpu": "8", GPU: "8", "nvidia.com/mig-1g.10gb": "6", "amd.com/gpu": "0"}))
    assert found == {GPU: Amount(8, 8), "nvidia.com/mig-1g.10gb": Amount(6, 6), "amd.com/gpu": Amount(0, 0)}


@pytest.mark.parametrize(
    ("resource", "is_gpu"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/gpu.shared", True),
        ("nvidia.com/mig-1g.10gb", True),
        ("nvidia.com/a100.shared", True),
        ("nvidia.com/hostdev", False),
        ("amd.com/gpu", False),
    ],
)
def test_which_resources_are_nvidia_gpus(resource: str, is_gpu: bool) -> None:
    assert is_nvidia_gpu(resource) is is_gpu


def test_a_node_without_a_kubelet_is_a_phantom() -> None:
    assert is_phantom(node())
    assert not is_phantom(node(kubeletVersion="v1.34.2"))
    assert why_not_ready(node()) == "its kubelet has reported nothing"


def test_the_talos_release_is_read_from_the_os_image() -> None:
    assert talos_release(node(osImage="Talos (v1.13.9)")) == "v1.13.9"
    assert talos_release(node(osImage="Debian GNU/Linux 12")) is None


MEANINGS = {
    48: "a double-bit ECC error",
    62: "an internal micro-controller halt",
    64: "a failure to retire memory",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    95: "an uncontained ECC error",
    119: "the GPU's system processor does not answer",
    120: "an error of the GPU's system processor",
}


def _means(xid: int) -> None:
    line = f"I1125 health.go:169] XidCriticalError: Xid={xid} on Device={FIRST}::3; marking device as unhealthy."
    (found,) = unhealthy_gpus([line])
    assert (found.uuid, found.reason, found.needs_reset) == (FIRST, f"Xid {xid} ({MEANINGS[xid]})", True)


@pytest.mark.parametrize("xid", MEANINGS)
def test_an_xid_that_needs_a_reset_is_known_with_its_meaning(xid: int) -> None:
    _means(xid)


def test_no_xid_can_be_forgotten() -> None:
    assert unnoticed(RESET_XIDS, {xid: lambda xid=xid: _means(xid) for xid in MEANINGS}) == []


@pytest.mark.parametrize(
    ("line", "uuid", "reason", "needs_reset"),
    [
        (f"Marking device {FIRST}::2 as unhealthy: nvml says so", FIRST, "nvml says so", False),
        (
            "Error waiting for event: GPU is lost; Marking all devices as unhealthy",
            "",
            "Error waiting for event: GPU is lost",
            True,
        ),
        (
            "Failed to determine uuid for event {x}: Unknown; Marking all devices as unhealthy.",
            "",
            "Failed to determine uuid for event {x}: Unknown",
            True,
        ),
    ],
)
def test_each_phrase_of_the_plugin_about_health_is_understood(
    line: str, uuid: str, reason: str, needs_reset: bool
) -> None:
    assert [tuple(each) for each in unhealthy_gpus([line])] == [(uuid, reason, needs_reset)]


def test_what_was_said_before_the_last_start_is_forgotten() -> None:
    before = f"Marking device {FIRST}::2 as unhealthy: nvml says so"
    assert unhealthy_gpus([before, "I1125 main.go:189] Starting Plugins."]) == []


def test_the_configuration_that_was_loaded_last_counts() -> None:
    def config(slices: int) -> list[str]:
        resources = f'{{"name": "nvidia.com/gpu", "replicas": {slices}}}'
        return [
            "I1125 main.go:366] ",
            "Running with config:",
            "{",
            f'"sharing": {{"timeSlicing": {{"resources": [{resources}]}}}}',
            "}",
        ]

    loaded = loaded_config([*config(4), *config(6), "I1125 main.go:369] Retrieving plugins."])
    assert loaded is not None
    assert replicas(loaded) == {GPU: 6}
    assert loaded_config(["Retrieving plugins."]) is None
    assert replicas({"version": "v1", "sharing": None}) == {}
