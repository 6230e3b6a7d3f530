"""What the workflows' scripts say on GitHub: one comment, one issue, and never on the word of a stranger's run."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.github import REPOSITORY, SCRIPTS, FakeGitHub, entry
from tests.fixtures.stack_files import ROOT

MARKER = "<!-- gpuctl plan -->"
PLAN = f"{MARKER}\n\n### GPU capacity: 8 → 12\n"
COMMENTS = "issues/12/comments"
DRIFT = "<!-- gpuctl drift: lab -->\n"
SHA, FORK = "a" * 40, {"id": 5, "full_name": "stranger/sharing"}


@pytest.fixture
def github(tmp_path: Path) -> FakeGitHub:
    return FakeGitHub(tmp_path)


def _pull(number: int = 12, sha: str = SHA, repo: dict[str, Any] | None = FORK, label: str = "stranger:more") -> Any:
    return {"number": number, "head": {"sha": sha, "repo": repo, "label": label}}


@pytest.fixture
def post(github: FakeGitHub) -> Callable[..., str]:
    """Runs comment.py on the plan that the run of a fork's branch left; returns what it says."""

    def run(body: str = PLAN, *, unchanged: bool = False, branch: str = "more", exit_code: int = 0) -> str:
        folder = github.folder / "plan"
        folder.mkdir(exist_ok=True)
        (folder / "comment.md").write_text(body)
        if unchanged:
            (folder / "unchanged").touch()
        event = github.folder / "event.json"
        source = FORK | {"owner": {"login": "stranger"}}
        event.write_text(
            json.dumps(
                {
                    "workflow_run": {
                        "head_repository": source,
                        "head_branch": branch,
                        "head_sha": SHA,
                        "html_url": "https://github.example/runs/5",
                    }
                }
            )
        )
        done = github.run("comment.py", "plan", str(folder), GITHUB_EVENT_PATH=str(event))
        assert done.returncode == exit_code, done.stderr
        return done.stdout + done.stderr

    return run


class TestPlan:
    def test_the_first_one_is_a_new_comment(self, github: FakeGitHub, post: Callable[..., str]) -> None:
        github.holds("pulls", _pull())
        post()
        assert [each["body"] for each in github.entries(COMMENTS)] == [PLAN]

    def test_a_later_one_takes_the_place_of_the_comment(self, github: FakeGitHub, post: Callable[..., str]) -> None:
        github.holds("pulls", _pull())
        github.holds(COMMENTS, entry(1, "Nice!", "reviewer"), entry(2, f"{MARKER}\nold"), entry(3, "Thanks", "author"))
        post()
        assert [each["body"] for each in github.entries(COMMENTS)] == ["Nice!", PLAN, "Thanks"]

    def test_it_is_found_behind_hundreds_of_others(self, github: FakeGitHub, post: Callable[..., str]) -> None:
        github.holds("pulls", _pull())
        github.holds(COMMENTS, *(entry(number, "more", "reviewer") for number in range(1, 251)))
        github.holds(COMMENTS, entry(300, f"{MARKER}\nold"))
        post()
        assert github.writes == [["PATCH", "issues/comments/300"]]

    def test_a_whole_page_may_be_the_last_one(self, github: FakeGitHub, post: Callable[..., str]) -> None:
        github.holds("pulls", _pull())
        github.holds(COMMENTS, *(entry(number, "more", "reviewer") for number in range(1, 101)))
        post()
        assert github.writes == [["POST", COMMENTS]]

    def test_comments_of_others_with_the_marker_are_left_alone(
        self, github: FakeGitHub, post: Callable[..., str]
    ) -> None:
        github.holds("pulls", _pull())
        github.holds(COMMENTS, entry(1, PLAN, "stranger"), entry(2, PLAN, None), entry(3, f"So: {MARKER}"))
        post()
        assert github.writes == [["POST", COMMENTS]]

    def test_one_that_changes_nothing_makes_no_comment(self, github: FakeGitHub, post: Callable[..., str]) -> None:
        github.holds("pulls", _pull())
        post(unchanged=True)
        assert github.writes == []

    def test_one_that_changes_nothing_any_more_replaces_what_was_said(
        self, github: FakeGitHub, post: Callable[..., str]
    ) -> None:
        github.holds("pulls", _pull())
        github.holds(COMMENTS, entry(2, f"{MARKER}\nold"))
        post(unchanged=True)
        assert github.writes == [["PATCH", "issues/comments/2"]]

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ("Free GPUs!", "does not begin with"),
            (f"Free GPUs!\n{MARKER}\n", "does not begin with"),
            ("", "does not begin with"),
        ],
    )
    def test_what_is_no_plan_is_not_posted(
        self, github: FakeGitHub, post: Callable[..., str], body: str, reason: str
    ) -> None:
        github.holds("pulls", _pull())
        assert reason in post(body, exit_code=1)
        assert github.writes == []

    def test_one_that_is_too_long_does_not_leave_the_comment_of_an_earlier_commit(
        self, github: FakeGitHub, post: Callable[..., str]
    ) -> None:
        """A push could hide behind it what it does."""
        github.holds("pulls", _pull())
        github.holds(COMMENTS, entry(2, f"{MARKER}\n8 → 9"))
        post(f"{MARKER}\n".ljust(65_537, "x"))
        body = github.entries(COMMENTS)[0]["body"]
        assert body.startswith(f"{MARKER}\n")
        assert f"of {SHA[:12]}" in body
        assert "the plan has 65537 characters, more than a comment takes" in body
        assert "https://github.example/runs/5" in body

    def test_one_that_was_never_made_does_not_leave_it_either(
        self, github: FakeGitHub, post: Callable[..., str]
    ) -> None:
        github.holds("pulls", _pull())
        github.holds(COMMENTS, entry(2, f"{MARKER}\n8 → 9"))
        post("", exit_code=1)
        assert "For this commit there is no plan" in github.entries(COMMENTS)[0]["body"]

    def test_the_longest_that_github_takes_is_posted(self, github: FakeGitHub, post: Callable[..., str]) -> None:
        github.holds("pulls", _pull())
        post(f"{MARKER}\n".ljust(65_536, "x"))
        assert github.writes == [["POST", COMMENTS]]


