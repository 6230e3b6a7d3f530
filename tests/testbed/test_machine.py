"""What is changed on the machine for its nodes, and taken back after the last one."""

import os
from pathlib import Path

import pytest

from testbed import cgroups, machine


@pytest.fixture(autouse=True)
def point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mount point that does not exist yet, on a machine of the test's own."""
    point = tmp_path / "var" / "lib" / "kubelet"
    point.parent.mkdir(parents=True)
    monkeypatch.setattr(machine, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(machine, "MOUNT_POINTS", (str(point),))
    monkeypatch.setattr(cgroups, "is_unified", lambda: False)
    monkeypatch.setattr(cgroups, "node_groups", list[str])
    return point


def test_a_mount_point_made_for_nodes_goes_with_the_last_of_them(point: Path) -> None:
    machine.claim("node-1")
    machine.claim("node-2")
    machine.release("node-1")
    assert point.exists()
    machine.release("node-2")
    assert not point.exists()


def test_a_mount_point_that_was_there_before_stays(point: Path) -> None:
    point.mkdir()
    machine.claim("node-1")
    machine.release("node-1")
    assert point.exists()


def test_a_mount_point_stays_while_a_node_of_another_cache_folder_may_use_it(
    point: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To remove it would unmount what that node has mounted there."""
    machine.claim("node-1")
    with monkeypatch.context() as other:
        other.setattr(cgroups, "node_groups", lambda: ["gtb3n1"])
        machine.release("node-1")
    assert point.exists()
    machine.claim("node-2")
    machine.release("node-2")
    assert not point.exists()


def test_a_mount_point_that_something_else_uses_by_now_stays(point: Path) -> None:
    machine.claim("node-1")
    (point / "file").touch()
    machine.release("node-1")
    assert point.exists()


def test_a_node_that_is_claimed_twice_is_released_at_once(point: Path) -> None:
    """As it happens when a node is started again after a crash."""
    machine.claim("node-1")
    machine.claim("node-1")
    machine.release("node-1")
    assert not point.exists()


def test_releasing_a_node_that_was_never_claimed_changes_nothing(point: Path) -> None:
    machine.claim("node-1")
    machine.release("node-2")
    assert point.exists()


def test_the_controllers_handed_on_for_nodes_are_withdrawn_after_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    withdrawn: list[str] = []

    def delegate(_group: Path) -> list[str]:
        return ["memory", "pids"]

    def withdraw(_group: Path, controllers: list[str]) -> None:
        withdrawn.extend(controllers)

    monkeypatch.setattr(cgroups, "is_unified", lambda: True)
    monkeypatch.setattr(cgroups, "delegate", delegate)
    monkeypatch.setattr(cgroups, "withdraw", withdraw)
    machine.claim("node-1")
    assert withdrawn == []
    machine.release("node-1")
    assert withdrawn == ["memory", "pids"]


def test_without_root_the_obstacle_is_one_sentence_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert machine.obstacle() == (
        "real nodes need root (namespaces and control groups); run as root or use --kwok-nodes"
    )
