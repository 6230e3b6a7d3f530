"""The coexistence proof on a cluster in memory: what it sees, what it makes, and that nothing of it stays."""

from collections.abc import Callable
from typing import Any

import pytest

from gpuctl.cluster import AccessDeniedError, ClusterError, Manifest, UnreachableError
from gpuctl.desired.desired import desired_state
from gpuctl.desired.sharing import RESOURCE
from gpuctl.settings import Settings
from gpuctl.sharing import proof, proof_namespace, proof_pods
from gpuctl.sharing.manifests import BEAT, NAME, namespace, priority_class
from gpuctl.sharing.proof import Proof, Request
from gpuctl.sharing.proof_namespace import StoppedError
from gpuctl.sharing.record import Record
from tests.fixtures.checks import settings_of
from tests.fixtures.sharing_cluster import SharingCluster, Stop, refusing, sharing_cluster


@pytest.fixture
def settings() -> Settings:
    """gpu-1 with 2 GPUs and gpu-2 with one, 4 slices each."""
    return settings_of()


@pytest.fixture
def cluster(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> SharingCluster:
    found = sharing_cluster(settings)
    for module in (proof_pods, proof_namespace, proof):
        monkeypatch.setattr(module, "time", found.clock)
    return found


def _prove(
    cluster: SharingCluster,
    settings: Settings,
    say: Callable[[str], None] = lambda _: None,
    **request: Any,
) -> Record:
    return Proof(Request(**request), say, Stop(cluster.clock))(cluster, desired_state(settings))


def _left(cluster: SharingCluster) -> list[str]:
    """What the proof made and is still there, except for what a namespace takes with it."""
    kinds = ("Namespace", "PriorityClass")
    objects = [name for kind, _, name in cluster.objects if kind in kinds and name.startswith(NAME)]
    return objects + [
        pod for pod, found in cluster.pod_objects.items() if found["metadata"]["namespace"].startswith(NAME)
    ]


def test_every_slice_runs_a_pod_and_each_gpu_serves_its_slices(cluster: SharingCluster, settings: Settings) -> None:
    record = _prove(cluster, settings)
    first, second = record.nodes
    assert record.tally(first) == {"GPU-1a": 4, "GPU-1b": 4}
    assert record.tally(second) == {"GPU-2a": 4}
    assert len([pod for pod in record.pods if pod.finished]) == 12


def test_all_pods_run_before_the_first_one_is_let_go(cluster: SharingCluster, settings: Settings) -> None:
    record = _prove(cluster, settings)
    assert record.together
    assert max(pod.started for pod in record.pods) < min(pod.finished for pod in record.pods)


def test_one_pod_more_waits_for_a_slice_in_the_schedulers_own_words(
    cluster: SharingCluster, settings: Settings
) -> None:
    (extra,) = _prove(cluster, settings).extras
    assert (extra.phase, extra.node) == ("Pending", "")
    assert f"2 Insufficient {RESOURCE}" in extra.message
    assert extra.events == (f"FailedScheduling: {extra.message}",)
    assert extra.seconds >= 5


def test_the_pod_more_is_gone_before_a_slice_becomes_free(
    cluster: SharingCluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, there = cluster.apply, list[bool]()

    def watched(manifest: Manifest) -> None:
        if manifest["kind"] == "Pod":
            there.append("one-more" in cluster.pod_objects)
        apply(manifest)

    monkeypatch.setattr(cluster, "apply", watched)
    _prove(cluster, settings)
    assert there == [False] * 12


def test_a_pod_without_a_request_looks_on_every_node(cluster: SharingCluster, settings: Settings) -> None:
    record = _prove(cluster, settings)
    assert [(pod.node, pod.visible, pod.sees, pod.device_files) for pod in record.without] == [
        ("gpu-1", "", (), ()),
        ("gpu-2", "", (), ()),
    ]


def test_a_cuda_program_runs_in_every_slice(cluster: SharingCluster, settings: Settings) -> None:
    record = _prove(cluster, settings)
    assert [run.passed for run in record.cuda] == [True] * 12
    assert record.cuda[0].said == "[Vector addition]\nTest PASSED"


def test_a_cuda_program_that_says_something_else_has_not_passed(cluster: SharingCluster, settings: Settings) -> None:
    cluster.cuda_says = "Test FAILED"
    assert {run.passed for run in _prove(cluster, settings).cuda} == {False}


def test_without_its_image_no_cuda_program_runs_and_the_reason_is_kept(
    cluster: SharingCluster, settings: Settings
) -> None:
    cluster.pull_failure = "no such host"
    record = _prove(cluster, settings, cuda_image="registry.example/cuda")
    assert record.cuda == ()
    assert record.cuda_skipped == "registry.example/cuda cannot be had on gpu-1: ImagePullBackOff: no such host"


def test_a_slice_whose_pod_does_not_end_gets_no_cuda_program(cluster: SharingCluster, settings: Settings) -> None:
    cluster.deaf = {"share-2"}
    record = _prove(cluster, settings)
    assert ([pod.name for pod in record.pods if not pod.finished], len(record.cuda)) == (["share-2"], 11)


def test_no_cuda_program_runs_unless_it_is_asked_for(cluster: SharingCluster, settings: Settings) -> None:
    record = _prove(cluster, settings, cuda_image="")
    assert (record.cuda, record.cuda_skipped) == ((), "no image was given for it")


def test_one_node_can_be_proven_alone(cluster: SharingCluster, settings: Settings) -> None:
    record = _prove(cluster, settings, nodes=("gpu-2",))
    assert [node.name for node in record.nodes] == ["gpu-2"]
    assert {pod.node for pod in record.pods} == {"gpu-2"}
    (extra,) = record.extras
    assert f"1 Insufficient {RESOURCE}" in extra.message


def test_the_kubelet_is_asked_first_which_gpu_a_pod_has_and_then_the_pod(
    cluster: SharingCluster, settings: Settings
) -> None:
    cluster.reports_devices = False
    record = _prove(cluster, settings)
    assert {pod.device for pod in record.pods} == {""}
    assert record.tally(record.nodes[0]) == {"GPU-1a": 4, "GPU-1b": 4}


def test_slices_of_others_are_left_alone_and_counted_where_the_kubelet_names_their_gpu(
    cluster: SharingCluster, settings: Settings
) -> None:
    cluster.take("gpu-1", "GPU-1a", 3)
    record = _prove(cluster, settings)
    assert (record.nodes[0].free, len(record.pods_on(record.nodes[0]))) == (5, 5)
    assert record.tally(record.nodes[0]) == {"GPU-1a": 4, "GPU-1b": 4}
    assert "other-GPU-1a" in cluster.pod_objects


def test_a_pod_that_is_over_takes_no_slice(cluster: SharingCluster, settings: Settings) -> None:
    cluster.take("gpu-1", "GPU-1a", 3)
    cluster.pod_objects["other-GPU-1a"]["status"]["phase"] = "Succeeded"
    assert _prove(cluster, settings).nodes[0].free == 8


def test_of_whom_the_kubelet_does_not_name_the_gpu_nothing_is_known(
    cluster: SharingCluster, settings: Settings
) -> None:
    cluster.reports_devices = False
    cluster.take("gpu-1", "GPU-1a", 3)
    assert _prove(cluster, settings).nodes[0].others is None


def test_a_pod_more_is_tried_where_all_slices_are_taken_by_others(cluster: SharingCluster, settings: Settings) -> None:
    for uuid in ("GPU-1a", "GPU-1b"):
        cluster.take("gpu-1", uuid, 4)
    record = _prove(cluster, settings, nodes=("gpu-1",))
    assert (record.pods, [extra.phase for extra in record.extras]) == ((), ["Pending"])


def test_a_pod_that_its_kubelet_refuses_is_named_with_the_reason(cluster: SharingCluster, settings: Settings) -> None:
    cluster.refuses = {"share-3"}
    record = _prove(cluster, settings)
    broken = {pod.name: pod.problem for pod in record.pods if pod.problem}
    assert broken == {"share-3": "UnexpectedAdmissionError: no healthy devices"}
    assert record.together == ""
    assert record.extras == (), "there is a free slice"


def test_a_pod_that_never_starts_is_waited_for_with_patience_and_then_told(
    cluster: SharingCluster, settings: Settings
) -> None:
    node = cluster.node_objects["gpu-2"]
    cluster.take("gpu-2", "GPU-2a", 1)
    cluster.pod_objects["other-GPU-2a"]["spec"]["containers"][0]["resources"] = {}  # unseen by the proof
    said: list[str] = []
    record = _prove(cluster, settings, said.append)
    assert node["status"]["allocatable"][RESOURCE] == "4"
    assert 60 <= cluster.clock.now < 120
    (late,) = [pod for pod in record.pods if not pod.started]
    assert late.problem.count("Insufficient nvidia.com/gpu") == 2, "in the condition and in the event"
    assert any(line.startswith("11 of 12 pods run; not yet share-12: Unschedulable") for line in said)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"spec": {"unschedulable": True}}, "is cordoned"),
        ({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, "is not Ready"),
    ],
)
def test_no_pod_goes_to_a_node_that_takes_none(
    cluster: SharingCluster, settings: Settings, change: dict[str, Any], problem: str
) -> None:
    cluster.node_objects["gpu-2"] |= {key: cluster.node_objects["gpu-2"][key] | value for key, value in change.items()}
    record = _prove(cluster, settings)
    assert record.nodes[1].problem == problem
    assert {pod.node for pod in (*record.pods, *record.without)} == {"gpu-1"}