class TestWhichPullRequest:
    """It is asked of GitHub: the artifact comes from a run that a stranger may have written."""

    @pytest.mark.parametrize(
        "other",
        [
            _pull(sha="b" * 40),
            _pull(repo={"id": 6, "full_name": "other/sharing"}),
            _pull(repo=None),
            _pull(label="stranger:other"),
        ],
        ids=["it has moved on", "of another fork", "of a fork that is gone", "of another branch"],
    )
    def test_one_that_is_not_of_this_commit_gets_nothing(
        self, github: FakeGitHub, post: Callable[..., str], other: Any
    ) -> None:
        github.holds("pulls", other)
        assert "nothing is posted" in post()
        assert github.writes == []

    def test_the_one_of_this_commit_is_found_among_others(self, github: FakeGitHub, post: Callable[..., str]) -> None:
        github.holds("pulls", *(_pull(number, sha="b" * 40) for number in range(20, 140)), _pull())
        post()
        assert github.writes == [["POST", COMMENTS]]

    def test_two_of_one_commit_get_nothing(self, github: FakeGitHub, post: Callable[..., str]) -> None:
        """Their bases differ, and the run does not say which one it compared with."""
        github.holds("pulls", _pull(), _pull(13))
        assert "more than one" in post()
        assert github.writes == []

    def test_a_branch_cannot_write_the_request(self, github: FakeGitHub, post: Callable[..., str]) -> None:
        branch = "x&head=stranger:more&state=all#"
        github.holds("pulls", _pull(14, label=f"stranger:{branch}"), _pull(sha=SHA))
        post(branch=branch)
        assert github.writes == [["POST", "issues/14/comments"]]


