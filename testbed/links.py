"""The network of clusters: a bridge with the API server's address, and a link from the machine to each node.

Through rtnetlink, because a GPU machine need not have the `ip` command. A node's link vanishes with the node, a moment
after its last process.
"""

import contextlib
import socket
import time
from collections.abc import Generator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError, netns  # pyright: ignore[reportMissingTypeStubs]

from testbed.errors import BedError
from testbed.layout import Slot

_GONE_SECONDS = 60
_DEFAULT = IPv4Network("0.0.0.0/0")


def exists(name: str) -> bool:
    """Whether the machine has a network link of this name."""
    return any(name == existing for _, existing in socket.if_nameindex())


def make_bridge(slot: Slot, prefix_length: int = 32) -> None:
    """Makes the bridge of a cluster, complete also when an earlier attempt was cut off.

    Args:
        slot: of the cluster.
        prefix_length: of the bridge's network; 32 when no node is in it.

    Raises:
        OSError: the kernel refuses it; with its reason.
    """
    if _has_address(str(slot.api_address)):
        return
    remove_bridge(slot)
    with _network() as network:
        network.link("add", ifname=slot.bridge, kind="bridge")
        _set_up(network, slot.bridge, IPv4Interface(f"{slot.api_address}/{prefix_length}"))


def remove_bridge(slot: Slot) -> None:
    """Removes the bridge, if there is one."""
    if exists(slot.bridge):
        with _network() as network:
            network.link("del", ifname=slot.bridge)


def connect(name: str, near: IPv4Interface, namespace: Path, far: IPv4Interface, pods: IPv4Network) -> None:
    """Joins the machine to a node: `name` here, `eth0` in the node's network namespace, which gets its default route.

    Raises:
        OSError: the kernel refuses it; with its reason.
    """
    with _network() as machine:
        _add_pair(machine, name, namespace)
        _set_up(machine, name, near)
        machine.route("add", dst=str(pods), gateway=str(far.ip))
    _complete(namespace, far, near.ip)


def attach(bridge: str, name: str, namespace: Path, address: IPv4Interface, gateway: IPv4Address) -> None:
    """Joins a node to a bridge: `name` on the machine, `eth0` in the node's network namespace.

    Raises:
        OSError: the kernel refuses it; with its reason.
    """
    with _network() as machine:
        _add_pair(machine, name, namespace)
        machine.link("set", index=_index(machine, name), master=_index(machine, bridge))
        _set_up(machine, name)
    _complete(namespace, address, gateway)


def wait_until_gone(name: str) -> None:
    """Waits for the kernel to clear away the link of a node that has ended."""
    deadline = time.monotonic() + _GONE_SECONDS
    while exists(name):
        if time.monotonic() > deadline:
            raise BedError(
                f"network link {name} is still there {_GONE_SECONDS} s after its node ended: some "
                f"process holds its namespace. Remove it: ip link delete {name}"
            )
        time.sleep(0.02)


@contextlib.contextmanager
def _network(namespace: Path | None = None) -> Generator[Any]:
    """The kernel's network tables in a namespace, the current one if none is given; pyroute2 has no types.

    This thread goes into the namespace and comes back. pyroute2's own way to reach one is a fork, in which a signal
    that ends this program would run all that this program does when it ends.
    """
    try:
        with contextlib.ExitStack() as stack:
            if namespace:
                namespaces: Any = netns
                namespaces.pushns()
                stack.callback(namespaces.popns)
                namespaces.setns(str(namespace), flags=0)
            yield stack.enter_context(IPRoute())
    except NetlinkError as error:
        raise OSError(*error.args) from error


def _add_pair(machine: Any, name: str, namespace: Path) -> None:
    machine.link("add", ifname=name, kind="veth", peer={"ifname": "eth0", "net_ns_fd": str(namespace)})


def _complete(namespace: Path, address: IPv4Interface, gateway: IPv4Address) -> None:
    """Gives a node its links, its address and its way out."""
    with _network(namespace) as node:
        _set_up(node, "lo")
        _set_up(node, "eth0", address)
        node.route("add", dst=str(_DEFAULT), gateway=str(gateway))


def _set_up(network: Any, name: str, address: IPv4Interface | None = None) -> None:
    index = _index(network, name)
    if address:
        network.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
    network.link("set", index=index, state="up")


def _index(network: Any, name: str) -> int:
    return network.link_lookup(ifname=name)[0]


def _has_address(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
