"""The checks of the coexistence proof, on what a cluster in memory showed it."""

import json
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from syrupy.assertion import SnapshotAssertion

from gpuctl.checks import mps, stack_file
from gpuctl.checks.context import Context
from gpuctl.checks.model import Outcome
from gpuctl.checks.report import Report
from gpuctl.checks.runner import run
from gpuctl.checks.sharing import CHECKS
from gpuctl.desired.desired import desired_state
from gpuctl.report.evidence import evidence, evidence_markdown
from gpuctl.settings import Settings
from gpuctl.sharing import proof, proof_namespace, proof_pods
from gpuctl.sharing.proof import Proof, Request
from gpuctl.sharing.record import Record
from tests.fixtures.checks import FakePrograms, settings_of
from tests.fixtures.sharing_cluster import SharingCluster, Stop, refusing, sharing_cluster
from tests.fixtures.snapshots import JsonFile, MarkdownFile

Change = Callable[[SharingCluster], None]


@pytest.fixture
def settings() -> Settings:
    """gpu-1 with 2 GPUs and gpu-2 with one, 4 slices each."""
    return settings_of()


@pytest.fixture
def cluster(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> SharingCluster:
    found = sharing_cluster(settings)
    for module in (proof_pods, proof_namespace, proof):
        monkeypatch.setattr(module, "time", found.clock)
    monkeypatch.setattr(proof, "_now", lambda: "2026-01-01T00:00:00Z")
    monkeypatch.setattr(proof.secrets, "token_hex", _always_the_same)
    return found


def _always_the_same(_: int) -> str:
    return "abcdef"


def _report(
    cluster: SharingCluster,
    settings: Settings,
    see: Callable[[Record], Record] = lambda record: record,
    cuda_image: str = "registry.example/cuda",
) -> tuple[Report, Record]:
    """What the checks say, of a record that `see` may change first."""
    prove = Proof(Request(cuda_image=cuda_image), lambda _: None, Stop(cluster.clock))
    record = see(prove(cluster, desired_state(settings)))
    context = Context("lab", lambda: settings, lambda _: cluster, FakePrograms(), lambda _, __: record)
    return run((*stack_file.CHECKS, *CHECKS), context, lambda _: None), record


def _without_hashes(record: Record) -> Record:
    """They change with every object of the stack."""
    nodes = tuple(replace(node, config_hash="1234") for node in record.nodes)
    return replace(record, objects_hash="abcd", nodes=nodes)


def _told(report: Report) -> dict[str, list[str]]:
    """What did not pass: id -> outcome and fact of each such result."""
    found: dict[str, list[str]] = {}
    for entry in report.entries:
        for result in entry.results:
            if result.outcome is not Outcome.PASS:
                found.setdefault(entry.check.id, []).append(f"{result.outcome}: {result.fact}")
    return found


def test_every_statement_holds_on_a_healthy_cluster(cluster: SharingCluster, settings: Settings) -> None:
    report, _ = _report(cluster, settings)
    assert _told(report) == {}
    facts = [result.fact for entry in report.entries for result in entry.results]
    assert "gpu-1: 2 GPUs serve 4 + 4 pods at once" in facts
    assert "12 pods ran at the same time, from 2026-01-01T00:00:00Z to 2026-01-01T00:00:05Z" in facts


def test_a_plugin_with_other_slices_than_the_stack_says_is_found(cluster: SharingCluster) -> None:
    report, _ = _report(cluster, settings_of(slices=6))
    assert _told(report) == {
        "SHR002": [
            "fail: gpu-1: 2 GPUs serve 4 + 4 pods; the stack says 2 GPUs with 6 each",
            "fail: gpu-2: 1 GPU serves 4 pods; the stack says 1 GPU with 6 each",
        ]
    }


def test_a_sick_slice_is_found(cluster: SharingCluster, settings: Settings) -> None:
    cluster.node_objects["gpu-1"]["status"]["allocatable"]["nvidia.com/gpu"] = "7"
    report, _ = _report(cluster, settings)
    assert _told(report) == {"SHR002": ["fail: gpu-1: 2 GPUs serve 4 + 3 pods; the stack says 2 GPUs with 4 each"]}


def test_a_gpu_that_serves_nobody_is_found(cluster: SharingCluster, settings: Settings) -> None:
    del cluster.gpus["gpu-1"]["GPU-1b"]
    cluster.node_objects["gpu-1"]["status"]["allocatable"]["nvidia.com/gpu"] = "4"
    report, _ = _report(cluster, settings)
    assert _told(report) == {"SHR002": ["fail: gpu-1: 1 GPU serves 4 pods; the stack says 2 GPUs with 4 each"]}


def test_a_gpu_that_serves_others_too_is_counted_with_them(cluster: SharingCluster, settings: Settings) -> None:
    cluster.take("gpu-1", "GPU-1a", 3)
    report, _ = _report(cluster, settings)
    assert _told(report) == {}
    facts = [result.fact for entry in report.entries for result in entry.results]
    assert "gpu-1: 5 pods in 5 free slices; other pods hold 3" in facts
    assert "gpu-1: 2 GPUs serve 4 + 4 pods at once, 3 of them of others" in facts


def test_a_gpu_whose_other_pods_are_unknown_is_not_judged(cluster: SharingCluster, settings: Settings) -> None:
    cluster.reports_devices = False
    cluster.take("gpu-1", "GPU-1a", 3)
    report, _ = _report(cluster, settings)
    unknown = "gpu-1: 3 slices are taken by other pods, and the kubelet does not say of which GPU"
    assert _told(report) == {"SHR002": [f"skip: {unknown}"]}


def test_a_node_that_is_all_taken_is_left_alone(cluster: SharingCluster, settings: Settings) -> None:
    cluster.take("gpu-2", "GPU-2a", 4)
    report, _ = _report(cluster, settings)
    assert _told(report) == {
        "SHR001": ["skip: all slices of gpu-2 are taken by other pods"],
        "SHR002": ["skip: no pod of the proof ran on gpu-2"],
    }


def test_a_cluster_that_is_all_taken_still_shows_that_one_more_waits(
    cluster: SharingCluster, settings: Settings
) -> None:
    for node, uuid in (("gpu-1", "GPU-1a"), ("gpu-1", "GPU-1b"), ("gpu-2", "GPU-2a")):
        cluster.take(node, uuid, 4)
    report, _ = _report(cluster, settings)
    assert sorted(_told(report)) == ["SHR001", "SHR002", "SHR003", "SHR006", "SHR007"]
    assert {entry.outcome for entry in report.entries} == {Outcome.PASS, Outcome.SKIP}


def test_a_node_that_offers_nothing_is_found(cluster: SharingCluster, settings: Settings) -> None:
    cluster.node_objects["gpu-2"]["status"]["allocatable"]["nvidia.com/gpu"] = "0"
    report, _ = _report(cluster, settings)
    assert _told(report)["SHR001"] == ["fail: gpu-2 offers no slice; the stack says 4"]


def test_a_node_that_takes_no_pod_is_found(cluster: SharingCluster, settings: Settings) -> None:
    cluster.node_objects["gpu-2"]["spec"]["unschedulable"] = True
    report, _ = _report(cluster, settings)
    assert _told(report)["SHR001"] == ["fail: gpu-2 is cordoned"]


def test_a_slice_that_no_pod_can_use_is_found(cluster: SharingCluster, settings: Settings) -> None:
    cluster.refuses = {"share-3"}
    report, _ = _report(cluster, settings)
    assert _told(report)["SHR001"] == [
        "fail: gpu-1: 7 of 8 pods run; share-3: UnexpectedAdmissionError: no healthy devices"
    ]
    assert _told(report)["SHR003"] == ["fail: not all 12 pods were running at once"]
    assert _told(report)["SHR004"] == ["skip: not every slice was taken, so an extra pod shows nothing"]


def test_a_cluster_that_refuses_the_pods_is_quoted(cluster: SharingCluster, settings: Settings) -> None:
    refusing(cluster, "Pod", "policy says no")
    report, _ = _report(cluster, settings)
    assert _told(report)["SHR001"][0] == "fail: the cluster refuses the proof's pods: policy says no"


def test_others_that_come_and_go_spoil_the_count(cluster: SharingCluster, settings: Settings) -> None:
    def disturbed(record: Record) -> Record:
        extras = tuple(replace(extra, node="gpu-1", phase="Running") for extra in record.extras)
        return replace(record, nodes=(replace(record.nodes[0], busy_after=1), record.nodes[1]), extras=extras)

    report, _ = _report(cluster, settings, disturbed)
    assert _told(report) == {
        "SHR002": ["skip: gpu-1: other pods came or went while the proof ran"],
        "SHR004": ["skip: other pods went while the proof ran, so an extra pod found room"],
    }


def test_a_pod_whose_gpu_nobody_knows_is_not_counted(cluster: SharingCluster, settings: Settings) -> None:
    def nameless(record: Record) -> Record:
        return replace(record, pods=tuple(replace(pod, device="", visible="", sees=()) for pod in record.pods))

    report, _ = _report(cluster, settings, nameless)
    assert _told(report)["SHR002"][0] == "skip: gpu-1: neither the kubelet nor the pods say which GPU they have"


def test_pods_that_did_not_run_at_the_same_time_are_found(cluster: SharingCluster, settings: Settings) -> None:
    def late(record: Record) -> Record:
        return replace(record, pods=(*record.pods[:-1], replace(record.pods[-1], started="2026-01-01T00:09:00Z")))

    report, _ = _report(cluster, settings, late)
    assert _told(report)["SHR003"] == [
        "fail: share-1 ended at 2026-01-01T00:00:05Z, before share-12 began at 2026-01-01T00:09:00Z"
    ]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"node": "gpu-1"}, "fail: an extra pod runs on gpu-1, although all of its slices are taken"),
        ({"message": "0/3 nodes: 3 Insufficient cpu"}, "fail: an extra pod is Pending, but not for nvidia.com/gpu"),
    ],
)
def test_one_pod_more_must_wait_for_a_gpu_and_for_nothing_else(
    cluster: SharingCluster, settings: Settings, change: dict[str, str], fact: str
) -> None:
    def changed(record: Record) -> Record:
        return replace(record, extras=tuple(replace(extra, **change) for extra in record.extras))

    report, _ = _report(cluster, settings, changed)
    assert _told(report)["SHR004"][0].startswith(fact)


