"""gpuctl usage as a user calls it."""

import csv
import json
from datetime import datetime, timedelta

import pytest
from typer.testing import CliRunner, Result

from gpuctl.cli import running
from gpuctl.cli.app import app
from gpuctl.cluster import UnreachableError
from gpuctl.settings import Settings
from tests.fixtures.checks import FakePrograms, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.watcher_lines import NOON, gpu, process, writes

FIRST, SECOND, THIRD = (f"GPU-{n}0000000-0000-4000-8000-000000000000" for n in (1, 2, 3))
FORMER = "3198be16-5c1a-4a4e-9d0e-0a1b2c3d4e5f"
WATCHED = settings_of(usage=True, powerManagement=False)


class _Clock:
    """On which it is noon."""

    @staticmethod
    def now(_: object) -> datetime:
        return NOON


def _minutes(back: float) -> datetime:
    return NOON - timedelta(minutes=back)


def _began(fake: FakeCluster, pod: str, minutes: float, owner: tuple[str, str] | None = None) -> None:
    object_ = fake.pod_objects[pod]
    object_["status"]["startTime"] = f"{_minutes(minutes):%Y-%m-%dT%H:%M:%SZ}"
    if owner:
        object_["metadata"]["ownerReferences"] = [{"kind": owner[0], "name": owner[1]}]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """For an hour, one pod computes and one sits there on the first GPU, and a third one has no process at all."""
    found = healthy(WATCHED)
    for name in ("trainer-5d4f8-abc", "notebook-0", "sleeper"):
        found.add_pod(name, "gpu-1", "team", **{"nvidia.com/gpu": 1})
    _began(found, "trainer-5d4f8-abc", 600, ("ReplicaSet", "trainer-5d4f8"))
    found.pod_objects["trainer-5d4f8-abc"]["metadata"]["labels"] = {"pod-template-hash": "5d4f8"}
    _began(found, "notebook-0", 600, ("StatefulSet", "notebook"))
    _began(found, "sleeper", 30)
    lines: list[str] = []
    for back in range(60, -1, -1):
        now = _minutes(back)
        both = [process(FIRST, "uid-trainer-5d4f8-abc", 6144, 50, now), process(FIRST, "uid-notebook-0", 1024, 0, now)]
        lines += [*both, gpu(FIRST, 0, 2, now), process(SECOND, "none", 300, 0, now, name="Xorg")]
        lines += [process(SECOND, FORMER, 1024, 10, now), gpu(SECOND, 1, 2, now)]
    writes(found, "gpu-1", lines)
    for node in ("gpu-1", "gpu-2"):
        found.pod_objects[f"nvidia-gpu-usage-{node}"]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"

    def connect(*_: object) -> FakeCluster:
        return found

    def settings(_: str) -> Settings:
        return WATCHED

    monkeypatch.setattr("gpuctl.cluster.connect", connect)
    monkeypatch.setattr("gpuctl.cli.usage.settings_of", settings)
    monkeypatch.setattr("gpuctl.cli.usage.datetime", _Clock)
    monkeypatch.setattr(running, "silent_settings_of", settings)
    monkeypatch.setattr(running, "InstalledPrograms", FakePrograms)
    return found


def _usage(*options: str) -> Result:
    return CliRunner().invoke(app, ["usage", "--stack", "lab", *options])


def _table(result: Result) -> list[str]:
    """The rows without their pictures."""
    _, *rows = result.stdout.split("\n\n")[0].splitlines()
    return [" ".join(row.rstrip(" ▁▂▃▄▅▆▇█").split()) for row in rows]


@pytest.mark.usefixtures("fake")
def test_idle_holders_stand_first_with_what_they_held_and_the_others_with_what_they_used() -> None:
    result = _usage("--since", "2h")
    headings = result.stdout.splitlines()[0]
    assert " ".join(headings.split()) == "NAMESPACE WORKLOAD HELD GPU h USED GPU h GiB h Wh LAST COMPUTED USE"
    assert _table(result) == [
        "team StatefulSet/notebook 0.25 0.00 1.0 0 never",
        "team Pod/sleeper 0.12 0.00 0.0 0 never",
        "pods that are gone - 0.25 0.10 1.0 60 0 s ago",
        "team Deployment/trainer 0.25 0.50 6.0 60 0 s ago",
        "no pod: a program of the node - 0.00 0.00 0.3 0 never",
    ]
    assert result.exit_code == 0


