"""The plan job of a pull request, played as GitHub's runner plays it: a stranger's change, and nothing secret."""

import os
import re
import sys
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from gpuctl.plan.markdown import MARKER
from tests.fixtures.snapshots import MarkdownSnapshot
from tests.fixtures.workflows import Repository, Runner, jobs

STACK = """\
config:
  gpu:context: admin@pr
  gpu:slices: {slices}
  gpu:nodes:
    - {{name: gpu-1, gpu: rtx-3090, count: 2}}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Its branch main has a stack with four slices."""
    repository = Repository(tmp_path / "repository")
    repository.commit(pr=STACK.format(slices=4))
    return repository


def _planned(repository: Repository, merge: str) -> Runner:
    """The runner after the plan job; nothing leads from it to a cluster, a backend or a person's files."""
    home = repository.folder.parent / "home"
    home.mkdir()
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "HOME": str(home),
        "GITHUB_SHA": merge,
        "GITHUB_EVENT_NAME": "pull_request",
    }
    runner = Runner(repository.checkout(merge, home.parent / "checkout"), home.parent / "runner", environment)
    (job,) = [job for job in jobs("pull-request") if job.name == "plan"]
    runner.play(job, {})
    assert list(home.iterdir()) == []
    return runner


def _comment(runner: Runner) -> str:
    comment = (runner.checkout / "plan" / "comment.md").read_text()
    return re.sub(r"\b[0-9a-f]{7,40} → [0-9a-f]{7,40}\b", "BASE → HEAD", comment)


def test_a_fork_gets_the_whole_comment(repository: Repository, snapshot: SnapshotAssertion) -> None:
    runner = _planned(repository, repository.merge_of(pr=STACK.format(slices=6)))
    assert runner.succeeded, runner.output
    assert _comment(runner) == snapshot(extension_class=MarkdownSnapshot)
    assert not (runner.checkout / "plan" / "unchanged").exists()


def test_nothing_of_a_fork_is_executed(repository: Repository) -> None:
    """It may change the program, the script and the action that would read its change."""
    for name in ("gpuctl/__init__.py", ".github/scripts/plan.sh", ".github/actions/setup/action.yml"):
        (repository.folder / name).write_text("raise SystemExit('run')\n")
    runner = _planned(repository, repository.merge_of(pr=STACK.format(slices=6)))
    assert runner.succeeded, runner.output
    assert "8 → 12 schedulable nvidia.com/gpu on pr" in _comment(runner)


def test_what_main_has_got_since_is_no_part_of_the_change(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "more")
    repository.commit(other=STACK.format(slices=2))
    repository.git("checkout", "--quiet", "main")
    repository.commit(pr=STACK.format(slices=8))
    comment = _comment(_planned(repository, repository.merge()))
    assert "0 → 4 schedulable nvidia.com/gpu on other" in comment
    assert re.search(r"Unchanged: .*pr \(16\)", comment)


def test_a_change_of_something_else_is_marked_as_none(repository: Repository) -> None:
    runner = _planned(repository, repository.merge_of())
    assert runner.succeeded, runner.output
    assert (runner.checkout / "plan" / "unchanged").exists()


def test_a_stack_that_cannot_be_deployed_fails_the_job_and_is_told(repository: Repository) -> None:
    runner = _planned(repository, repository.merge_of(pr=STACK.format(slices=0)))
    assert not runner.succeeded
    assert _comment(runner).startswith(f"{MARKER}\n")
    assert "cannot be deployed" in _comment(runner)