def test_a_pod_that_sees_what_it_was_not_given_is_found(cluster: SharingCluster, settings: Settings) -> None:
    cluster.leaks = ["GPU-1b"]
    report, _ = _report(cluster, settings)
    told = _told(report)
    assert told["SHR005"][0] == "fail: gpu-1: a pod that asks for no GPU sees GPU-1b"
    assert told["SHR006"][0] == "fail: gpu-1: share-1 was given GPU-1a and sees GPU-1a, GPU-1b"


def test_a_pod_that_does_not_see_its_gpu_is_found(cluster: SharingCluster, settings: Settings) -> None:
    def blind(record: Record) -> Record:
        return replace(record, pods=(replace(record.pods[0], sees=(), answer="no driver"), *record.pods[1:]))

    report, _ = _report(cluster, settings, blind)
    assert _told(report)["SHR006"] == ["fail: gpu-1: share-1 was given GPU-1a and sees none: no driver"]


def test_device_files_are_gpus_too(cluster: SharingCluster, settings: Settings) -> None:
    def leaking(record: Record) -> Record:
        return replace(record, without=(replace(record.without[0], device_files=("/dev/nvidia0",)),))

    report, _ = _report(cluster, settings, leaking)
    assert _told(report)["SHR005"] == ["fail: gpu-1: a pod that asks for no GPU sees /dev/nvidia0"]


