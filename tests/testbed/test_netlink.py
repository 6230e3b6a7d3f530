"""Links, addresses and routes, made in a network namespace of the test's own."""

import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from testbed import machine
from testbed.netlink import Netlink

pytestmark = pytest.mark.skipif(machine.obstacle() is not None, reason=str(machine.obstacle()))


@pytest.fixture
def namespaces() -> Iterator[tuple[Path, Path]]:
    """Two empty network namespaces, each kept by a sleeping process."""
    keepers = [subprocess.Popen(["unshare", "--net", "sleep", "60"]) for _ in range(2)]
    paths = [Path(f"/proc/{keeper.pid}/ns/net") for keeper in keepers]
    while any(path.readlink() == Path("/proc/self/ns/net").readlink() for path in paths):
        time.sleep(0.01)
    yield paths[0], paths[1]
    for keeper in keepers:
        keeper.kill()
        keeper.wait()


def listing(namespace: Path, table: str) -> str:
    return (namespace.parent.parent / "net" / table).read_text()


def test_a_pair_joins_two_namespaces_and_carries_addresses_and_routes(namespaces: tuple[Path, Path]) -> None:
    here, there = namespaces
    with Netlink(here) as near, Netlink(there) as far:
        near.add_veth("near0", "far0", there)
        near.add_address("near0", IPv4Interface("10.0.0.1/30"))
        near.up("near0")
        far.add_address("far0", IPv4Interface("10.0.0.2/30"))
        far.up("far0")
        far.add_route(IPv4Network("0.0.0.0/0"), IPv4Address("10.0.0.1"))
        near.add_route(IPv4Network("10.1.0.0/24"), IPv4Address("10.0.0.2"))
    assert "near0" in listing(here, "dev")
    assert "far0" in listing(there, "dev")
    assert "near0\t0000010A\t0200000A\t0003" in listing(here, "route")  # 10.1.0.0 via 10.0.0.2, up and gateway
    assert "far0\t00000000\t0100000A\t0003" in listing(there, "route")


def test_a_bridge_is_made_and_deleted(namespaces: tuple[Path, Path]) -> None:
    with Netlink(namespaces[0]) as links:
        links.add_bridge("br0")
        assert "br0" in listing(namespaces[0], "dev")
        links.delete("br0")
    assert "br0" not in listing(namespaces[0], "dev")


def test_a_refusal_of_the_kernel_is_raised(namespaces: tuple[Path, Path]) -> None:
    with Netlink(namespaces[0]) as links:
        links.add_bridge("br0")
        with pytest.raises(FileExistsError):
            links.add_bridge("br0")
        with pytest.raises(OSError, match="No such device"):
            links.delete("br1")


def test_working_in_another_namespace_leaves_this_process_where_it_is(namespaces: tuple[Path, Path]) -> None:
    own = Path("/proc/thread-self/ns/net")
    before = own.readlink()
    with Netlink(namespaces[0]):
        assert own.readlink() == before
