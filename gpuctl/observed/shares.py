"""GPUs of NVIDIA's DRA driver: what ResourceSlices say of nodes, and ResourceClaims of pods.

A node's status and a pod's say nothing of them. Joined with both, they read as with a device plugin: a share is a
slice of the GPU, a GPU that the driver has tainted offers none, and a pod holds what its claims consume.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from gpuctl.cluster import Cluster, Manifest, Node, Pod
from gpuctl.cluster.objects import DeviceHealth, DeviceStatus, Quantity, Taint, whole

DRIVER = "gpu.nvidia.com"
"""By which slices and claims name the driver."""
RESOURCE = "nvidia.com/gpu"
"""As which its DeviceClass has one share of a GPU."""


class SharedDevice(NamedTuple):
    """A GPU as its node's driver has published it."""

    node: str
    pool: str
    name: str
    """Unique in the pool, such as `gpu-0`."""
    uuid: str
    shares: int
    """How many pods can have it at once; 1 of a whole GPU, which says nothing of shares."""
    taints: tuple[str, ...]
    """What the driver holds against it, such as `gpu.nvidia.com/xid=79`."""


class _Attribute(msgspec.Struct, frozen=True, rename="camel"):
    string: str = ""


class _Capacity(msgspec.Struct, frozen=True, rename="camel"):
    value: Quantity = "1"


class _Device(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    attributes: dict[str, _Attribute] = {}
    capacity: dict[str, _Capacity] = {}
    taints: tuple[Taint, ...] = ()


class _Pool(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    generation: int = 0


class _SliceSpec(msgspec.Struct, frozen=True, rename="camel"):
    driver: str = ""
    node_name: str = ""
    pool: _Pool = _Pool()
    devices: tuple[_Device, ...] = ()


class _Slice(msgspec.Struct, frozen=True, rename="camel"):
    spec: _SliceSpec = _SliceSpec()


class _Allocated(msgspec.Struct, frozen=True, rename="camel"):
    driver: str = ""
    pool: str = ""
    device: str = ""
    admin_access: bool = False
    consumed_capacity: dict[str, Quantity] = {}


class _Devices(msgspec.Struct, frozen=True, rename="camel"):
    results: tuple[_Allocated, ...] = ()


class _Allocation(msgspec.Struct, frozen=True, rename="camel"):
    devices: _Devices = _Devices()


class _Consumer(msgspec.Struct, frozen=True, rename="camel"):
    uid: str = ""


class _ClaimStatus(msgspec.Struct, frozen=True, rename="camel"):
    reserved_for: tuple[_Consumer, ...] = ()
    allocation: _Allocation = _Allocation()


class _Claim(msgspec.Struct, frozen=True, rename="camel"):
    status: _ClaimStatus = _ClaimStatus()


_Kind = TypeVar("_Kind")


def published(slices: Iterable[Manifest]) -> list[SharedDevice]:
    """The GPUs in the newest generation of each pool; what a driver is about to take back counts no more."""
    own = [each.spec for each in _read(slices, _Slice) if each.spec.driver == DRIVER]
    newest: dict[str, int] = defaultdict(int)
    for spec in own:
        newest[spec.pool.name] = max(newest[spec.pool.name], spec.pool.generation)
    return [
        _published(spec, device)
        for spec in own
        if spec.pool.generation == newest[spec.pool.name]
        for device in spec.devices
    ]


def nodes(cluster: Cluster, by_dra: Collection[str]) -> list[Node]:
    """All nodes; those of the DRA driver have and offer what their slices say.

    Args:
        cluster: it is not asked for slices where no node is of the driver.
        by_dra: names of nodes whose GPUs the driver offers.

    Raises:
        ClusterError: it does not answer, or the user may not read slices.
    """
    found = cluster.nodes()
    return with_shares(found, published(cluster.list("ResourceSlice")), by_dra) if by_dra else found


def pods(cluster: Cluster, by_dra: Collection[str], namespace: str | None = None) -> list[Pod]:
    """The pods of a namespace, or of all, with the devices that their claims have.

    Args:
        cluster: as with `nodes`.
        by_dra: the same.
        namespace: None is all.

    Raises:
        ClusterError: it does not answer, or the user may not read slices and claims.
    """
    found = cluster.pods(namespace)
    if not by_dra:
        return found
    return with_claims(found, cluster.list("ResourceClaim", namespace), published(cluster.list("ResourceSlice")))


def with_shares(found: Iterable[Node], devices: Collection[SharedDevice], by_dra: Collection[str]) -> list[Node]:
    """Nodes whose status has the shares of their devices, in place of what a device plugin may have left there."""
    return [_with_shares(node, devices) if node.name in by_dra else node for node in found]


def with_claims(found: Iterable[Pod], claims: Iterable[Manifest], devices: Iterable[SharedDevice]) -> list[Pod]:
    """Pods with the shares that they hold. What several pods hold together counts as the first one's."""
    known = {(each.pool, each.name): each for each in devices}
    holding: dict[str, list[DeviceHealth]] = defaultdict(list)
    for claim in _read(claims, _Claim):
        for consumer in claim.status.reserved_for[:1]:
            for result in claim.status.allocation.devices.results:
                if result.driver == DRIVER and not result.admin_access:
                    place = known.get((result.pool, result.device))
                    holding[consumer.uid] += _held(result, place, len(holding[consumer.uid]))
    return [_with_claims(pod, holding.get(pod.metadata.uid, [])) for pod in found]


def _read(objects: Iterable[Manifest], kind: type[_Kind]) -> Iterator[_Kind]:
    """What cannot be read is left out, as with nodes and pods."""
    for each in objects:
        try:
            yield msgspec.convert(each, kind)
        except msgspec.ValidationError:
            continue


def _with_claims(pod: Pod, shares: list[DeviceHealth]) -> Pod:
    return replace(pod, claimed=(DeviceStatus(RESOURCE, tuple(shares)),)) if shares else pod


def _with_shares(node: Node, devices: Iterable[SharedDevice]) -> Node:
    own = [each for each in devices if each.node == node.name]
    has, offers = (sum(each.shares for each in some) for some in (own, [each for each in own if not each.taints]))
    status = replace(
        node.status,
        capacity=node.status.capacity | {RESOURCE: str(has)},
        allocatable=node.status.allocatable | {RESOURCE: str(offers)},
    )
    return replace(node, status=status)


def _held(result: _Allocated, device: SharedDevice | None, taken: int) -> list[DeviceHealth]:
    """A device that is not published any more is known by its place."""
    shares = whole(result.consumed_capacity.get("shares", "1"))
    if device is None:
        return [DeviceHealth(f"{result.pool}/{result.device}::{taken + number}", "Unknown") for number in range(shares)]
    health = "Unhealthy" if device.taints else "Healthy"
    if device.shares == 1:
        return [DeviceHealth(device.uuid, health)]
    return [DeviceHealth(f"{device.uuid}::{taken + number}", health) for number in range(shares)]


def _published(spec: _SliceSpec, device: _Device) -> SharedDevice:
    uuid = device.attributes.get("uuid") or device.attributes.get(f"{DRIVER}/uuid")
    taints = tuple(
        f"{taint.key}={taint.value}".rstrip("=")
        for taint in device.taints
        if taint.effect in ("NoSchedule", "NoExecute")
    )
    shares = whole(device.capacity.get("shares", _Capacity()).value)
    name = uuid.string if uuid else device.name
    return SharedDevice(spec.node_name, spec.pool.name, device.name, name, shares, taints)