def test_a_pod_that_did_not_look_says_nothing(cluster: SharingCluster, settings: Settings) -> None:
    cluster.refuses = {"without-1"}
    report, _ = _report(cluster, settings)
    assert _told(report)["SHR005"] == [
        "skip: gpu-1: the pod that was to find out did not run: UnexpectedAdmissionError: no healthy devices"
    ]


def test_a_cuda_program_that_fails_is_quoted(cluster: SharingCluster, settings: Settings) -> None:
    cluster.cuda_says = "CUDA driver version is insufficient"
    report, _ = _report(cluster, settings)
    assert _told(report)["SHR007"] == [
        "fail: gpu-1: 0 of 8 CUDA pods passed; cuda-1: CUDA driver version is insufficient",
        "fail: gpu-2: 0 of 4 CUDA pods passed; cuda-9: CUDA driver version is insufficient",
    ]


def test_an_image_that_cannot_be_had_says_nothing_about_a_gpu(cluster: SharingCluster, settings: Settings) -> None:
    cluster.pull_failure = "no such host"
    report, _ = _report(cluster, settings)
    assert _told(report) == {
        "SHR007": [
            "skip: no CUDA program ran: registry.example/cuda cannot be had on gpu-1: ImagePullBackOff: no such host"
        ]
    }


