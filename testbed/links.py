"""The machine's side of a cluster's network: one bridge, which carries the API server's address.

Nodes make their own links (node.py); those vanish with the node, a moment after its last process.
"""

import socket
import time
from ipaddress import IPv4Interface

from testbed.errors import BedError
from testbed.layout import Slot
from testbed.netlink import Netlink

_GONE_SECONDS = 60


def exists(name: str) -> bool:
    """Whether the machine has a network link of this name."""
    return any(name == existing for _, existing in socket.if_nameindex())


def make_bridge(slot: Slot) -> None:
    """Makes the bridge of a cluster, complete also when an earlier attempt was cut off."""
    if _has_address(str(slot.api_address)):
        return
    remove_bridge(slot)
    with Netlink() as links:
        links.add_bridge(slot.bridge)
        links.up(slot.bridge)
        links.add_address(slot.bridge, IPv4Interface(f"{slot.api_address}/32"))


def remove_bridge(slot: Slot) -> None:
    """Removes the bridge, if there is one."""
    if exists(slot.bridge):
        with Netlink() as links:
            links.delete(slot.bridge)


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


def _has_address(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
