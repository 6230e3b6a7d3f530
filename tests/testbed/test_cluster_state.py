"""What is recorded of clusters, and how they share the machine."""

import socket
from pathlib import Path

import pytest

from testbed import cgroups, cluster_state, layout
from testbed.cluster_state import LOOPBACK, ClusterState, claim_again
from testbed.errors import BedError
from testbed.layout import SLOTS, ClusterDir, Slot


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    groups(tmp_path).mkdir(parents=True)
    use_cache(monkeypatch, tmp_path)
    show_links(monkeypatch)


def groups(tmp_path: Path) -> Path:
    """Stands for the hierarchy of control groups that the test bed looks at."""
    return tmp_path / "cgroup" / "memory"


def use_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for module in (layout, cluster_state):
        monkeypatch.setattr(module, "CACHE", folder)
        monkeypatch.setattr(module, "CLUSTERS", folder / "clusters")


def claim(directory: ClusterDir, *, bridged: bool) -> ClusterState:
    return cluster_state.claim(directory, {}, bridged=bridged)


def show_links(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Makes these the machine's network links."""
    monkeypatch.setattr(cluster_state.links, "exists", names.__contains__)


def state() -> ClusterState:
    return ClusterState(slot=0, address=LOOPBACK, ports={})


def test_each_cluster_gets_the_lowest_free_slot() -> None:
    assert [claim(ClusterDir(name), bridged=False).slot for name in ("a", "b", "c")] == [0, 1, 2]
    ClusterDir("b").state.unlink()
    assert claim(ClusterDir("d"), bridged=False).slot == 1


def test_a_slot_in_use_from_another_cache_folder_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    show_links(monkeypatch, Slot(0).bridge)
    assert claim(ClusterDir("a"), bridged=False).slot == 1


def test_two_cache_folders_never_get_one_slot_though_neither_sees_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two network namespaces neither bridge is seen; the control groups are the machine's all the same."""
    first = claim(ClusterDir("a"), bridged=True)
    use_cache(monkeypatch, tmp_path / "other")
    second = claim(ClusterDir("a"), bridged=True)
    assert (first.slot, second.slot) == (0, 1)
    assert first.claim != second.claim


def test_a_slot_that_is_claimed_between_choice_and_claim_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel makes a folder once, so of two runs at the same moment one goes on."""

    def nobody_yet(name: str) -> bool:
        if name == "gtb0":
            (groups(tmp_path) / name).mkdir()  # by the other run, right after this one found no bridge
        return False

    monkeypatch.setattr(cluster_state.links, "exists", nobody_yet)
    assert claim(ClusterDir("a"), bridged=True).slot == 1


def test_a_cluster_has_its_slot_until_the_machine_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = claim(ClusterDir("a"), bridged=True)
    assert cluster.has_slot
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    monkeypatch.setattr(cgroups, "_BOOT_ID", boot)
    assert not cluster.has_slot


def test_after_a_start_of_the_machine_the_slot_is_taken_again(tmp_path: Path) -> None:
    cluster = claim(ClusterDir("a"), bridged=True)
    (groups(tmp_path) / "gtb0").rmdir()
    claim_again(ClusterDir("a"), cluster)
    assert cluster.has_slot
    recorded = ClusterState.load(ClusterDir("a"))
    assert recorded is not None
    assert recorded.has_slot


def test_a_slot_that_another_took_since_the_start_of_the_machine_is_not_shared(tmp_path: Path) -> None:
    cluster = claim(ClusterDir("a"), bridged=True)
    group = groups(tmp_path) / "gtb0"
    group.rename(group.with_name("kept"))  # so that its inode is not used again
    group.mkdir()
    with pytest.raises(BedError, match=r"addresses of cluster 'a' belong to another .*down --name a"):
        claim_again(ClusterDir("a"), cluster)


def test_a_cluster_on_the_loopback_address_needs_no_claim(tmp_path: Path) -> None:
    assert claim(ClusterDir("a"), bridged=False).has_slot
    assert list(groups(tmp_path).iterdir()) == []


def test_the_eleventh_cluster_is_refused_with_the_names_of_the_others() -> None:
    for number in SLOTS:
        claim(ClusterDir(f"c{number}"), bridged=False)
    with pytest.raises(BedError, match=r"c0, c1, .*down --name"):
        claim(ClusterDir("another"), bridged=False)


def test_the_api_server_is_on_the_bridge_only_where_real_nodes_can_run() -> None:
    assert claim(ClusterDir("a"), bridged=False).address == LOOPBACK
    assert claim(ClusterDir("b"), bridged=True).address == str(Slot(1).api_address)


def test_where_pods_use_the_api_servers_service_it_listens_on_the_port_of_that() -> None:
    state = cluster_state.claim(ClusterDir("a"), {"dra-images": "/somewhere"}, bridged=True)
    assert (state.dra, state.ports["kube-apiserver"]) == (True, 443)
    assert claim(ClusterDir("b"), bridged=True).ports["kube-apiserver"] > 20000


def test_a_port_in_use_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a past run may linger
        first = claim(ClusterDir("a"), bridged=False).ports
        ClusterDir("a").state.unlink()
        taken.bind(("127.0.0.1", min(first.values())))
        taken.listen()
        second = claim(ClusterDir("a"), bridged=False).ports
    assert len(set(first.values())) == len(first)
    assert min(first.values()) not in second.values()


def test_the_state_is_read_back_as_it_was_written() -> None:
    written = state()
    written.add_node("gpu-1", ["rtx-3090", "rtx-3090"], real_gpu=False)
    written.tools["kubernetes"] = "/somewhere"
    written.save(ClusterDir("a"))
    assert ClusterState.load(ClusterDir("a")) == written
    assert cluster_state.cluster_names() == ["a"]


def test_a_cluster_that_is_not_up_has_no_state() -> None:
    assert ClusterState.load(ClusterDir("a")) is None


def test_a_node_keeps_its_number_and_a_removed_ones_is_used_again() -> None:
    cluster = state()
    for name in ("gpu-1", "gpu-2", "gpu-1"):
        cluster.add_node(name, ["l4"], real_gpu=False)
    assert [record.number for record in cluster.nodes.values()] == [1, 2]
    del cluster.nodes["gpu-1"]
    cluster.add_node("gpu-3", ["l4"], real_gpu=False)
    assert cluster.nodes["gpu-3"].number == 1


def test_a_node_that_is_up_cannot_lose_its_container_toolkit() -> None:
    cluster = state()
    cluster.add_node("gpu-1", ["l4"], real_gpu=False)
    with pytest.raises(BedError, match=r"node gpu-1 is up with the container toolkit\. .*another name"):
        cluster.add_node("gpu-1", ["l4"], real_gpu=False, toolkit=False)


@pytest.mark.parametrize(("boards", "real_gpu"), [(["l4", "l4"], False), (["l4"], True)])
def test_a_node_that_is_up_cannot_change_its_gpus(boards: list[str], real_gpu: bool) -> None:
    cluster = state()
    cluster.add_node("gpu-1", ["l4"], real_gpu=False)
    with pytest.raises(BedError, match="node gpu-1 is up with other GPUs"):
        cluster.add_node("gpu-1", boards, real_gpu=real_gpu)