def test_what_is_left_is_named(cluster: SharingCluster, settings: Settings) -> None:
    report, _ = _report(cluster, settings, lambda record: replace(record, left=("Namespace x",)))
    assert _told(report) == {"SHR008": ["fail: still there: Namespace x"]}


@pytest.mark.parametrize("case", ["good", "broken"])
def test_the_evidence_says_what_was_seen(
    cluster: SharingCluster, settings: Settings, case: str, snapshot: SnapshotAssertion
) -> None:
    """Whole files, as someone would attach them."""
    if case == "broken":
        cluster.refuses = {"share-3"}
        cluster.pull_failure = "no such host"
    proven = [_report(cluster, settings, _without_hashes)]
    assert evidence_markdown(proven, "1.2.3") == snapshot(extension_class=MarkdownFile)
    assert json.dumps(evidence(proven, "1.2.3"), indent=2) + "\n" == snapshot(extension_class=JsonFile)


WHOLE_BESIDE_SHARED = settings_of(
    nodes=[
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "wholeGpus": 1},
        {"name": "gpu-2", "gpu": "rtx-4090", "count": 1},
    ]
)
_OFFERED = {"gpu-1": {"nvidia.com/gpu": 1, "nvidia.com/gpu.shared": 4}, "gpu-2": {"nvidia.com/gpu": 4}}


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> SharingCluster:
    """gpu-1 has a whole GPU and a shared one."""
    found = sharing_cluster(WHOLE_BESIDE_SHARED, _OFFERED)
    for module in (proof_pods, proof_namespace, proof):
        monkeypatch.setattr(module, "time", found.clock)
    return found


def test_a_whole_gpu_and_a_shared_one_of_a_node_are_proven_each_for_itself(mixed: SharingCluster) -> None:
    report, record = _report(mixed, WHOLE_BESIDE_SHARED)
    assert _told(report).keys() == {"CFG002"}, "one name for a whole GPU and for a slice is advised against"
    facts = {entry.check.id: [result.fact for result in entry.results] for entry in report.entries}
    assert facts["SHR002"] == [
        "gpu-1, nvidia.com/gpu: 1 GPU serves 1 pod at once",
        "gpu-1, nvidia.com/gpu.shared: 1 GPU serves 4 pods at once",
        "gpu-2, nvidia.com/gpu: 1 GPU serves 4 pods at once",
    ]
    assert [extra.resource for extra in record.extras] == ["nvidia.com/gpu", "nvidia.com/gpu.shared"]
    assert [len(record.cuda), len(record.without)] == [9, 2]
    (found,) = evidence([(report, record)], "1")["proofs"]
    assert found["tally"] == {"gpu-1": {"GPU-1a": 1, "GPU-1b": 4}, "gpu-2": {"GPU-2a": 4}}
    assert found["record"]["extra"]["resource"] == "nvidia.com/gpu"


def test_a_whole_gpu_that_is_shared_as_well_is_found(mixed: SharingCluster) -> None:
    def overlapping(record: Record) -> Record:
        pods = (replace(pod, device="GPU-1b") if pod.device == "GPU-1a" else pod for pod in record.pods)
        return replace(record, pods=tuple(pods))

    report, _ = _report(mixed, WHOLE_BESIDE_SHARED, overlapping)
    assert _told(report)["SHR002"] == [
        "fail: gpu-1, nvidia.com/gpu: GPU-1b serves pods of another resource too",
        "fail: gpu-1, nvidia.com/gpu.shared: GPU-1b serves pods of another resource too",
    ]


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ("reached", "pass: gpu-1: 8 pods with slices by MPS, each reaches the daemon"),
        ("absent", "fail: gpu-1: 8 of 8 pods with slices by MPS do not reach the daemon: "),
        ("", "fail: gpu-1: 8 of 8 pods with slices by MPS do not reach the daemon: "),
    ],
)
def test_each_pod_of_the_proof_must_reach_the_mps_daemon(
    cluster: SharingCluster, settings: Settings, found: str, outcome: str
) -> None:
    cluster.mps = found
    first, second = settings.nodes
    by_mps = settings.model_copy(update={"nodes": (first.model_copy(update={"sharing_mode": "mps"}), second)})
    _, record = _report(cluster, settings)
    context = Context("lab", lambda: by_mps, lambda _: cluster, FakePrograms(), lambda _, __: record)
    (result,) = mps.pods_reach_the_daemon.run(context)
    assert f"{result.outcome}: {result.fact}".startswith(outcome)
