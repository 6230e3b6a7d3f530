"""Things made once and kept by what they were made from."""

import os
import threading
import time
from pathlib import Path

import pytest

from testbed import artifacts
from testbed.artifacts import artifact, key
from testbed.locking import exclusive


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path)
    return tmp_path


def write(out: Path) -> None:
    (out / "file").write_text("made")


def unexpected(_out: Path) -> None:
    raise AssertionError("made a second time")


def test_the_same_inputs_are_made_once() -> None:
    first = artifact("tool", key("1"), "making", write)
    assert (first / "file").read_text() == "made"
    assert artifact("tool", key("1"), "making", unexpected) == first


def test_other_inputs_give_another_artifact() -> None:
    first = artifact("tool", key("1"), "making", write)
    assert artifact("tool", key("2"), "making", write) != first


def test_a_file_in_a_folder_within_a_folder_is_an_input_too(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("1")
    first = key(*artifacts.folder_content(tmp_path / "a"))
    (tmp_path / "a" / "b" / "file").write_text("2")
    assert key(*artifacts.folder_content(tmp_path / "a")) != first


def test_where_one_input_ends_and_the_next_begins_matters() -> None:
    assert key("ab", "c") != key("a", "bc")


def test_a_file_added_changed_or_renamed_in_a_folder_changes_its_key(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    seen: set[str] = set()
    for change in (
        lambda: (folder / "go.mod").write_text("1"),
        lambda: (folder / "go.mod").write_text("2"),
        lambda: (folder / "go.sum").write_text("3"),
        lambda: (folder / "go.sum").rename(folder / "main.go"),
    ):
        change()
        seen.add(key(*artifacts.folder_content(folder)))
    assert len(seen) == 4


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_or_interrupted_make_leaves_nothing_half_made(store: Path, error: type[BaseException]) -> None:
    def fail(out: Path) -> None:
        write(out)
        raise error

    with pytest.raises(error):
        artifact("tool", key("1"), "making", fail)
    assert [path.name for path in store.iterdir()] == ["lock"]
    assert (artifact("tool", key("1"), "making", write) / "file").exists()


def test_what_a_killed_run_left_does_not_get_into_the_next_artifact(store: Path) -> None:
    (store / "draft").mkdir()
    (store / "draft" / "half").touch()
    made = artifact("tool", key("1"), "making", write)
    assert [path.name for path in made.iterdir()] == ["file"]


def test_two_runs_at_once_make_it_once_and_the_second_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, release, made = threading.Event(), threading.Event(), list[Path]()
    screen = tmp_path / "stderr"
    monkeypatch.setattr("sys.stderr", screen.open("w", buffering=1))

    def slowly(out: Path) -> None:
        made.append(out)
        making.set()
        release.wait(60)

    runs = [threading.Thread(target=artifact, args=("tool", key("1"), "making", slowly)) for _ in range(2)]
    runs[0].start()
    assert making.wait(10)
    runs[1].start()
    until = time.monotonic() + 30
    while "waiting for process" not in screen.read_text() and time.monotonic() < until:
        time.sleep(0.01)
    runs[1].join(0.2)
    assert len(made) == 1, "the second run does wait"
    release.set()
    for run in runs:
        run.join()
    assert f"waiting for process {os.getpid()}, which holds the build" in screen.read_text()
    assert len(made) == 1


def test_what_is_made_can_be_used_while_something_else_is_made(store: Path) -> None:
    artifact("tool", key("1"), "making", write)
    with exclusive(store / "lock", "a build"):
        use = threading.Thread(target=artifact, args=("tool", key("1"), "making", unexpected), daemon=True)
        use.start()
        use.join(5)
        assert not use.is_alive()