@pytest.mark.usefixtures("fake")
def test_below_the_table_stand_the_sum_the_method_and_how_far_back_each_node_is_covered() -> None:
    _, said = _usage("--since", "2h").stdout.split("\n\n")
    used, drew, first, second = said.splitlines()
    assert used == (
        "0.60 of 2.00 GPU hours that are covered were used, between 2026-11-25T10:00:00Z and 2026-11-25T12:00:00Z, as "
        "seen by the logs of the usage watchers."
    )
    assert drew == (
        "The GPUs drew 120 Wh, 0 of them while nobody was seen to compute. Wh are what a GPU drew, by each one's share "
        "of its multiprocessors' time; in parentheses what is its own for certain, and the most that it can be."
    )
    assert first == (
        "gpu-1: covered only from 2026-11-25T11:00:00Z on; earlier lines are gone: the container began anew, or the "
        "kubelet rotated its log"
    )
    assert second == "gpu-2: its watcher has said nothing of any GPU in this time; see: gpuctl verify"


@pytest.mark.usefixtures("fake")
def test_a_time_that_the_log_has_is_no_news() -> None:
    assert "gpu-1: " not in _usage("--since", "59m").stdout


@pytest.mark.usefixtures("fake")
def test_rows_may_be_namespaces_or_pods() -> None:
    names = [row.partition(" 0.")[0] for row in _table(_usage("--by", "pod"))]
    assert names == [
        "team StatefulSet/notebook notebook-0",
        "team Pod/sleeper sleeper",
        "pods that are gone - UID 3198be16",
        "team Deployment/trainer trainer-5d4f8-abc",
        "no pod: a program of the node - gpu-1",
    ]
    assert _table(_usage("--by", "namespace"))[1] == "team 0.62 0.50 7.0 60 0 s ago"


def test_energy_that_cannot_be_told_apart_has_its_limits(fake: FakeCluster) -> None:
    now = [_minutes(back) for back in range(60, -1, -1)]
    lines = [
        line
        for time in now
        for line in (
            process(FIRST, "uid-trainer-5d4f8-abc", 6144, 60, time),
            process(FIRST, "uid-notebook-0", 1024, 20, time),
            gpu(FIRST, 0, 2, time),
        )
    ]
    writes(fake, "gpu-1", lines)
    assert _table(_usage())[1:] == [
        "team StatefulSet/notebook 0.25 0.20 1.0 15 (0 to 60) 0 s ago",
        "team Deployment/trainer 0.25 0.60 6.0 45 (0 to 60) 0 s ago",
    ]


@pytest.mark.usefixtures("fake")
def test_programs_get_one_document_with_null_for_what_is_not_known() -> None:
    result = _usage("--since", "2h", "--by", "pod", "-o", "json")
    said = json.loads(result.stdout)
    keys = ("stack", "by", "source", "coveredGpuHours", "wattHours")
    assert [said[key] for key in keys] == ["lab", "pod", "the logs of the usage watchers", 2.0, 120.0]
    trainer = said["usage"][3]
    parts = trainer.pop("usedGpuHoursByPart")
    assert parts == [None] * 12 + [0.042] * 12  # the last sample counts no time
    assert trainer == {
        "kind": "pod",
        "namespace": "team",
        "workload": "Deployment/trainer",
        "pod": "trainer-5d4f8-abc",
        "heldGpuHours": 0.25,
        "usedGpuHours": 0.5,
        "unknownHours": 0,
        "gibHours": 6.0,
        "wattHours": 60.0,
        "wattHoursLeast": 60.0,
        "wattHoursMost": 60.0,
        "lastComputed": "2026-11-25T12:00:00Z",
    }
    assert (said["usage"][4]["kind"], said["usage"][4]["namespace"], said["usage"][4]["lastComputed"]) == (
        "host",
        None,
        None,
    )
    assert len(said["notes"]) == 2


@pytest.mark.usefixtures("fake")
def test_a_spreadsheet_gets_the_same_figures_under_the_same_names() -> None:
    first, *_ = csv.DictReader(_usage("--since", "2h", "-o", "csv").stdout.splitlines())
    assert first == {
        "kind": "pod",
        "namespace": "team",
        "workload": "StatefulSet/notebook",
        "pod": "",
        "heldGpuHours": "0.25",
        "usedGpuHours": "0.0",
        "unknownHours": "0",
        "gibHours": "1.0",
        "wattHours": "0.0",
        "wattHoursLeast": "0",
        "wattHoursMost": "0",
        "lastComputed": "",
    }


