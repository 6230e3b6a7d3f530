"""The workflows' own steps on a real control plane: preview, deployment and the nightly look.

Each fixture plays one job and builds on the one before. kwok's nodes have no agent that could set a power limit, so the
stack sets none.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1
from tests.cluster.pulumi_stack import Environment, Snapshot, clear, output, snapshot
from tests.fixtures.github import FakeGitHub, entry
from tests.fixtures.workflows import POLICY_ENVIRONMENT, Repository, Runner, jobs

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not (POLICY_ENVIRONMENT / "ready").exists(), reason="no environment for the policy pack: make policy"
    ),
]

STACK, NAMESPACE = "pr", "gpu-pr"
COMMENTS = "issues/12/comments"
OF_THE_MACHINE = ("NO_PROXY", "no_proxy", "GPU_TESTBED_PYTHON", "PULUMI_HOME", "PULUMI_SKIP_UPDATE_CHECK")


@dataclass(frozen=True)
class Played:
    """A job, what it left, and the cluster before and after."""

    runner: Runner
    before: Snapshot
    after: Snapshot


class Project:
    """A repository with the workflows, its GitHub, its backend and its cluster."""

    def __init__(self, cluster: Cluster, environment: Environment, folder: Path) -> None:
        self.github = FakeGitHub(folder)
        self.repository = Repository(folder / "repository")
        self._cluster, self._environment, self._folder, self._played = cluster, environment, folder, 0
        self.main = self.repository.commit(pr=self.stack_file(slices=4))
        self.merge = self.repository.merge_of(pr=self.stack_file(slices=6))

    def stack_file(self, *, slices: int) -> str:
        keys = {"context": self._cluster.context, "namespace": NAMESPACE, "powerManagement": False}
        config = {f"gpu:{key}": value for key, value in (keys | {"slices": slices, "nodes": [GPU_1]}).items()}
        return yaml.safe_dump({"config": config})

    def play(self, workflow: str, name: str, commit: str) -> Played:
        """Plays a job on a commit. It gets the variables and secrets that its workflow names, and nothing else."""
        self._played += 1
        checkout = self.repository.checkout(commit, self._folder / f"checkout-{self._played}")
        own = {name: self._environment[name] for name in OF_THE_MACHINE if name in self._environment}
        programs = (self.github.folder / "bin", Path(sys.executable).parent, self._environment["PATH"].split(":")[0])
        environment = {
            **own,
            **self.github.environment,
            "PATH": os.pathsep.join([*map(str, programs), os.defpath]),
            "HOME": str(self._folder),
            "GITHUB_SHA": commit,
        }
        runner = Runner(checkout, self._folder / f"runner-{self._played}", environment)
        (job,) = [job for job in jobs(workflow) if job.name == name]
        before = snapshot(self._environment)
        runner.play(job, self._context())
        return Played(runner, before, snapshot(self._environment))

    def _context(self) -> Mapping[str, str]:
        return {
            "matrix.stack": STACK,
            "vars.PULUMI_BACKEND_URL": self._environment["PULUMI_BACKEND_URL"],
            "secrets.KUBECONFIG": self._cluster.kubeconfig.read_text(),
            "github.token": "token",
        }


def enforce(environment: Environment, level: str) -> None:
    label = f"pod-security.kubernetes.io/enforce={level}"
    output(environment, "kubectl", "label", "namespace", NAMESPACE, label, "--overwrite")


@pytest.fixture(scope="module")
def project(cluster: Cluster, environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """On main the stack has four slices, in the pull request six; the node offers what it is told to."""
    project = Project(cluster, environment, tmp_path_factory.mktemp("project"))
    output(environment, "pulumi", "stack", "init", STACK, "--cwd", str(project.repository.folder))
    cluster.kwok.advertise(cluster.api, "gpu-1", 8)
    yield project
    cluster.kwok.advertise(cluster.api, "gpu-1", 0)
    output(environment, "pulumi", "stack", "rm", STACK, "--yes", "--force", "--cwd", str(project.repository.folder))
    clear(environment)


@pytest.fixture(scope="module")
def deployed(project: Project) -> Played:
    """Main, before the pull request."""
    return project.play("deploy", "deploy", project.main)


@pytest.fixture(scope="module")
def planned(project: Project) -> str:
    """The comment on the pull request."""
    return (project.play("pull-request", "plan", project.merge).runner.checkout / "plan" / "comment.md").read_text()


@pytest.fixture(scope="module")
def previewed(project: Project, deployed: Played) -> Played:  # noqa: ARG001
    """The pull request."""
    return project.play("pull-request", "preview", project.merge)


@pytest.fixture(scope="module")
def merged(project: Project, cluster: Cluster, previewed: Played) -> Played:  # noqa: ARG001
    """Main, after it."""
    cluster.kwok.advertise(cluster.api, "gpu-1", 12)
    return project.play("deploy", "deploy", project.merge)


@pytest.fixture(scope="module")
def quiet_night(project: Project, merged: Played) -> Played:  # noqa: ARG001
    return project.play("drift", "drift", project.merge)


@pytest.fixture(scope="module")
def drifted_night(project: Project, environment: Environment, quiet_night: Played) -> Played:  # noqa: ARG001
    """Someone changed the namespace by kubectl."""
    enforce(environment, "baseline")
    return project.play("drift", "drift", project.merge)


@pytest.fixture(scope="module")
def fixed_night(project: Project, environment: Environment, drifted_night: Played) -> Played:  # noqa: ARG001
    enforce(environment, "privileged")
    return project.play("drift", "drift", project.merge)


def test_main_is_deployed_and_verified(deployed: Played) -> None:
    assert deployed.runner.succeeded, deployed.runner.output
    assert deployed.before.objects == {}
    assert f'cluster "{STACK}" is ready' in deployed.runner.summary.read_text()
    assert (deployed.runner.checkout / "verify" / f"{STACK}.xml").read_text().startswith("<?xml")


def test_the_preview_shows_the_differences_and_changes_nothing(previewed: Played) -> None:
    assert previewed.runner.succeeded, previewed.runner.output
    assert "replicas: 6" in previewed.runner.output
    assert "gpu-sharing" in previewed.runner.output, "the policy pack was not asked"
    assert "has not seen the cluster" not in previewed.runner.output
    assert previewed.after.changed_since(previewed.before) == set()


def test_what_the_comment_said_is_what_was_deployed_and_observed(planned: str, merged: Played) -> None:
    assert f"8 → 12 schedulable nvidia.com/gpu on {STACK} (+4)" in planned
    assert merged.runner.succeeded, merged.runner.output
    summary = merged.runner.summary.read_text()
    assert re.search(r"\| gpu-1 \| 2 \| 6 \| 12 \| 12 \|", summary), summary


def test_the_merged_pull_request_is_told(project: Project, merged: Played, planned: str) -> None:
    github = project.github
    merge = {"number": 12, "merged_at": "2026-11-01T00:00:00Z", "merge_commit_sha": project.merge}
    github.holds(f"commits/{project.merge}/pulls", merge)
    github.holds(COMMENTS, entry(2, planned))
    done = github.run("comment.py", "verified", str(merged.runner.checkout / "verify"), GITHUB_SHA=project.merge)
    assert done.returncode == 0, done.stderr
    (comment,) = github.entries(COMMENTS)
    assert comment["body"].startswith(planned)
    assert f'cluster "{STACK}" is ready' in comment["body"]


def test_no_job_leaves_a_kubeconfig_behind(deployed: Played, merged: Played, quiet_night: Played) -> None:
    """But in the runner's own temporary folder, which is emptied after each job, and for its own user only."""
    for played in (deployed, merged, quiet_night):
        kept = [path for path in played.runner.checkout.rglob("*") if path.is_file() and ".git" not in path.parts]
        assert not any(b"client-key-data" in path.read_bytes() for path in kept)
        kubeconfig = played.runner.temporary / "kubeconfig"
        assert kubeconfig.stat().st_mode & 0o077 == 0


def test_a_quiet_night_opens_no_issue(project: Project, quiet_night: Played) -> None:
    assert quiet_night.runner.succeeded, quiet_night.runner.output
    assert quiet_night.after.changed_since(quiet_night.before) == set()
    assert all(each["state"] == "closed" for each in project.github.entries("issues"))


def test_drift_fails_the_night_and_opens_an_issue_that_shows_it(project: Project, drifted_night: Played) -> None:
    assert not drifted_night.runner.succeeded
    assert drifted_night.after.changed_since(drifted_night.before) == set()
    (issue,) = project.github.entries("issues")
    assert "no changes were expected" in issue["body"]
    assert "baseline" in issue["body"]
    assert "is NOT ready" in issue["body"]


def test_the_issue_closes_when_all_is_well_again(project: Project, fixed_night: Played) -> None:
    assert fixed_night.runner.succeeded, fixed_night.runner.output
    (issue,) = project.github.entries("issues")
    assert issue["state"] == "closed"
