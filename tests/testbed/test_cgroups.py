"""A node's control group ends whatever was started in it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import cgroups, machine

pytestmark = pytest.mark.skipif(machine.obstacle() is not None, reason=str(machine.obstacle()))


@pytest.fixture
def group() -> Iterator[cgroups.NodeCgroup]:
    group = cgroups.NodeCgroup(f"gtb-test-{os.getpid()}")
    group.create()
    yield group
    group.remove()


def start_in(entrance: Path) -> subprocess.Popen[bytes]:
    """A process that leaves its session and parent, as a container's shim does."""
    script = f"echo $$ >{entrance}; setsid sleep 60 & wait"
    process = subprocess.Popen(["sh", "-c", script])
    while not entrance.read_text().strip():
        assert process.poll() is None
    return process


def folders(name: str) -> list[Path]:
    return [path for path in cgroups.ROOT.glob(f"**/{name}") if path.is_dir()]


def test_removing_the_group_kills_daemons_and_containers(group: cgroups.NodeCgroup) -> None:
    pod = group.entrance.parent.parent / "kubepods" / "pod1"
    pod.mkdir(parents=True)
    daemon, container = start_in(group.entrance), start_in(pod / "cgroup.procs")
    assert len(group.processes()) >= 2
    group.remove()
    assert [daemon.wait(timeout=30), container.wait(timeout=30)]
    assert group.processes() == []
    assert folders(group.name) == []


def test_making_and_removing_may_be_repeated(group: cgroups.NodeCgroup) -> None:
    group.create()
    assert folders(group.name)
    group.remove()
    group.remove()
    assert folders(group.name) == []


def test_a_group_that_goes_while_processes_are_listed_is_passed_over(
    group: cgroups.NodeCgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet removes a pod's group at any moment, also between finding it and listing what is in it."""
    pod = group.entrance.parent.parent / "kubepods" / "pod1"
    pod.mkdir(parents=True)
    daemon = start_in(group.entrance)
    scan = os.scandir

    def scan_too_late(path: str | Path) -> object:
        if Path(path).name == "pod1" and pod.exists():
            pod.rmdir()
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_too_late)
    assert daemon.pid in group.processes()
    assert not pod.exists()
