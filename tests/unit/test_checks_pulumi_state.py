"""Pulumi's own state of the stack: who holds its lock, whether it can be read, what was broken off."""

import json
from pathlib import Path

import pytest

from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.checks.pulumi_state import CHECKS, no_provider_is_left, nobody_holds_the_lock, state_is_whole
from gpuctl.cluster.programs import Ran
from tests.fixtures.checks import FakePrograms, context_of, results_of
from tests.fixtures.fake_cluster import FakeCluster

LOCK = {"pid": 4711, "username": "alice", "hostname": "workstation", "timestamp": "2026-11-28T20:05:00Z"}


class Pulumi(FakePrograms):
    """A Pulumi that answers each of its commands in its own way."""

    def __init__(self, backend: str, exported: Ran) -> None:
        super().__init__()
        self._answers = {"whoami": Ran(json.dumps({"user": "alice", "url": backend}), "", 0), "stack": exported}

    def run(self, *command: str, seconds: float = 60) -> Ran | None:  # noqa: ARG002
        return self._answers[command[1]]


def only(check: Check, backend: str = "https://app.pulumi.com/alice", exported: Ran | None = None) -> Result:
    programs = Pulumi(backend, exported or Ran(json.dumps({"version": 3, "deployment": {"resources": []}}), "", 0))
    (found,) = results_of(check, context_of(FakeCluster(), programs=programs))
    return found


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    folder = tmp_path / ".pulumi/locks/organization/gpu/lab"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_only_the_doctor_asks_and_only_where_pulumi_is(check: Check) -> None:
    (found,) = results_of(check, context_of(FakeCluster()))
    assert (check.deep, found.outcome) == (True, Outcome.SKIP)


def test_a_lock_that_was_left_is_told_with_its_owner_and_the_command_that_removes_it(locks: Path) -> None:
    (locks / "1b2c.json").write_text(json.dumps(LOCK))
    found = only(nobody_holds_the_lock, f"file://{locks.parents[4]}")
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "stack lab is locked by alice@workstation (pid 4711) since 2026-11-28T20:05:00Z",
    )
    assert found.remedy == "pulumi cancel --yes --stack lab"


def test_a_lock_that_cannot_be_read_is_one_all_the_same(locks: Path) -> None:
    (locks / "1b2c.json").write_text("{")
    found = only(nobody_holds_the_lock, f"file://{locks.parents[4]}")
    assert (found.outcome, found.fact) == (Outcome.FAIL, f"stack lab is locked by someone, by {locks / '1b2c.json'}")


def test_locks_of_other_stacks_are_theirs(locks: Path) -> None:
    other = locks.parent / "prod"
    other.mkdir()
    (other / "1b2c.json").write_text(json.dumps(LOCK))
    assert only(nobody_holds_the_lock, f"file://{locks.parents[4]}").outcome is Outcome.PASS


@pytest.mark.parametrize("backend", ["https://app.pulumi.com/alice", "s3://states"])
def test_locks_elsewhere_are_not_seen(backend: str) -> None:
    assert only(nobody_holds_the_lock, backend).outcome is Outcome.SKIP


def test_a_state_without_an_open_operation_is_whole() -> None:
    assert only(state_is_whole).outcome is Outcome.PASS


def test_an_operation_without_an_end_is_told() -> None:
    urn = "urn:pulumi:lab::gpu::kubernetes:apps/v1:DaemonSet::nvidia-device-plugin"
    pending = [{"type": "updating", "resource": {"urn": urn}}]
    found = only(state_is_whole, exported=Ran(json.dumps({"deployment": {"pending_operations": pending}}), "", 0))
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "an update of stack lab was broken off while it was updating nvidia-device-plugin",
    )
    assert found.remedy == "pulumi up --refresh --stack lab"


def test_a_state_that_was_cut_off_is_told_with_the_way_back() -> None:
    ran = Ran("", "error: failed to load checkpoint: unexpected end of JSON input\n", 1)
    found = only(state_is_whole, "file:///srv/state", ran)
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "the state of stack lab cannot be read: failed to load checkpoint: unexpected end of JSON input",
    )
    state = "/srv/state/.pulumi/stacks/gpu/lab.json"
    assert found.remedy == f"cp {state}.bak {state} && pulumi up --refresh --stack lab"


def test_a_stack_that_pulumi_does_not_know_has_no_state_to_judge() -> None:
    found = only(state_is_whole, exported=Ran("", "error: no stack named 'lab' found\n", 1))
    assert (found.outcome, found.fact) == (
        Outcome.SKIP,
        "whether the state of stack lab can be read is not known: no stack named 'lab' found",
    )


PLUGIN = "plugins/resource-kubernetes-v4.25.0/pulumi-resource-kubernetes 127.0.0.1:40001"


@pytest.mark.parametrize(
    ("processes", "facts"),
    [
        (
            f"    1     0 /sbin/init\n 4712     1 /home/alice/.pulumi/{PLUGIN}\n",
            ["a pulumi-resource-kubernetes runs (pid 4712) whose pulumi is gone"],
        ),
        (
            f" 1  0 /sbin/init\n 88 1 /lib/systemd/systemd --user\n 4712 88 /home/alice/.pulumi/{PLUGIN}\n",
            ["a pulumi-resource-kubernetes runs (pid 4712) whose pulumi is gone"],
        ),
        (f"4711 1 /opt/pulumi/bin/pulumi up --yes\n4712 4711 /home/alice/.pulumi/{PLUGIN}\n", []),
        (f"4711 1 pulumi up\n4712 4711 /home/alice/.pulumi/{PLUGIN}\n", []),
        (f"4712 1 /home/bob/.pulumi/{PLUGIN}\n", []),
        ("4712 1 /home/alice/.pulumi/plugins/resource-aws-v7.0.0/pulumi-resource-aws 127.0.0.1:40001\n\n4713\n", []),
        ("4712 1 vi /home/alice/.pulumi/plugins/pulumi-resource-kubernetes\n", []),
    ],
    ids=["orphan", "of a user's session", "at work", "on the PATH", "of another user", "another provider", "an editor"],
)
def test_a_provider_whose_pulumi_was_killed_is_named_with_the_command_that_ends_it(
    processes: str, facts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    programs = FakePrograms(ps=Ran(processes, "", 0))
    (found,) = results_of(no_provider_is_left, context_of(FakeCluster(), programs=programs))
    assert [found.fact] * (found.outcome is Outcome.FAIL) == facts
    assert found.remedy == ("kill 4712" if facts else "")


def test_the_providers_of_pulumis_own_folder_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_HOME", "/srv/pulumi")
    programs = FakePrograms(ps=Ran(f"4712 1 /srv/pulumi/{PLUGIN}\n", "", 0))
    (found,) = results_of(no_provider_is_left, context_of(FakeCluster(), programs=programs))
    assert found.outcome is Outcome.FAIL
    assert programs.commands == [("ps", "-Aww", "-o", "pid=,ppid=,command=")], "lines are not cut off at COLUMNS"