@pytest.mark.usefixtures("fake")
def test_a_report_gets_a_table_and_the_sentences() -> None:
    headings, rule, first, *_ = (said := _usage("--since", "2h", "-o", "markdown").stdout).splitlines()
    assert headings == "| NAMESPACE | WORKLOAD | HELD GPU h | USED GPU h | GiB h | Wh | LAST COMPUTED |"
    assert rule == "|---|---|--:|--:|--:|--:|---|"
    assert first == "| team | StatefulSet/notebook | 0.25 | 0.00 | 1.0 | 0 | never |"
    assert "The GPUs drew 120 Wh" in said


def test_a_share_that_is_not_known_is_said_and_not_counted(fake: FakeCluster) -> None:
    times = [_minutes(back) for back in (60, 59, 58)]
    writes(
        fake,
        "gpu-1",
        [line for now in times for line in (process(FIRST, "uid-sleeper", 10, "unknown", now), gpu(FIRST, 0, 1, now))],
    )
    result = _usage("--since", "2h")
    assert "for 0.0 hours of processes" in result.stdout
    assert _table(result)[-1].startswith("team Pod/sleeper 0.00 ?")


def test_a_finished_pod_held_its_slice_until_it_ended(fake: FakeCluster) -> None:
    done = fake.pod_objects["sleeper"]["status"]
    done["phase"] = "Succeeded"
    ended = {"terminated": {"finishedAt": f"{_minutes(15):%Y-%m-%dT%H:%M:%SZ}"}}
    done["containerStatuses"] = [{"name": "main", "state": ended}]
    assert "team Pod/sleeper 0.06 0.00 0.0 0 never" in _table(_usage())


@pytest.mark.parametrize(
    ("labels", "owner", "expected"),
    [
        ({}, ("Job", "nightly-29384710"), "CronJob/nightly"),
        ({}, ("Job", "train-1"), "Job/train-1"),
        ({}, ("ReplicaSet", "by-hand"), "ReplicaSet/by-hand"),
        ({"pod-template-hash": "77"}, ("ReplicaSet", "other-78"), "ReplicaSet/other-78"),
    ],
)
def test_a_workload_is_what_a_person_deployed(
    fake: FakeCluster, labels: dict[str, str], owner: tuple[str, str], expected: str
) -> None:
    _began(fake, "sleeper", 30, owner)
    fake.pod_objects["sleeper"]["metadata"]["labels"] = labels
    assert f"team {expected} 0.12 0.00 0.0 0 never" in _table(_usage())


def test_without_a_word_of_any_watcher_the_answer_is_a_failure(fake: FakeCluster) -> None:
    fake.logs.clear()
    result = _usage()
    assert "0.00 of 0.00 GPU hours that are covered" in result.stdout
    assert result.exit_code == 1


def test_a_cluster_that_does_not_answer_is_said_so(fake: FakeCluster) -> None:
    fake.failures["log"] = UnreachableError("no route to host")
    result = _usage()
    assert (result.exit_code, result.stderr) == (3, "gpuctl: error: no route to host\n")


def test_a_stack_whose_gpus_nobody_watches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def settings(_: str) -> Settings:
        return settings_of()

    monkeypatch.setattr("gpuctl.cli.usage.settings_of", settings)
    result = _usage()
    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", "").split())
    assert "lab has gpu:usage false, so nobody watches who uses the GPUs." in said
    assert "Fix it: pulumi config set --stack lab gpu:usage true && pulumi up --stack lab" in said


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("0s", "0 is no time at all: write 12h or 7d"),
        ("7x", "'7x' is no length of time"),
        ("36501d", "'36501d' is too long: at most 36500d"),
        ("99999999999d", "'99999999999d' is too long: at most 36500d"),
    ],
)
@pytest.mark.usefixtures("fake")
def test_a_time_that_cannot_be_meant_is_a_mistake(since: str, said: str) -> None:
    result = _usage("--since", since)
    assert (result.exit_code, said in result.stderr) == (2, True)


@pytest.mark.usefixtures("fake")
def test_the_longest_time_that_may_be_asked_for_is_answered() -> None:
    assert _usage("--since", "36500d").exit_code == 0
