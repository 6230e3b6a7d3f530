"""What a cluster may use, start and end on a machine that it shares with other clusters."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import cgroups, cluster_state, layout, links, machine
from testbed import cluster as clusters
from testbed.cluster import Cluster
from testbed.errors import BedError
from testbed.layout import ClusterDir, Slot


@pytest.fixture(autouse=True)
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the hierarchy of control groups that the test bed looks at."""
    groups = tmp_path / "cgroup" / "memory"
    groups.mkdir(parents=True)
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    for module in (layout, cluster_state, clusters, machine):
        monkeypatch.setattr(module, "CACHE", tmp_path, raising=False)
        monkeypatch.setattr(module, "CLUSTERS", tmp_path / "clusters", raising=False)
    return groups


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process of another cluster."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_nothing_is_claimed_while_tools_are_being_built(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build takes up to an hour, in which another cluster may take what was free before."""

    def build(*_: Any, **__: Any) -> None:
        assert list(groups.iterdir()) == []
        raise BedError("building etcd failed")

    monkeypatch.setattr(clusters, "tools_for", build)
    with pytest.raises(BedError, match="building etcd failed"):
        Cluster("a").up()
    assert not Cluster("a").is_up


def test_a_cluster_that_goes_leaves_its_slot_to_others(groups: Path) -> None:
    state = cluster_state.claim(ClusterDir("a"), {}, bridged=True)
    assert [path.name for path in groups.iterdir()] == [Slot(state.slot).prefix]
    Cluster("a").down()
    assert list(groups.iterdir()) == []


def test_down_ends_no_process_and_removes_no_link_of_a_cluster_that_took_the_slot_since(
    groups: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[bytes]
) -> None:
    """The machine was started again, and another cluster came up before this one was taken down."""
    state = cluster_state.claim(ClusterDir("a"), {}, bridged=True)
    state.add_node("gpu-1", ["l4"], real_gpu=False)
    state.save(ClusterDir("a"))
    taken = Slot(state.slot).prefix
    (groups / taken).rename(groups / "kept")  # so that its inode is not used again
    (groups / taken).mkdir()
    (groups / f"{taken}n1").mkdir()
    (groups / f"{taken}n1" / "cgroup.procs").write_text(f"{other.pid}\n")
    removed: list[str] = []

    def remove(slot: Slot) -> None:
        removed.append(slot.bridge)

    monkeypatch.setattr(links, "remove_bridge", remove)
    Cluster("a").down()
    assert other.poll() is None
    assert removed == []
    assert sorted(path.name for path in groups.iterdir()) == [taken, f"{taken}n1", "kept"]
    assert not Cluster("a").is_up
