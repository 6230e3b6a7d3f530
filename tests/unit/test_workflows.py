"""What the workflows may do: no secret for a fork, no more rights than a job needs, nothing that floats."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer.core
import yaml
from typer.main import get_command

from gpuctl.cli.app import app
from testbed.go_tools import PULUMI_VERSION
from tests.fixtures.stack_files import ROOT
from tests.fixtures.workflows import ACTIONS, FOLDER, WORKFLOWS, Job, document_of, jobs, steps_of

SECRET = re.compile(r"\$\{\{[^}]*\bsecrets\b")
OWN_BRANCH = "github.event.pull_request.head.repo.full_name == github.repository"
WRITES = {
    ("fork-comment", "comment"): {"pull-requests"},
    ("deploy", "comment"): {"pull-requests"},
    ("drift", "drift"): {"issues"},
}
"""Job -> what it may write; every other job may only read."""

each_file = pytest.mark.parametrize("file", [*WORKFLOWS, *ACTIONS], ids=lambda file: str(file.relative_to(FOLDER)))
each_workflow = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
each_job = pytest.mark.parametrize("job", jobs(), ids=lambda job: f"{job.workflow}/{job.name}")


def _is_for_forks(job: Job) -> bool:
    return job.workflow == "pull-request" and OWN_BRANCH not in job.content.get("if", "")


@each_file
def test_every_action_is_pinned_by_its_commit_and_says_its_version(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text())
    foreign = [words for words in used if not words.startswith("./")]
    assert [words for words in foreign if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", words)] == []
    assert len(used) == sum("uses" in step for step in steps_of(file))


def test_one_action_has_one_version_everywhere() -> None:
    text = "".join(file.read_text() for file in (*WORKFLOWS, *ACTIONS))
    pins = set(re.findall(r"uses: ([\w/-]+)@(.*)", text))
    assert len(pins) == len({action for action, _ in pins})


@each_workflow
def test_a_workflow_itself_may_do_nothing(file: Path) -> None:
    assert document_of(file)["permissions"] == {}


@each_job
def test_a_job_may_write_only_what_it_is_there_for(job: Job) -> None:
    granted: dict[str, str] = job.content["permissions"]
    assert {what for what, right in granted.items() if right != "read"} == WRITES.get((job.workflow, job.name), set())


@each_job
def test_no_job_that_a_fork_can_start_names_a_secret_or_an_environment(job: Job) -> None:
    if _is_for_forks(job):
        assert not SECRET.search(yaml.safe_dump(job.content))
        assert "environment" not in job.content
        assert job.content["runs-on"] == "ubuntu-24.04", "a machine of one's own is no place for a stranger's code"


@each_job
def test_a_job_with_secrets_has_an_environment_that_guards_them(job: Job) -> None:
    named = bool(SECRET.search(yaml.safe_dump(job.content)))
    assert named == ("environment" in job.content)


def test_the_jobs_that_touch_clusters_have_the_same_variables() -> None:
    environments = [job.content["env"] for job in jobs() if "environment" in job.content]
    assert len(environments) == 3
    assert all(each == environments[0] for each in environments)


@each_file
def test_no_script_has_an_expression_pasted_into_it(file: Path) -> None:
    """A branch may be called `$(rm -rf .)`."""
    assert [step["run"] for step in steps_of(file) if "${{" in step.get("run", "")] == []


@each_job
def test_no_checkout_leaves_the_token_behind(job: Job) -> None:
    found = [step.get("with", {}) for step in job.content["steps"] if "actions/checkout@" in step.get("uses", "")]
    assert [each.get("persist-credentials") for each in found] == [False]


@each_job
def test_a_job_ends_by_itself(job: Job) -> None:
    assert job.content["timeout-minutes"] <= 60


def test_the_run_with_the_right_to_write_takes_no_code_from_a_pull_request() -> None:
    (job,) = jobs("fork-comment")
    checkout: dict[str, Any] = job.content["steps"][0]
    assert set(checkout["with"]) == {"persist-credentials"}
    assert not any("workflow_run" in str(step.get("env")) for step in job.content["steps"])
    assert document_of(FOLDER / "workflows" / "fork-comment.yml")["on"]["workflow_run"]["workflows"] == [
        document_of(FOLDER / "workflows" / "pull-request.yml")["name"]
    ]


def test_a_deployment_that_began_is_never_cancelled() -> None:
    deploy = next(job.content for job in jobs("deploy") if job.name == "deploy")
    assert deploy["concurrency"] == {"group": "deploy-${{ matrix.stack }}", "cancel-in-progress": False}
    assert "concurrency" not in document_of(FOLDER / "workflows" / "deploy.yml")


@each_file
def test_every_script_and_target_that_is_run_exists(file: Path) -> None:
    text = "\n".join(step.get("run", "") for step in steps_of(file))
    for script in re.findall(r"\.github/scripts/[\w.]+", text):
        assert (ROOT / script).exists(), script
    for target in re.findall(r"\bmake ([\w-]+)", text):
        assert subprocess.run(["make", "-n", target, "STACK=lab"], cwd=ROOT, capture_output=True).returncode == 0, (
            target
        )


def _texts() -> dict[str, str]:
    code = [*WORKFLOWS, *ACTIONS, *(FOLDER / "scripts").glob("*.*"), ROOT / "Makefile"]
    docs = [ROOT / "docs" / f"{name}.md" for name in ("gitlab-ci", "pull-requests", "many-clusters")]
    return {str(file.relative_to(ROOT)): file.read_text() for file in (*code, *docs)}


def test_every_verb_and_option_of_gpuctl_that_is_used_exists() -> None:
    group = cast("typer.core.TyperGroup", get_command(app))
    context = group.make_context("gpuctl", [], resilient_parsing=True)
    used = [
        (name, found[1], re.findall(r"(?<!\S)--[a-z-]+", found[2]))
        for name, text in _texts().items()
        for found in re.finditer(r"(?:-m |`|^ *)gpuctl ([a-z]+)((?: [^\n|;&>`]*)?)", text, re.MULTILINE)
    ]
    assert {"plan", "verify", "render"} <= {verb for _, verb, _ in used}
    for name, verb, options in used:
        command = group.get_command(context, verb)
        assert command, f"{name}: gpuctl {verb}"
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(options) <= known, f"{name}: gpuctl {verb}"


def test_the_pulumi_that_deploys_is_the_one_that_is_tested() -> None:
    (step,) = [step for step in steps_of(FOLDER / "actions" / "cluster" / "action.yml") if step.get("id") == "pinned"]
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=ROOT,
        env={"GITHUB_OUTPUT": "/dev/stdout"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"version={PULUMI_VERSION}\n"


def _lines(script: Any) -> Iterator[str]:
    """GitLab flattens lists in lists."""
    if isinstance(script, str):
        yield script
    else:
        for part in script:
            yield from _lines(part)


def test_the_gitlab_file_is_yaml_and_its_scripts_are_shell() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "gitlab-ci.md").read_text(), re.DOTALL)
    found = {name: "\n".join(_lines(job["script"])) for name, job in yaml.safe_load(text).items() if "script" in job}
    assert set(found) == {"unit-tests", "plan", "comment", "preview", "deploy", "drift"}
    for name, script in found.items():
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        for used in re.findall(r"\.github/scripts/[\w.]+", script):
            assert (ROOT / used).exists(), f"{name}: {used}"


def test_a_target_for_one_stack_says_when_none_is_named() -> None:
    for target in ("preview", "up", "verify"):
        done = subprocess.run(["make", target], cwd=ROOT, capture_output=True, text=True)
        assert f"which stack? make {target} STACK=NAME, of: demo homelab lab" in done.stderr
        assert done.returncode != 0
