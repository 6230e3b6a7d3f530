"""gpuctl status with gpu:usage: what each pod has of each GPU, its share, and since when it only sits there."""

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner, Result

from gpuctl.checks.usage import pods_keep_to_their_share, watchers_report
from gpuctl.checks.usage_reports import usage_reports
from gpuctl.cli import running
from gpuctl.cli.app import app
from gpuctl.cluster import AccessDeniedError
from gpuctl.settings import Settings
from tests.fixtures.checks import FakePrograms, context_of, results_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.watcher_lines import NOON, gpu, process, writes

FIRST, SECOND, THIRD = (f"GPU-{n}0000000-0000-4000-8000-000000000000" for n in (1, 2, 3))
WATCHED = settings_of(usage=True, powerManagement=False)
EARLIER = NOON - timedelta(minutes=1)
FORMER = "3198be16-5c1a-4a4e-9d0e-0a1b2c3d4e5f"


@pytest.fixture
def fake() -> FakeCluster:
    """Two pods on the first GPU, which four share: one computes and has too much, one sits there for half an hour."""
    found = healthy(WATCHED)
    found.add_pod("trainer", "gpu-1", "team", **{"nvidia.com/gpu": 1})
    found.add_pod("notebook", "gpu-1", "team", **{"nvidia.com/gpu": 1})
    earlier = [process(FIRST, "uid-notebook", 900, 12, EARLIER), gpu(FIRST, 0, 1, EARLIER)]
    first = [process(FIRST, "uid-trainer", 6145, 97), process(FIRST, "uid-notebook", 900, 0), gpu(FIRST, 0, 2)]
    second = [process(SECOND, "none", 300, 0, name="Xorg"), process(SECOND, FORMER, 200, 0), gpu(SECOND, 1, 2)]
    writes(found, "gpu-1", [*earlier, *first, *second])
    writes(found, "gpu-2", [gpu(THIRD, 0, 0)])
    return found


