"""The machine's links to its nodes, made in network namespaces of the test's own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import machine

pytestmark = pytest.mark.skipif(machine.obstacle() is not None, reason=str(machine.obstacle()))

REPOSITORY = Path(__file__).parents[2]
IMPORTS = """\
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from testbed import links
from testbed.layout import Slot
slot = Slot(3)
with links._network() as network:
    links._set_up(network, "lo")
"""


@pytest.fixture
def namespaces() -> Iterator[tuple[Path, Path]]:
    """Two empty network namespaces, the machine's and a node's, each kept by a sleeping process."""
    keepers = [subprocess.Popen(["unshare", "--net", "sleep", "60"]) for _ in range(2)]
    paths = [Path(f"/proc/{keeper.pid}/ns/net") for keeper in keepers]
    while any(path.readlink() == Path("/proc/self/ns/net").readlink() for path in paths):
        time.sleep(0.01)
    yield paths[0], paths[1]
    for keeper in keepers:
        keeper.kill()
        keeper.wait()


def run(namespace: Path, script: str) -> subprocess.CompletedProcess[str]:
    command = ["nsenter", f"--net={namespace}", sys.executable, "-c", IMPORTS + script]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def listing(namespace: Path, table: str) -> str:
    return (namespace.parent.parent / "net" / table).read_text()


def test_a_node_is_joined_to_the_machine_with_addresses_and_routes(namespaces: tuple[Path, Path]) -> None:
    here, there = namespaces
    near, far, pods = "IPv4Interface('10.0.0.1/30')", "IPv4Interface('10.0.0.2/30')", "IPv4Network('10.1.0.0/24')"
    done = run(here, f"links.connect('near0', {near}, Path('{there}'), {far}, {pods})")
    assert done.stderr == ""
    assert "near0\t0000010A\t0200000A\t0003" in listing(here, "route")  # 10.1.0.0 via 10.0.0.2, up and gateway
    assert "eth0\t00000000\t0100000A\t0003" in listing(there, "route")  # everything via 10.0.0.1


def test_a_bridge_is_made_once_and_deleted(namespaces: tuple[Path, Path]) -> None:
    done = run(
        namespaces[0],
        "links.make_bridge(slot); links.make_bridge(slot)\n"
        "print(links.exists('gtb3'), links._has_address('10.203.255.1'))\n"
        "links.remove_bridge(slot); links.remove_bridge(slot)\n"
        "print(links.exists('gtb3'))",
    )
    assert done.stdout == "True True\nFalse\n", done.stderr


def test_a_bridge_that_has_no_address_yet_is_completed(namespaces: tuple[Path, Path]) -> None:
    """As an `up` leaves it that was killed in between."""
    bare = "with links._network() as network: network.link('add', ifname='gtb3', kind='bridge')\n"
    done = run(namespaces[0], bare + "links.make_bridge(slot); print(links._has_address('10.203.255.1'))")
    assert done.stdout == "True\n", done.stderr


def test_a_refusal_of_the_kernel_is_an_os_error_with_its_reason(namespaces: tuple[Path, Path]) -> None:
    twice = "with links._network() as network:\n  for _ in 'ab': network.link('add', ifname='b0', kind='bridge')"
    done = run(namespaces[0], twice)
    assert done.stderr.splitlines()[-1] == "FileExistsError: [Errno 17] File exists"


def test_no_process_is_forked_that_would_take_signals_for_this_one(namespaces: tuple[Path, Path]) -> None:
    """A copy of `up` that is ended by SIGTERM would take the cluster down as `up` itself does."""
    here, there = namespaces
    done = run(
        here,
        f"import os\n\ndef fork(): raise AssertionError('forked')\nos.fork = fork\nslot = Slot(3)\n"
        f"links.make_bridge(slot, 16)\n"
        f"links.attach('gtb3', 'near0', Path('{there}'), slot.network_address(1), slot.api_address)",
    )
    assert done.stderr == ""
    assert "eth0\t00000000\t01FFCB0A\t0003" in listing(there, "route")  # everything via 10.203.255.1
    assert "near0" in listing(here, "dev")
