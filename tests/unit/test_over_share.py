"""gpuctl verify --publish with gpu:memoryBudget: a pod over its share has an Event that says so."""

from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gpuctl.cli import running
from gpuctl.cli.app import app
from gpuctl.cluster import AccessDeniedError
from gpuctl.settings import Settings
from tests.fixtures.checks import FakePrograms, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy
from tests.fixtures.watcher_lines import gpu, process, writes

GPU = "GPU-10000000-0000-4000-8000-000000000000"
EVENT = "Event", "team", "gpu-over-share-uid-trainer-10000000"


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the verb reach a cluster of a stack with these keys, in which a pod has 1 MiB more than its share."""

    def reached(**keys: object) -> FakeCluster:
        stack = settings_of(usage=True, powerManagement=False, **keys)
        found = healthy(stack)
        found.add_pod("trainer", "gpu-1", "team", **{"nvidia.com/gpu": 1})
        found.add_pod("notebook", "gpu-1", "team", **{"nvidia.com/gpu": 1})
        lines = [process(GPU, "uid-trainer", 6145, 97), process(GPU, "uid-notebook", 6144, 0), gpu(GPU, 0, 2)]
        writes(found, "gpu-1", lines)

        apply = found.apply

        def with_uid(manifest: dict[str, Any]) -> None:
            apply(manifest | {"metadata": {"uid": "4711"} | manifest["metadata"]})

        def connect(*_: object) -> FakeCluster:
            return found

        def settings(_: str) -> Settings:
            return stack

        monkeypatch.setattr(found, "apply", with_uid)
        monkeypatch.setattr("gpuctl.cluster.connect", connect)
        for module in ("gpuctl.cli.verify", "gpuctl.cli.running"):
            monkeypatch.setattr(f"{module}.silent_settings_of", settings)
        monkeypatch.setattr(running, "InstalledPrograms", FakePrograms)
        return found

    return reached


def _publish() -> Result:
    return CliRunner().invoke(app, ["verify", "--stack", "lab", "--check", "gpu-capacity", "--publish"])


def _of_pods(cluster: FakeCluster) -> list[tuple[str, str | None, str]]:
    return [key for key in cluster.objects if key[0] == "Event" and key[1] == "team"]


def test_a_pod_over_its_share_has_an_event_with_the_figures_and_no_other_pod_has(reach: Any) -> None:
    cluster = reach(memoryBudget="observe")
    assert _publish().exit_code == 0
    assert _of_pods(cluster) == [EVENT]
    event = cluster.objects[EVENT]
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "GpuMemoryOverShare", 1)
    assert event["message"] == (
        "team/trainer holds 6145 MiB of GPU 0 of gpu-1, and its share is 6144 MiB; time slicing does not limit memory"
    )
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "trainer",
        "namespace": "team",
        "uid": "uid-trainer",
    }


def test_the_same_again_counts_on_and_keeps_the_time_of_the_first(reach: Any) -> None:
    cluster = reach(memoryBudget="observe")
    _publish()
    cluster.objects[EVENT]["firstTimestamp"] = "2026-11-25T12:00:00Z"
    _publish()
    event = cluster.objects[EVENT]
    assert (event["count"], event["firstTimestamp"]) == (2, "2026-11-25T12:00:00Z")
    assert datetime.fromisoformat(event["lastTimestamp"]) > datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_without_the_key_no_pod_is_told(reach: Any) -> None:
    cluster = reach()
    assert _publish().exit_code == 0
    assert _of_pods(cluster) == []


def test_events_that_may_not_be_written_are_said_and_are_no_success(reach: Any) -> None:
    cluster = reach(memoryBudget="observe")
    apply = cluster.apply

    def refuse(manifest: dict[str, Any]) -> None:
        if manifest["metadata"]["namespace"] == "team":
            raise AccessDeniedError("events is forbidden")
        apply(manifest)

    cluster.apply = refuse
    result = _publish()
    assert (result.exit_code, "events is forbidden" in result.stderr) == (1, True)
