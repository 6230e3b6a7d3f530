"""Network links of the test bed, through rtnetlink: a GPU machine need not have the `ip` command.

Only what the test bed uses: bridges, veth pairs, addresses and routes, IPv4.
"""

import ctypes
import fcntl
import os
import socket
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_NLMSG_ERROR = 2
_RTM_NEWLINK, _RTM_DELLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 17, 20, 24
_REQUEST_ACK, _CREATE_EXCLUSIVE = 0x5, 0x600
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_GATEWAY = 1, 5
_IFF_UP = 1
_CLONE_NEWNET = 0x40000000
_SIOCGIFINDEX = 0x8933


class Netlink:
    """A connection to the kernel's network tables in one namespace (the current one if none is given).

    Every method raises OSError with the kernel's reason.
    """

    def __init__(self, namespace: Path | None = None) -> None:
        self._socket = _socket_in(namespace) if namespace else _socket()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def add_bridge(self, name: str) -> None:
        """Makes a bridge."""
        info = _attribute(_IFLA_INFO_KIND, b"bridge")
        link = _link() + _attribute(_IFLA_IFNAME, _text(name)) + _attribute(_IFLA_LINKINFO, info)
        self._request(_RTM_NEWLINK, link, _CREATE_EXCLUSIVE)

    def add_veth(self, name: str, peer: str, peer_namespace: Path) -> None:
        """Makes connected links: `name` here, `peer` in another namespace; both vanish with either."""
        namespace = os.open(peer_namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            far = _link() + _attribute(_IFLA_IFNAME, _text(peer))
            far += _attribute(_IFLA_NET_NS_FD, struct.pack("I", namespace))
            data = _attribute(_VETH_INFO_PEER, far)
            info = _attribute(_IFLA_INFO_KIND, b"veth") + _attribute(_IFLA_INFO_DATA, data)
            link = _link() + _attribute(_IFLA_IFNAME, _text(name)) + _attribute(_IFLA_LINKINFO, info)
            self._request(_RTM_NEWLINK, link, _CREATE_EXCLUSIVE)
        finally:
            os.close(namespace)

    def delete(self, name: str) -> None:
        """Removes a link; its addresses and routes go with it."""
        self._request(_RTM_DELLINK, _link() + _attribute(_IFLA_IFNAME, _text(name)))

    def up(self, name: str) -> None:
        """Switches a link on."""
        self._request(_RTM_NEWLINK, _link(_IFF_UP) + _attribute(_IFLA_IFNAME, _text(name)))

    def add_address(self, name: str, address: IPv4Interface) -> None:
        """Gives a link an address."""
        packed = address.ip.packed
        header = struct.pack("BBBBI", socket.AF_INET, address.network.prefixlen, 0, 0, self._index(name))
        body = header + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        self._request(_RTM_NEWADDR, body, _CREATE_EXCLUSIVE)

    def add_route(self, destination: IPv4Network, gateway: IPv4Address) -> None:
        """Routes a network through a neighbour; 0.0.0.0/0 is the default route."""
        main_table, static, universe, unicast = 254, 4, 0, 1
        length = destination.prefixlen
        header = struct.pack("8BI", socket.AF_INET, length, 0, 0, main_table, static, universe, unicast, 0)
        network = _attribute(_RTA_DST, destination.network_address.packed) if length else b""
        self._request(_RTM_NEWROUTE, header + network + _attribute(_RTA_GATEWAY, gateway.packed), _CREATE_EXCLUSIVE)

    def _index(self, name: str) -> int:
        # an ioctl (on a struct ifreq) answers for its socket's namespace, if_nametoindex for the thread's
        answer = fcntl.ioctl(self._socket, _SIOCGIFINDEX, struct.pack("16s24x", _text(name)))
        return struct.unpack("16xi20x", answer)[0]

    def _request(self, kind: int, body: bytes, flags: int = 0) -> None:
        self._socket.send(struct.pack("IHHII", 16 + len(body), kind, _REQUEST_ACK | flags, 1, 0) + body)
        answer = self._socket.recv(65536)
        answer_kind, code = struct.unpack_from("4xH10xi", answer)
        if answer_kind == _NLMSG_ERROR and code:
            raise OSError(-code, os.strerror(-code))


def _socket() -> socket.socket:
    connection = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    connection.bind((0, 0))
    return connection


def _socket_in(namespace: Path) -> socket.socket:
    """A socket keeps the namespace it was made in, so this thread goes there and comes back."""
    here, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(namespace, os.O_RDONLY)
    try:
        _setns(there)
        try:
            return _socket()
        finally:
            _setns(here)
    finally:
        os.close(here)
        os.close(there)


def _setns(descriptor: int) -> None:  # os.setns came with Python 3.12
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} (setns to a network namespace)")


def _link(flags: int = 0) -> bytes:
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, 0, flags, flags)


def _text(name: str) -> bytes:
    return name.encode() + b"\0"


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)