class TestVerified:
    def _verified(self, github: FakeGitHub, **reports: str) -> None:
        folder = github.folder / "verify"
        folder.mkdir()
        for stack, text in reports.items():
            (folder / f"{stack}.md").write_text(text)
            (folder / f"{stack}.xml").write_text("<testsuites/>")
        done = github.run("comment.py", "verified", "verify", GITHUB_SHA=SHA)
        assert done.returncode == 0, done.stderr

    def _merges(self, github: FakeGitHub, **other: object) -> None:
        merge = {"number": 12, "merged_at": "2026-11-01T00:00:00Z", "merge_commit_sha": SHA} | other
        github.holds(f"commits/{SHA}/pulls", merge)

    def test_the_reports_of_all_stacks_follow_the_plan(self, github: FakeGitHub) -> None:
        self._merges(github)
        github.holds(COMMENTS, entry(2, PLAN))
        self._verified(github, lab="### lab is ready\n", homelab="### homelab is ready\n")
        body = github.entries(COMMENTS)[0]["body"]
        assert body.startswith(PLAN)
        assert body.index("homelab is ready") < body.index("lab is ready", body.index("homelab is ready") + 10)
        assert f"https://github.example/{REPOSITORY}/actions/runs/7" in body

    def test_a_second_look_takes_the_place_of_the_first(self, github: FakeGitHub) -> None:
        self._merges(github)
        github.holds(COMMENTS, entry(2, f"{PLAN}\n\n<!-- gpuctl verify -->\nlab is NOT ready\n"))
        self._verified(github, lab="### lab is ready\n")
        assert "NOT" not in github.entries(COMMENTS)[0]["body"]

    def test_without_a_plan_it_is_a_comment_of_its_own(self, github: FakeGitHub) -> None:
        self._merges(github)
        self._verified(github, lab="### lab is ready\n")
        assert github.entries(COMMENTS)[0]["body"].startswith(MARKER)

    def test_long_reports_are_cut_to_their_verdicts(self, github: FakeGitHub) -> None:
        self._merges(github)
        self._verified(github, lab="### lab is NOT ready\n" + "x" * 70_000)
        assert len(body := github.entries(COMMENTS)[0]["body"]) < 1000
        assert body.endswith("### lab is NOT ready")

    def test_a_long_plan_makes_way_for_the_verdicts(self, github: FakeGitHub) -> None:
        self._merges(github)
        github.holds(COMMENTS, entry(2, f"{MARKER}\n".ljust(65_500, "x")))
        self._verified(github, lab="### lab is NOT ready\n")
        body = github.entries(COMMENTS)[0]["body"]
        assert len(body) < 1000
        assert body.startswith(MARKER)
        assert body.endswith("### lab is NOT ready")

    @pytest.mark.parametrize("other", [{"merged_at": None}, {"merge_commit_sha": "b" * 40}], ids=["open", "another"])
    def test_only_the_pull_request_that_this_commit_merged_is_told(
        self, github: FakeGitHub, other: dict[str, object]
    ) -> None:
        self._merges(github, **other)
        self._verified(github, lab="### lab is ready\n")
        assert github.writes == []

    def test_a_deployment_that_verified_nothing_says_nothing(self, github: FakeGitHub) -> None:
        self._merges(github)
        self._verified(github)
        assert github.writes == []


class TestDrift:
    def _look(self, github: FakeGitHub, outcome: str, preview: str = "~ 1 to update\n") -> None:
        for folder, name, text in (("drift", "lab.txt", preview), ("verify", "lab.md", "### lab is NOT ready\n")):
            (github.folder / folder).mkdir()
            (github.folder / folder / name).write_text(text)
        done = github.run("drift_issue.py", "lab", outcome)
        assert done.returncode == 0, done.stderr

    def test_drift_opens_an_issue_with_both_looks(self, github: FakeGitHub) -> None:
        self._look(github, "failure")
        body = github.entries("issues")[0]["body"]
        assert body.startswith(DRIFT)
        assert "~ 1 to update" in body
        assert "lab is NOT ready" in body

    def test_drift_that_goes_on_updates_its_issue(self, github: FakeGitHub) -> None:
        """Of the stack, and of the workflow: not another's, nor a stranger's with the same marker."""
        github.holds(
            "issues",
            entry(1, DRIFT.replace("lab", "homelab")),
            entry(2, f"{DRIFT}old", "stranger"),
            entry(3, None),
            entry(4, f"{DRIFT}old"),
        )
        self._look(github, "failure")
        assert github.writes == [["PATCH", "issues/4"]]

    def test_all_well_again_closes_the_issue_with_a_word(self, github: FakeGitHub) -> None:
        github.holds("issues", entry(4, f"{DRIFT}old"))
        self._look(github, "success")
        assert github.writes == [["POST", "issues/4/comments"], ["PATCH", "issues/4"]]
        assert github.entries("issues")[0]["state"] == "closed"

    def test_no_drift_and_no_issue_is_nothing_to_say(self, github: FakeGitHub) -> None:
        self._look(github, "success")
        assert github.writes == []

    def test_a_look_that_never_came_to_its_end_is_told_too(self, github: FakeGitHub) -> None:
        done = github.run("drift_issue.py", "lab", "failure")
        assert done.returncode == 0, done.stderr
        assert github.entries("issues")[0]["body"].startswith(DRIFT)

    def test_a_long_or_hostile_preview_stays_a_code_block_that_fits(self, github: FakeGitHub) -> None:
        self._look(github, "failure", "```\n" + "x" * 100_000 + "```\nerror: the end\n")
        body = github.entries("issues")[0]["body"]
        assert len(body) < 65_536
        assert "\n````\nx" in body
        assert "error: the end\n" in body


