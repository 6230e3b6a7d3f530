"""gpuctl power history as a user calls it."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner, Result

from gpuctl.cli.app import app
from gpuctl.cluster import UnreachableError
from gpuctl.forms.sparkline import sparkline
from gpuctl.settings import Settings, read_stack
from tests.fixtures.fake_cluster import FakeCluster, healthy

AGENT = "nvidia-power-limit-gpu-1"
"""The agent's pod on gpu-1 of the stack homelab."""
UUIDS = [f"GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64c{digit}" for digit in range(2)]


def _line(time: datetime, index: int, draw: object = 240, throttle: str = "sw_power_cap") -> str:
    return (
        f"time={time:%Y-%m-%dT%H:%M:%SZ} level=info msg=sample gpu={UUIDS[index]} index={index} "
        'name="NVIDIA GeForce RTX 3090" desired_w=300 limit_w=300 enforced_w=300 '
        f"draw_w={draw} default_w=350 min_w=100 max_w=375 util_pct=80 temp_c=60 mem_used_mib=1024 mem_total_mib=24576 "
        f"throttle={throttle} persistence=Enabled at_limit=true"
    )


def _log(minutes: int) -> list[str]:
    """A look each minute at two GPUs until now, among other things."""
    now = datetime.now(UTC)
    times = [now - timedelta(minutes=back) for back in range(minutes, -1, -1)]
    return ["something else", *(_line(time, index) for time in times for index in (0, 1))]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """The cluster of the stack homelab, whose agent began long ago and has been looking for an hour."""
    made = healthy(read_stack("homelab"))
    made.pod_objects[AGENT]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    made.logs[AGENT] = _log(60)

    def connect(*_: object) -> FakeCluster:
        return made

    monkeypatch.setattr("gpuctl.cluster.connect", connect)
    return made


def _history(*arguments: str, stack: str = "homelab") -> Result:
    return CliRunner().invoke(app, ["power", "history", "--stack", stack, *arguments], env={"COLUMNS": "200"})


def test_each_gpu_has_a_row_with_what_it_drew(cluster: FakeCluster) -> None:
    result = _history()
    rows = [line.split() for line in result.stdout.splitlines() if "RTX 3090" in line]
    figures = ["300", "240", "240", "240.0", "100%", "80%", "1:00:00"]
    assert [row[:-1] for row in rows] == [["gpu-1", str(index), "GeForce", "RTX", "3090", *figures] for index in (0, 1)]
    assert rows[0][-1] == "▇" * 24
    assert "480.0 Wh in the time covered" in result.stdout
    assert (result.exit_code, cluster.calls.count("log")) == (0, 1)


def test_a_log_that_was_rotated_is_told_with_the_time_it_covers(cluster: FakeCluster) -> None:
    cluster.logs[AGENT] = _log(20)
    said = _history("--since", "2h").stdout
    assert "gpu-1: covered only from 2" in said
    assert "on; earlier lines are gone: the container began anew, or the kubelet rotated its log" in said


def test_a_pod_that_began_later_is_told(cluster: FakeCluster) -> None:
    cluster.logs[AGENT] = _log(20)
    began = datetime.now(UTC) - timedelta(minutes=21)
    cluster.pod_objects[AGENT]["metadata"]["creationTimestamp"] = f"{began:%Y-%m-%dT%H:%M:%SZ}"
    assert "on; then its pod began" in _history("--since", "2h").stdout


def test_a_log_that_reaches_back_far_enough_is_no_news(cluster: FakeCluster) -> None:  # noqa: ARG001
    assert "gpu-1: " not in _history("--since", "59m").stdout


def test_a_node_without_an_agent_is_told_and_nothing_at_all_is_a_failure(cluster: FakeCluster) -> None:
    del cluster.pod_objects[AGENT]
    result = _history()
    assert "gpu-1: no pod of the power-limit agent runs there" in result.stdout
    assert result.exit_code == 1


def test_an_agent_that_says_nothing_is_told(cluster: FakeCluster) -> None:
    cluster.logs[AGENT] = ["Error from server"]
    assert "gpu-1: its agent has said nothing of any GPU in this time" in _history().stdout


@pytest.mark.parametrize("created", ["", "yesterday", "2026-01-01T00:00:00", "0001-01-01T00:00:00+23:00"])
def test_a_pod_without_a_time_that_can_be_read_stops_nothing(cluster: FakeCluster, created: str) -> None:
    cluster.pod_objects[AGENT]["metadata"]["creationTimestamp"] = created
    assert "covered only from" in _history("--since", "2h").stdout


def test_a_time_without_its_zone_is_no_line_of_the_agent(cluster: FakeCluster) -> None:
    cluster.logs[AGENT].append(re.sub(r"(?<=time=)\S+", "2026-01-01T00:00:00", cluster.logs[AGENT][1]))
    assert _history().exit_code == 0


def test_a_machine_gets_one_document(cluster: FakeCluster) -> None:
    cluster.logs[AGENT] += [_line(datetime.now(UTC), 0, "unknown", "unknown")]
    document = json.loads(_history("-o", "json").stdout)
    first = document["gpus"][0]
    assert document["stack"] == "homelab"
    assert [gpu["gpu"] for gpu in document["gpus"]] == UUIDS
    assert (first["node"], first["limitWatts"], first["peakWatts"], first["coveredSeconds"]) == (
        "gpu-1",
        300,
        240,
        3600,
    )
    assert first["energyWattHours"] == pytest.approx(240, abs=0.1)
    assert len(first["drawWatts"]) == 24
    assert document["notes"] == []


def test_a_cluster_that_does_not_answer_is_told_without_a_traceback(cluster: FakeCluster) -> None:
    cluster.failures["pods"] = UnreachableError("no answer")
    result = _history()
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "gpuctl: error: no answer\n")


def test_a_stack_without_power_management_has_no_agent_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    unmanaged = read_stack("homelab").model_copy(update={"power_management": False})

    def settings_of(_: str) -> Settings:
        return unmanaged

    monkeypatch.setattr("gpuctl.cli.power.settings_of", settings_of)
    result = _history()
    assert result.exit_code == 2
    assert "powerManagement" in result.stderr


@pytest.mark.parametrize(
    ("encoding", "line"), [("utf-8", "▁▄ ██"), ("ascii", "_= @@"), (None, "_= @@"), ("?", "_= @@")]
)
def test_a_sparkline_goes_from_nothing_to_the_limit(encoding: str | None, line: str) -> None:
    assert sparkline([0, 131, None, 300, 320], 300, encoding) == line
