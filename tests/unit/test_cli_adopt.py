"""`gpuctl adopt` as a user starts it: the screen, the exit codes, and that nothing changes unless it is asked to."""

import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner, Result

from gpuctl.cli.app import app
from gpuctl.cluster import RejectedError, UnreachableError
from tests.fixtures import starts
from tests.fixtures.fake_cluster import FakeCluster
from tests.fixtures.starts import kustomization, of_another_stack, running, written

STACK_FILE = """\
config:
  gpu:context: admin@lab
  gpu:nodes:
    - {name: gpu-1, gpu: rtx-3090, count: 2}
    - {name: gpu-2, gpu: rtx-4090, count: 1}
"""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCluster:
    """A cluster with the device plugin of `kubectl apply -k`, and a stack file for it."""
    return _use(running(written(kustomization())), monkeypatch, tmp_path)


def _use(fake: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str = STACK_FILE) -> FakeCluster:
    file = tmp_path / "Pulumi.lab.yaml"
    file.write_text(text)
    monkeypatch.setenv("PULUMI_OPTION_CONFIG_FILE", str(file))

    def connect(*_: object) -> FakeCluster:
        return fake

    monkeypatch.setattr("gpuctl.cluster.connect", connect)
    return fake


def _adopt(*words: str) -> Result:
    return CliRunner().invoke(app, ["adopt", "--stack", "lab", *words], env={"COLUMNS": "200"})


def _writes(fake: FakeCluster) -> int:
    return sum(call in ("apply", "create", "delete") for call in fake.calls)


def test_the_screen_says_what_is_there_what_becomes_of_it_and_in_which_order(
    fake: FakeCluster, snapshot: SnapshotAssertion
) -> None:
    done = _adopt()
    assert (done.exit_code, done.stderr) == (10, "")
    assert done.stdout == snapshot
    assert _writes(fake) == 0


def test_with_yes_the_marks_are_written_and_the_rest_is_said(fake: FakeCluster, snapshot: SnapshotAssertion) -> None:
    done = _adopt("--yes")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == snapshot
    assert _writes(fake) == 2
    assert fake.appliers == {"gpuctl"}
    assert _adopt().exit_code == 10
    again = _adopt("--yes")
    assert "nothing is changed" in again.stdout
    assert _writes(fake) == 2


def test_for_programs_it_is_the_same(fake: FakeCluster, snapshot: SnapshotAssertion) -> None:
    said = json.loads(_adopt("-o", "json").stdout)
    assert said == snapshot
    assert _writes(fake) == 0


def test_what_pulumi_up_takes_by_itself_is_0(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _use(running(written([starts.RUNTIME_CLASS])), monkeypatch, tmp_path)
    assert _adopt().exit_code == 10
    assert _adopt("--yes").exit_code == 0
    assert _adopt().exit_code == 0


@pytest.mark.parametrize("words", [(), ("--yes",)])
def test_with_something_in_the_way_nothing_is_changed(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = _use(of_another_stack(), monkeypatch, tmp_path)
    done = _adopt(*words)
    assert done.exit_code == 1
    assert "belong to stack gpu/old" in done.stdout
    assert _writes(fake) == 0


def test_with_something_in_the_way_not_even_what_could_be_is_taken_over(fake: FakeCluster) -> None:
    del fake.node_objects["gpu-2"]
    done = _adopt("--yes")
    assert done.exit_code == 1
    assert "context admin@lab has no node gpu-2" in done.stdout
    assert "In the way, and to be fixed first; nothing is taken over until then:" in done.stdout
    assert _writes(fake) == 0


def test_a_stack_that_is_gone_is_taken_over_where_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = _use(of_another_stack(), monkeypatch, tmp_path)
    dry = _adopt("--from-stack", "gpu/old")
    assert dry.exit_code == 10
    assert "gpuctl adopt --stack lab --from-stack gpu/old --yes" in dry.stdout
    assert _adopt("--from-stack", "gpu/old", "--yes").exit_code == 0
    assert _writes(fake) == 4
    assert fake.appliers == {"gpuctl", "gpu-sharing"}


def test_a_stack_of_which_nothing_is_there_is_a_mistake(fake: FakeCluster) -> None:
    done = _adopt("--from-stack", "gpu/old", "--yes")
    assert done.exit_code == 2
    assert "nothing there is of stack gpu/old; there is no other stack" in " ".join(done.stderr.split())
    assert _writes(fake) == 0


def test_a_stack_file_with_mistakes_is_refused_before_the_cluster_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = _use(FakeCluster(), monkeypatch, tmp_path, STACK_FILE + "  gpu:slices: 65\n")
    done = _adopt("--yes")
    assert done.exit_code != 0
    assert "gpu:slices = 65" in str(done.exception)
    assert fake.calls == []


def test_rights_that_lack_are_found_before_anything_is_changed(fake: FakeCluster) -> None:
    fake.forbidden.add("patch RuntimeClass")
    done = _adopt("--yes")
    assert done.exit_code == 3
    assert done.stderr == "gpuctl: error: you may not change (patch) RuntimeClass there, so nothing was changed\n"
    assert _writes(fake) == 0


def test_a_cluster_that_does_not_answer_is_3(fake: FakeCluster) -> None:
    fake.failures["nodes"] = UnreachableError("context admin@lab cannot be reached: no route")
    done = _adopt("--yes")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == "gpuctl: error: context admin@lab cannot be reached: no route\n"


def test_a_cluster_that_refuses_says_so(fake: FakeCluster) -> None:
    fake.failures["apply"] = RejectedError("context admin@lab refuses: uid mismatch")
    done = _adopt("--yes")
    assert done.exit_code == 3
    assert "refuses: uid mismatch" in done.stderr