def test_a_node_that_is_not_there_is_told(cluster: SharingCluster, settings: Settings) -> None:
    del cluster.node_objects["gpu-2"]
    assert _prove(cluster, settings).nodes[1].problem == "is not in the cluster"


def test_nothing_of_the_proof_is_left(cluster: SharingCluster, settings: Settings) -> None:
    record = _prove(cluster, settings)
    assert (record.left, _left(cluster)) == ((), [])


@pytest.mark.parametrize("method", ["pods", "apply", "list", "log"])
def test_nothing_is_left_when_the_cluster_stops_answering_on_the_way(
    cluster: SharingCluster, settings: Settings, method: str
) -> None:
    def say(line: str) -> None:
        if line.startswith("making pod"):
            cluster.failures[method] = UnreachableError("gone")

    with pytest.raises(UnreachableError):
        _prove(cluster, settings, say)
    assert _left(cluster) == []


@pytest.mark.parametrize("method", ["create", "delete"])
def test_nothing_is_left_when_the_cluster_answers_now_and_then(
    cluster: SharingCluster, settings: Settings, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = getattr(cluster, method), list[object]()

    def sometimes(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise UnreachableError("gone")
        real(*args, **kwargs)

    monkeypatch.setattr(cluster, method, sometimes)
    try:
        _prove(cluster, settings)
    except UnreachableError:
        assert method == "create"
    assert _left(cluster) == []


@pytest.mark.parametrize("at", ["making pod 3", "making pod 1 of 1", "removing"])
def test_an_interrupted_run_leaves_nothing(cluster: SharingCluster, settings: Settings, at: str) -> None:
    stop = Stop(cluster.clock)

    def say(line: str) -> None:
        if line.startswith(at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Proof(Request(), say, stop)(cluster, desired_state(settings))
    assert _left(cluster) == []


def test_a_run_that_is_told_to_stop_leaves_nothing(cluster: SharingCluster, settings: Settings) -> None:
    stop = Stop(cluster.clock)

    def say(line: str) -> None:
        if line.startswith("making pod 3"):
            stop.set()

    with pytest.raises(StoppedError):
        Proof(Request(), say, stop)(cluster, desired_state(settings))
    assert _left(cluster) == []


def test_what_a_killed_run_left_is_removed_first(cluster: SharingCluster, settings: Settings) -> None:
    cluster.add(namespace("gpu-sharing-proof-old"))
    cluster.add(priority_class("gpu-sharing-proof-old"))
    cluster.add(priority_class("gpu-sharing-proof-older"))
    said: list[str] = []
    record = _prove(cluster, settings, said.append)
    assert _left(cluster) == []
    assert "removing what an earlier run left: namespace gpu-sharing-proof-old" in said
    assert len(record.pods) == 12


def test_a_run_of_someone_else_is_waited_for(cluster: SharingCluster, settings: Settings) -> None:
    cluster.add(namespace("gpu-sharing-proof-other"))
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("waiting for another run"):
            if cluster.clock.now < 100:
                cluster.beat("gpu-sharing-proof-other")
            else:
                del cluster.objects["Namespace", None, "gpu-sharing-proof-other"]

    _prove(cluster, settings, say)
    assert cluster.clock.now > 100
    assert not any(line.startswith("removing what an earlier run left") for line in said)


def test_a_run_shows_that_it_lives(cluster: SharingCluster, settings: Settings) -> None:
    beats: list[str] = []

    def say(line: str) -> None:
        if line.startswith("removing what the proof"):
            beats.extend(
                found["metadata"]["annotations"][BEAT]
                for (kind, _, name), found in cluster.objects.items()
                if kind == "Namespace" and name.startswith(NAME)
            )

    _prove(cluster, settings, say)
    assert int(beats[0]) >= 1


@pytest.mark.parametrize("denied", ["delete Namespace", "create Pod", "get Pod log"])
def test_nothing_is_begun_that_may_not_be_ended(cluster: SharingCluster, settings: Settings, denied: str) -> None:
    cluster.forbidden = {denied}
    with pytest.raises(AccessDeniedError, match=f"you may not: {denied}"):
        _prove(cluster, settings)
    assert "create" not in cluster.calls


@pytest.mark.parametrize("kind", ["Pod", "Namespace", "PriorityClass"])
def test_a_cluster_that_refuses_the_objects_is_quoted(cluster: SharingCluster, settings: Settings, kind: str) -> None:
    refusing(cluster, kind, "policy says no")
    assert _prove(cluster, settings).refused == "policy says no"
    assert _left(cluster) == []


def test_what_does_not_go_away_is_named(
    cluster: SharingCluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(kind: str, name: str, *_: object) -> None:
        if kind == "Namespace":
            cluster.objects[kind, None, name]["metadata"]["deletionTimestamp"] = "now"
        else:
            SharingCluster.delete(cluster, kind, name, *_)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(cluster, "delete", delete)
    record = _prove(cluster, settings)
    assert record.left == (f"Namespace {record.namespace}",)


def test_a_leftover_that_does_not_go_away_ends_the_run_before_it_begins(
    cluster: SharingCluster, settings: Settings
) -> None:
    cluster.add(namespace("gpu-sharing-proof-old"))
    cluster.failures["delete"] = UnreachableError("no")
    with pytest.raises(ClusterError, match="an earlier run left Namespace gpu-sharing-proof-old, which does not go"):
        _prove(cluster, settings)
    assert "create" not in cluster.calls