@pytest.fixture
def reached(fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """What the verb reaches."""

    def connect(*_: object) -> FakeCluster:
        return fake

    def settings(_: str) -> Settings:
        return WATCHED

    monkeypatch.setattr("gpuctl.cluster.connect", connect)
    monkeypatch.setattr(running, "silent_settings_of", settings)
    monkeypatch.setattr(running, "InstalledPrograms", FakePrograms)
    return fake


def _status(*options: str) -> Result:
    return CliRunner().invoke(app, ["status", "--stack", "lab", *options])


def _table() -> list[str]:
    lines = _status().stdout.splitlines()
    return [line.rstrip() for line in lines[lines.index("") + 1 :]]


@pytest.mark.usefixtures("reached")
def test_a_second_table_says_what_each_pod_has_of_each_gpu() -> None:
    assert _table() == [
        "NODE   GPU  POD                               MEMORY MiB  SHARE MiB  SM %  IDLE",
        "gpu-1  0    team/notebook                            900       6144     0  60 s",
        "gpu-1  0    team/trainer                      6145, over       6144    97  -",
        "gpu-1  1    no pod: a program of the node            300          -     0  > 0 s",
        "gpu-1  1    a pod that is gone, UID 3198be16         200          -     0  > 0 s",
    ]


@pytest.mark.usefixtures("reached")
def test_machines_get_seconds_and_null_for_what_is_not_known() -> None:
    document = json.loads(_status("-o", "json").stdout)
    notebook, trainer, host, gone = document["usage"]
    assert notebook == {
        "node": "gpu-1",
        "uuid": FIRST,
        "index": 0,
        "holder": "pod",
        "pod": "team/notebook",
        "memoryMiB": 900,
        "shareMiB": 6144,
        "overShare": False,
        "smPercent": 0,
        "memoryBandwidthPercent": 7,
        "processes": ["python3"],
        "idleSeconds": 60,
        "idleAtLeast": False,
        "seen": "2026-11-25T12:00:00Z",
    }
    assert (trainer["overShare"], trainer["idleSeconds"], trainer["idleAtLeast"]) == (True, None, None)
    assert (host["holder"], host["pod"], host["shareMiB"], host["overShare"]) == ("host", None, None, None)
    assert (gone["holder"], gone["pod"], gone["idleAtLeast"]) == ("gone", FORMER, True)
    assert document["usageNotes"] == []


def test_a_slice_without_a_process_stands_there_as_such(reached: FakeCluster) -> None:
    pod = reached.add_pod("sleeper", "gpu-2", "team", **{"nvidia.com/gpu": 1})
    devices = [{"resourceID": f"{THIRD}::0", "health": "Healthy"}]
    told = [{"name": "nvidia.com/gpu", "resources": devices}]
    pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"] = told
    assert _table()[-1].split(maxsplit=6) == ["gpu-2", "0", "team/sleeper", "0", "6144", "0", "no process"]


def test_a_static_pod_has_its_uid_in_an_annotation(reached: FakeCluster) -> None:
    pod = reached.add_pod("static-gpu-2", "gpu-2", "kube-system")
    pod["metadata"]["annotations"] = {"kubernetes.io/config.hash": "0123456789abcdef0123456789abcdef"}
    writes(reached, "gpu-2", [process(THIRD, "0123456789abcdef0123456789abcdef", 100, 5), gpu(THIRD, 0, 1)])
    assert "kube-system/static-gpu-2" in _table()[-1]


def test_a_watcher_that_says_nothing_is_named_with_the_reason(reached: FakeCluster) -> None:
    writes(
        reached, "gpu-2", ['time=2026-11-25T12:00:00Z level=error msg=query_failed of=gpus exit=9 message="no driver"']
    )
    assert _table()[-1] == "nvidia-smi does not answer the usage watcher on gpu-2: no driver"
    writes(reached, "gpu-2", [])
    assert _table()[-1] == "the usage watcher on gpu-2 has taken no sample"
    reached.node_objects["gpu-2"]["status"]["conditions"][0]["status"] = "False"
    assert _table()[-1] == "gpu-2 is not Ready"
    reached.failures = {"log": AccessDeniedError("pods/log is forbidden")}
    assert _table()[0] == "the log of the usage watcher on gpu-1 cannot be read: pods/log is forbidden"


def test_what_an_unready_watcher_saw_last_is_not_shown_as_the_present(reached: FakeCluster) -> None:
    reached.pod_objects["nvidia-gpu-usage-gpu-1"]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    assert _table() == ["the usage watcher on gpu-1 has taken no sample since 12:00:00Z"]


def test_without_the_key_nothing_is_read_and_nothing_added(
    reached: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwatched = settings_of(powerManagement=False)

    def settings(_: str) -> Settings:
        return unwatched

    monkeypatch.setattr(running, "silent_settings_of", settings)
    assert "" not in _status().stdout.splitlines()
    assert not {"usage", "usageNotes"} & json.loads(_status("-o", "json").stdout).keys()
    assert "log" not in reached.calls


class TestChecks:
    def test_every_watcher_reports(self, fake: FakeCluster) -> None:
        results = results_of(watchers_report, context_of(fake, WATCHED))
        assert [(each.subject, each.outcome.value) for each in results] == [("gpu-1", "pass"), ("gpu-2", "pass")]

    def test_a_watcher_that_does_not_run_is_a_warning_with_the_reason(self, fake: FakeCluster) -> None:
        del fake.pod_objects["nvidia-gpu-usage-gpu-2"]
        _, result = results_of(watchers_report, context_of(fake, WATCHED))
        assert (result.outcome.value, result.fact) == ("fail", "no usage watcher runs on gpu-2")
        assert result.cause == "no pod of nvidia-gpu-usage is on gpu-2"
        assert watchers_report.severity == pods_keep_to_their_share.severity == "warning"

    def test_a_watcher_whose_driver_is_gone_has_the_command_that_shows_its_log(self, fake: FakeCluster) -> None:
        writes(fake, "gpu-1", [])
        result, _ = results_of(watchers_report, context_of(fake, WATCHED))
        logs = "kubectl --context admin@lab logs -n gpu-device-plugin nvidia-gpu-usage-gpu-1"
        assert (result.fact, result.remedy) == ("the usage watcher on gpu-1 has taken no sample", logs)

    def test_a_pod_with_more_than_its_share_is_named_with_the_figures(self, fake: FakeCluster) -> None:
        first, second = results_of(pods_keep_to_their_share, context_of(fake, WATCHED))
        assert (first.outcome.value, first.subject) == ("fail", f"gpu-1/{FIRST}")
        assert first.fact == (
            "team/trainer holds 6145 MiB of GPU 0 of gpu-1, and its share is 6144 MiB; "
            "time slicing does not limit memory"
        )
        assert (second.outcome.value, second.subject) == ("pass", "gpu-2")

    @pytest.mark.parametrize(
        ("keys", "share"), [({}, 6144), ({"memoryPerSliceMiB": 4096}, 4096)], ids=["of the GPU", "of the stack file"]
    )
    def test_with_mps_the_share_is_the_limit_and_what_has_more_is_not_blamed_on_time_slicing(
        self, keys: dict[str, int], share: int
    ) -> None:
        stack = settings_of(usage=True, powerManagement=False, sharing="mps", **keys)
        found = healthy(stack)
        found.add_pod("trainer", "gpu-1", "team", **{"nvidia.com/gpu": 1})
        writes(found, "gpu-1", [process(FIRST, "uid-trainer", share + 1, 97), gpu(FIRST, 0, 1)])
        first, *_ = results_of(pods_keep_to_their_share, context_of(found, stack))
        assert first.fact == (
            f"team/trainer holds {share + 1} MiB of GPU 0 of gpu-1, and its share is {share} MiB; "
            "MPS limits each process, and none on the bare GPU"
        )
        writes(found, "gpu-1", [process(FIRST, "uid-trainer", share, 97), gpu(FIRST, 0, 1)])
        first, *_ = results_of(pods_keep_to_their_share, context_of(found, stack))
        assert first.outcome.value == "pass"

    @pytest.mark.parametrize("reported", [True, False], ids=["reported by the kubelet", "not reported"])
    def test_all_memory_of_a_whole_gpu_beside_shared_ones_is_its_pods(self, reported: bool) -> None:
        nodes = [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "wholeGpus": 1}]
        stack = settings_of(usage=True, powerManagement=False, nodes=nodes)
        found = healthy(stack, {"gpu-1": {"nvidia.com/gpu": 1, "nvidia.com/gpu.shared": 4}})
        pod = found.add_pod("whole", "gpu-1", "team", **{"nvidia.com/gpu": 1})
        if reported:
            resource = {"resourceID": FIRST, "health": "Healthy"}
            allocated = [{"name": "nvidia.com/gpu", "resources": [resource]}]
            pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"] = allocated
        lines = [process(FIRST, "uid-whole", 20000, 97), gpu(FIRST, 0, 1)]
        writes(found, "gpu-1", [*lines, process(SECOND, "uid-slice", 1, 97), gpu(SECOND, 1, 1)])
        found.add_pod("slice", "gpu-1", "team", **{"nvidia.com/gpu.shared": 1})
        report = usage_reports(context_of(found, stack))["gpu-1"]
        assert [(each.pod, each.share) for each in report.holders] == [("team/whole", 24576), ("team/slice", 6144)]

    def test_a_silent_watcher_and_a_stack_without_one_leave_it_open(self, fake: FakeCluster) -> None:
        writes(fake, "gpu-1", [])
        assert results_of(pods_keep_to_their_share, context_of(fake, WATCHED))[0].outcome.value == "skip"
        for check in (watchers_report, pods_keep_to_their_share):
            [result] = results_of(check, context_of(healthy(settings_of())))
            assert result.outcome.value == "skip"
            assert result.fact.startswith("gpu:usage is false")
