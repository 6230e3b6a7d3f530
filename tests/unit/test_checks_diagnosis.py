"""Where failures begin: combinations of faults, and the fifteen that people meet in practice."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from gpuctl.checks.diagnosis import KNOWLEDGE, Finding, diagnose
from gpuctl.checks.model import Outcome, Result, Subject, failed, passed
from gpuctl.checks.registry import CHECKS, selected
from gpuctl.checks.report import CapacityRow, Entry, Report
from gpuctl.checks.runner import run
from tests.fixtures.agent_lines import answering, error, look, reports, runs, uuid_of
from tests.fixtures.checks import context_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster

GPU = "nvidia.com/gpu"
PLUGIN = "nvidia-device-plugin"
BY_ID = {check.id: check for check in CHECKS}
Break = Callable[[FakeCluster], object]


def report(**results: Result | list[Result]) -> Report:
    """A report about the nodes gpu-1 to gpu-3; ids of checks -> what they found."""
    found = {id_: found if isinstance(found, list) else [found] for id_, found in results.items()}
    entries = tuple(Entry(check, tuple(found[check.id]), 0) for check in CHECKS if check.id in found)
    rows = tuple(CapacityRow(f"gpu-{number}", 2, 4, 8, 8, 8) for number in (1, 2, 3))
    return Report("lab", "admin@lab", datetime(2026, 1, 1, tzinfo=UTC), 0, entries, rows)


def told(findings: list[Finding]) -> list[tuple[str, list[str]]]:
    """The id of each finding, and those of what follows from it."""
    return [(found.check.id, [each.check.id for each in found.consequences]) for found in findings]


def bad(node: str = "", cause: str = "", reason: str = "", **about: str) -> Result:
    subject = Subject(node, **about)
    return failed(f"{subject} is not as it should be", "fix it", subject, cause, reason)


def test_a_healthy_cluster_has_no_finding() -> None:
    assert diagnose(report(NOD001=passed("it is so", "gpu-1"))) == []


def test_what_has_nothing_to_do_with_each_other_stands_in_the_registrys_order() -> None:
    assert told(diagnose(report(POD001=bad("gpu-1"), STK003=bad(name="a"), TAL001=bad("gpu-2")))) == [
        ("TAL001", []),
        ("STK003", []),
        ("POD001", []),
    ]


def test_advice_comes_after_failures() -> None:
    advice = Result(Outcome.WARN, "it could be better", Subject("gpu-2"), "fix it")
    assert told(diagnose(report(CFG002=advice, CAP006=advice, POD020=bad()))) == [
        ("POD020", []),
        ("CFG002", []),
        ("CAP006", []),
    ]


def test_a_node_that_is_down_explains_all_that_is_missing_there_and_nothing_elsewhere() -> None:
    found = diagnose(
        report(
            NOD002=bad("gpu-1"),
            STK005=bad(component=PLUGIN),
            CAP001=[bad("gpu-1", "it does not run", component=PLUGIN), bad("gpu-2", "a GPU is lost")],
            PWR003=bad("gpu-1", gpu="GPU-1"),
        )
    )
    assert told(found) == [("NOD002", ["STK005", "CAP001", "PWR003"]), ("CAP001", [])]
    assert [result.subject for result in found[1].results] == ["gpu-2"]


def test_a_device_plugin_that_does_not_start_explains_the_capacity_of_its_nodes() -> None:
    why = "it does not start: ImagePullBackOff"
    found = diagnose(
        report(
            STK005=bad(component=PLUGIN, cause=why),
            CAP001=[
                bad("gpu-1", why, component=PLUGIN),
                bad("gpu-2", why, component=PLUGIN),
                bad("gpu-3", "a GPU is lost"),
            ],
        )
    )
    assert told(found) == [("STK005", ["CAP001", "CAP001"]), ("CAP001", [])]
    assert found[0].cause == why


def test_an_agent_that_is_not_ready_because_of_its_gpus_is_no_finding_of_its_own() -> None:
    found = diagnose(
        report(STK005=bad(component="nvidia-power-limit"), PWR001=bad("gpu-1"), PWR003=bad("gpu-1", gpu="GPU-1"))
    )
    assert told(found) == [("PWR003", ["STK005", "PWR001"])]


def test_a_device_plugin_that_does_not_start_is_not_explained_by_a_limit() -> None:
    assert told(diagnose(report(STK005=bad(component=PLUGIN), PWR003=bad("gpu-1", gpu="GPU-1")))) == [
        ("STK005", []),
        ("PWR003", []),
    ]


def test_what_explains_something_is_traced_to_where_it_begins() -> None:
    """Forbidden pods explain a DaemonSet without pods, and that explains a node without GPUs."""
    found = diagnose(
        report(
            STK005=bad(component=PLUGIN),
            CAP002=bad("gpu-1", component=PLUGIN),
            POD020=bad(component=PLUGIN),
        )
    )
    assert told(found) == [("POD020", ["STK005", "CAP002"])]


def test_a_sick_gpu_is_told_once() -> None:
    found = diagnose(report(CAP002=bad("gpu-1"), CAP003=bad("gpu-1"), POD001=bad("gpu-1")))
    assert told(found) == [("CAP003", ["CAP002", "POD001"])]


def test_one_cause_on_several_nodes_is_one_finding() -> None:
    found = diagnose(
        report(
            NOD002=[
                bad("gpu-1", "gpu-1 is down", "is down"),
                bad("gpu-2", "gpu-2 is down", "is down"),
                bad("gpu-3", "other"),
            ]
        )
    )
    assert [[result.subject for result in each.results] for each in found] == [["gpu-1", "gpu-2"], ["gpu-3"]]
    assert found[0].remedies == ("fix it",)


def test_without_a_cause_of_its_own_a_finding_has_the_checks_usual_one() -> None:
    (found,) = diagnose(report(STK002=bad(name="nvidia")))
    assert found.cause == BY_ID["STK002"].cause


def test_a_check_that_broke_has_no_cause() -> None:
    (found,) = diagnose(report(STK002=Result(Outcome.ERROR, "the check broke")))
    assert (found.outcome, found.cause) == (Outcome.ERROR, "")


def test_a_check_that_broke_is_not_explained_by_the_cluster() -> None:
    broken = Result(Outcome.ERROR, "the check broke", Subject("gpu-1"))
    assert told(diagnose(report(NOD002=bad("gpu-1"), CAP001=broken))) == [("NOD002", []), ("CAP001", [])]


def test_every_check_that_knowledge_is_about_exists() -> None:
    ids = list(BY_ID)
    for known in KNOWLEDGE:
        assert set(known.causes) <= set(ids)
        assert all(any(id_.startswith(effect) for id_ in ids) for effect in known.effects)


def test_nothing_explains_itself_by_way_of_others() -> None:
    explained = {
        id_: {cause for known in KNOWLEDGE if id_.startswith(known.effects) for cause in known.causes} for id_ in BY_ID
    }

    def origins(id_: str, seen: tuple[str, ...]) -> None:
        assert id_ not in seen, " <- ".join([*seen, id_])
        for cause in explained[id_]:
            origins(cause, (*seen, id_))

    for id_ in BY_ID:
        origins(id_, ())


def test_a_thousand_nodes_are_diagnosed_by_looking_each_result_up() -> None:
    """A comparison of every result with every other would be 9 million here."""
    names = [f"gpu-{number}" for number in range(1000)]
    rows = tuple(CapacityRow(name, 2, 4, 8, 0, 0) for name in names)
    entries = tuple(Entry(BY_ID[id_], tuple(bad(name) for name in names), 0) for id_ in ("NOD002", "CAP001", "PWR001"))
    whole = Report("lab", "admin@lab", datetime(2026, 1, 1, tzinfo=UTC), 0, entries, rows)
    (found,) = diagnose(whole)
    assert (len(found.results), len(found.consequences)) == (1000, 2000)


def set_status(fake: FakeCluster, node: str, **amounts: int) -> None:
    for kind, amount in amounts.items():
        fake.node_objects[node]["status"][kind][GPU] = str(amount)


def sick_slice(fake: FakeCluster) -> None:
    set_status(fake, "gpu-1", allocatable=7)


def sick_gpu(fake: FakeCluster) -> None:
    set_status(fake, "gpu-1", allocatable=4)


def old_configuration(fake: FakeCluster) -> None:
    fake.pod_objects[f"{PLUGIN}-gpu-1"]["metadata"]["annotations"]["checksum/config"] = "an older one"


def no_node_wanted(fake: FakeCluster) -> None:
    fake.node_objects["gpu-1"]["metadata"]["labels"].pop("nvidia.com/device-plugin.config")


def replicas_ignored(fake: FakeCluster) -> None:
    set_status(fake, "gpu-1", capacity=2, allocatable=2)


def waiting_indefinitely(fake: FakeCluster) -> None:
    set_status(fake, "gpu-1", capacity=0, allocatable=0)
    fake.logs[f"{PLUGIN}-gpu-1"] = ["Starting Plugins.", "No devices found. Waiting indefinitely."]


def no_runtime_class(fake: FakeCluster) -> None:
    del fake.objects["RuntimeClass", None, "nvidia"]


def versions_differ(fake: FakeCluster) -> None:
    runs(fake, f"{PLUGIN}-gpu-1", "Failed to initialize NVML: Driver/library version mismatch", 18)


def lost_in_a_pod(fake: FakeCluster) -> None:
    fake.add_pod("old", "gpu-1", "default", **{GPU: 1})
    runs(fake, "old", "Failed to initialize NVML: Unknown Error", 255)


def refused(fake: FakeCluster) -> None:
    message = f"Pod was rejected: Allocate failed due to cannot allocate unregistered device {GPU}, which is unexpected"
    status = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": message}
    fake.add_pod("early", "gpu-1", "default", **{GPU: 1})["status"] = status


def nothing(_: FakeCluster) -> None: ...


def uninvited(fake: FakeCluster) -> None:
    pod = fake.add_pod("notebook", "gpu-1")
    pod["spec"]["containers"][0]["env"] = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]


def two_names(fake: FakeCluster) -> None:
    for kind in ("capacity", "allocatable"):
        fake.node_objects["gpu-1"]["status"][kind]["nvidia.com/gpu.shared"] = "8"


def two_slices(fake: FakeCluster) -> None:
    fake.add_pod("greedy", "gpu-1", "default", **{GPU: 2})
    runs(fake, "greedy", "GPU-1")


def lost_limit(fake: FakeCluster) -> None:
    name = "NVIDIA GeForce RTX 3090"
    first, second = uuid_of("gpu-1", 0), uuid_of("gpu-1", 1)
    reports(fake, "gpu-1", [look(first, 0, name, limit_w=350, enforced_w=350), look(second, 1, name)])


@pytest.mark.parametrize(
    ("fault", "ids", "config"),
    [
        pytest.param(sick_slice, ["CAP003"], {}, id="1 one slice of a GPU unhealthy after an Xid"),
        pytest.param(sick_gpu, ["CAP002"], {}, id="2 unhealthy and never recovers"),
        pytest.param(old_configuration, ["STK006"], {}, id="3 a changed configuration is not applied"),
        pytest.param(no_node_wanted, ["NOD003"], {}, id="4 a DaemonSet that wants no node"),
        pytest.param(replicas_ignored, ["CAP001"], {}, id="5 the plugin runs and ignores the slices"),
        pytest.param(waiting_indefinitely, ["CAP001"], {}, id="6 a plugin that waits without a GPU"),
        pytest.param(no_runtime_class, ["STK002"], {}, id="7 the RuntimeClass is missing"),
        pytest.param(versions_differ, ["RUN001"], {}, id="8 driver and library of two versions"),
        pytest.param(lost_in_a_pod, ["RUN002"], {}, id="9 a GPU lost in a running pod"),
        pytest.param(refused, ["POD001"], {}, id="10 UnexpectedAdmissionError"),
        pytest.param(nothing, ["CAP006"], {"slices": 64}, id="11 too little memory for each slice"),
        pytest.param(uninvited, ["POD003"], {}, id="12 a pod sees GPUs without asking"),
        pytest.param(two_names, ["CAP004"], {}, id="13 a stale resource beside the other"),
        pytest.param(two_slices, ["POD002"], {}, id="14 two slices for one pod"),
        pytest.param(lost_limit, ["PWR003"], {}, id="15 a power limit that was lost"),
    ],
)
def test_a_failure_that_people_meet_is_found_and_is_the_only_finding(
    fault: Break, ids: list[str], config: dict[str, Any]
) -> None:
    settings = settings_of(**config)
    fake = answering(settings)
    fault(fake)
    found = diagnose(run(selected(deep=True), context_of(fake, settings), lambda _: None))
    assert [each.check.id for each in found] == ids


def test_a_healthy_cluster_gives_no_finding_when_all_checks_are_run() -> None:
    fake = answering(settings_of())
    assert diagnose(run(selected(deep=True), context_of(fake), lambda _: None)) == []


def test_two_faults_at_once_are_two_findings() -> None:
    faults = (sick_slice, old_configuration, refused, uninvited, two_slices, lost_limit)
    for one, other in itertools.combinations(faults, 2):
        fake = answering(settings_of())
        one(fake)
        other(fake)
        found = diagnose(run(selected(deep=True), context_of(fake), lambda _: None))
        expected = 1 if {one, other} == {sick_slice, refused} else 2
        assert len(found) == expected, (one.__name__, other.__name__, told(found))


def test_a_lost_gpu_explains_an_unready_agent_and_a_node_without_slices() -> None:
    fake = answering(settings_of())
    lost, kept = uuid_of("gpu-1", 0), look(uuid_of("gpu-1", 1), 1, "NVIDIA GeForce RTX 3090")
    faults = f"lost gpu={lost}; missing expected=2 found=1"
    reports(fake, "gpu-1", [kept, error("missing expected=2 found=1")], faults)
    fake.objects["DaemonSet", "gpu-device-plugin", "nvidia-power-limit"]["status"]["numberReady"] = 1
    set_status(fake, "gpu-1", allocatable=0)
    runs(fake, f"{PLUGIN}-gpu-1", "Unable to determine the device handle for GPU0: GPU is lost", 15)
    fake.logs[f"{PLUGIN}-gpu-1"] = ["Error waiting for event: GPU is lost; Marking all devices as unhealthy"]
    (found,) = diagnose(run(selected(deep=True), context_of(fake), lambda _: None))
    assert (found.check.id, found.cause) == ("PWR002", f"lost since the agent started: {lost}")
    assert [each.check.id for each in found.consequences] == ["STK005", "CAP002", "PWR001"]