def test_a_request_that_github_refuses_ends_the_script(github: FakeGitHub, post: Callable[..., str]) -> None:
    (github.folder / "bin" / "gh").write_text("#!/bin/sh\necho HTTP 403 >&2\nexit 1\n")
    assert "HTTP 403" in post(exit_code=1)


class TestStacks:
    def _matrix(self, tmp_path: Path, wanted: str, checkout: Path = ROOT) -> tuple[str, str]:
        outputs = tmp_path / "outputs"
        done = subprocess.run(
            [sys.executable, SCRIPTS / "stacks.py"],
            cwd=checkout,
            env={"GPU_STACKS": wanted, "GITHUB_OUTPUT": str(outputs), "PATH": "/nowhere"},
            capture_output=True,
            text=True,
            check=True,
        )
        return outputs.read_text(), done.stdout

    def test_the_matrix_has_the_stacks_that_the_owner_named(self, tmp_path: Path) -> None:
        assert self._matrix(tmp_path, "lab homelab") == ('stacks=["homelab", "lab"]\n', "")

    def test_a_copy_of_the_repository_looks_after_no_cluster(self, tmp_path: Path) -> None:
        outputs, said = self._matrix(tmp_path, "")
        assert outputs == "stacks=[]\n"
        assert "GPU_STACKS is empty" in said

    def test_a_name_without_a_file_is_told_and_left_out(self, tmp_path: Path) -> None:
        outputs, said = self._matrix(tmp_path, "lab attic")
        assert outputs == 'stacks=["lab"]\n'
        assert "config/Pulumi.attic.yaml" in said

    def test_a_broken_stack_file_stops_no_other_stack(self, tmp_path: Path) -> None:
        (tmp_path / "config").mkdir()
        for name, text in {"lab": "config: {}\n", "broken": "config: {5: [\n"}.items():
            (tmp_path / "config" / f"Pulumi.{name}.yaml").write_text(text)
        assert self._matrix(tmp_path, "lab broken", tmp_path)[0] == 'stacks=["broken", "lab"]\n'


class TestOutputThatOthersHaveASayIn:
    """A status message of the cluster that Pulumi prints could steer the workflow."""

    def _run(self, command: str) -> "subprocess.CompletedProcess[str]":
        script = SCRIPTS / "as_text.sh"
        return subprocess.run([script, "sh", "-c", command], capture_output=True, text=True, check=False)

    def test_no_command_in_it_is_one(self) -> None:
        """GitHub reads none between the two lines, and nobody can know the second one before."""
        first, second = (self._run("echo ::add-mask::x; echo ::stop-commands::x").stdout.splitlines() for _ in "12")
        end = first[0].removeprefix("::stop-commands::")
        assert first[1:] == ["::add-mask::x", "::stop-commands::x", f"::{end}::"]
        assert (len(end), end != second[0].removeprefix("::stop-commands::")) == (32, True)

    def test_the_exit_code_stays(self) -> None:
        done = self._run("echo no >&2; exit 3")
        assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (3, "no\n", 2)
