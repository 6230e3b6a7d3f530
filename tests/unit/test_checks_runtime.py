"""nvidia-smi inside pods: the stack's own, and those that hold a slice."""

import pytest

from gpuctl.checks import runtime
from gpuctl.checks.model import Check, Outcome, Result, Subject
from gpuctl.cluster import AccessDeniedError, Executed, UnreachableError
from tests.fixtures.checks import context_of, results_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.knowledge import unnoticed

LISTING = "GPU 0: NVIDIA GeForce RTX 3090 (UUID: GPU-dc0c82b9-9f8d-5ade-9c8d-46216b68816b)\n"
FINE = Executed(LISTING, "", 0)


def cluster(own: Executed = FINE, theirs: Executed = FINE) -> FakeCluster:
    """A healthy cluster with a pod on a slice of gpu-1; what nvidia-smi does in the plugin's pod there, and in that."""
    fake = healthy(settings_of())
    fake.commands |= {f"nvidia-device-plugin-{node}": lambda _: FINE for node in ("gpu-1", "gpu-2")}
    fake.commands["nvidia-device-plugin-gpu-1"] = lambda _: own
    fake.add_pod("trainer", "gpu-1", "default", **{"nvidia.com/gpu": 1})
    fake.commands["trainer"] = lambda _: theirs
    return fake


def first(check: Check, fake: FakeCluster) -> Result:
    return results_of(check, context_of(fake))[0]


@pytest.mark.parametrize("check", runtime.CHECKS, ids=lambda check: check.id)
def test_a_driver_that_answers_passes(check: Check) -> None:
    assert {found.outcome for found in results_of(check, context_of(cluster()))} == {Outcome.PASS}


@pytest.mark.parametrize("check", runtime.CHECKS, ids=lambda check: check.id)
def test_only_the_doctor_enters_pods(check: Check) -> None:
    assert check.deep


def test_two_versions_of_a_driver_are_told_apart_from_other_failures() -> None:
    fake = cluster(own=Executed("Failed to initialize NVML: Driver/library version mismatch\nNVML: 580\n", "", 18))
    assert first(runtime.driver_answers, fake) == Result(
        Outcome.FAIL,
        "nvidia-smi on gpu-1 ends with 18: Failed to initialize NVML: Driver/library version mismatch",
        Subject("gpu-1"),
        "talosctl -n gpu-1 get extensions",
        "kernel modules and libraries of the driver are of two versions",
    )


CAUSES = {
    9: "the NVIDIA driver is not loaded on the node",
    12: "the driver's library is not in the pod: driver and toolkit of the node do not fit together",
    127: "the NVIDIA runtime mounted no nvidia-smi: its handler is not that of the RuntimeClass, or not installed",
    3: "",
}


def _has_cause(code: int) -> None:
    found = first(runtime.driver_answers, cluster(own=Executed("", "no luck\n", code)))
    assert (found.fact, found.cause) == (f"nvidia-smi on gpu-1 ends with {code}: no luck", CAUSES[code])


@pytest.mark.parametrize("code", CAUSES)
def test_the_exit_code_of_nvidia_smi_says_the_cause(code: int) -> None:
    _has_cause(code)


def test_no_exit_code_can_be_forgotten() -> None:
    table = runtime._CAUSES  # pyright: ignore[reportPrivateUsage]
    assert unnoticed(table, {code: lambda code=code: _has_cause(code) for code in table}) == []


def test_a_driver_that_has_lost_a_gpu_works() -> None:
    """Which one it is, and that it is gone, is for the checks of GPUs to say."""
    found = first(runtime.driver_answers, cluster(own=Executed("GPU is lost\n", "", 15)))
    assert (found.outcome, found.fact) == (Outcome.PASS, "the driver on gpu-1 answers that a GPU is lost")


def test_a_plugin_that_does_not_run_cannot_be_asked() -> None:
    fake = cluster()
    del fake.pod_objects["nvidia-device-plugin-gpu-1"]
    found = first(runtime.driver_answers, fake)
    assert (found.outcome, found.fact) == (Outcome.SKIP, "no device plugin runs on gpu-1")


def test_a_pod_that_has_lost_its_gpu_is_named_with_the_way_out() -> None:
    fake = cluster(theirs=Executed("Failed to initialize NVML: Unknown Error\n", "", 255))
    assert first(runtime.users_see_their_gpu, fake) == Result(
        Outcome.FAIL,
        "nvidia-smi in default/trainer ends with 255: Failed to initialize NVML: Unknown Error",
        Subject("gpu-1", kind="pod", name="default/trainer"),
        "kubectl --context admin@lab delete pod -n default trainer",
    )


def test_a_pod_without_nvidia_smi_cannot_be_judged() -> None:
    fake = cluster(theirs=Executed("", "sh: nvidia-smi: not found\n", 127))
    assert first(runtime.users_see_their_gpu, fake).outcome is Outcome.SKIP


def test_a_pod_that_cannot_be_entered_does_not_end_the_run() -> None:
    """The API server answers 500 where there is no such program: that is not the cluster's failure."""
    fake = cluster()
    fake.failures["execute"] = UnreachableError('exec: "nvidia-smi": executable file not found in $PATH')
    for check in runtime.CHECKS:
        found = first(check, fake)
        assert (found.outcome, "executable file not found" in found.fact) == (Outcome.SKIP, True)


def test_who_may_not_enter_pods_is_told_once() -> None:
    fake = cluster()
    fake.failures["execute"] = AccessDeniedError("pods/exec is forbidden")
    for check in runtime.CHECKS:
        with pytest.raises(AccessDeniedError):
            results_of(check, context_of(fake))


def test_the_container_that_holds_the_slice_is_entered() -> None:
    fake = cluster()
    containers = fake.pod_objects["trainer"]["spec"]["containers"]
    containers.insert(0, {"name": "proxy"})
    assert first(runtime.users_see_their_gpu, fake).outcome is Outcome.PASS
    assert fake.entered == ["main"]


@pytest.mark.parametrize(("policy", "outcome"), [("Always", Outcome.PASS), ("", Outcome.SKIP)])
def test_a_sidecar_may_hold_the_slice_and_what_only_started_with_it_holds_none(policy: str, outcome: Outcome) -> None:
    fake = cluster()
    spec = fake.pod_objects["trainer"]["spec"]
    spec["initContainers"] = [spec["containers"][0] | {"name": "side", "restartPolicy": policy}]
    spec["containers"] = [{"name": "main"}]
    assert first(runtime.users_see_their_gpu, fake).outcome is outcome
    assert fake.entered == (["side"] if outcome is Outcome.PASS else [])


def test_a_cluster_without_gpu_pods_has_nothing_to_enter() -> None:
    fake = cluster()
    del fake.pod_objects["trainer"]
    found = first(runtime.users_see_their_gpu, fake)
    assert (found.outcome, found.fact) == (Outcome.SKIP, "no pod holds a slice")
