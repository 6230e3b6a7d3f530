"""The parts of nodes and pods that the project looks at.

A list of ten thousand pods is decoded straight into these: whatever else an answer holds, such as managed fields, is
skipped by the decoder and takes no memory. Names are those of the Kubernetes API. Whatever is missing has its zero
value, as in the API's own types; only an object without a name is none.
"""

from decimal import Decimal
from math import ceil
from typing import Annotated, Any

import msgspec

_SUFFIXES = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18} | {
    f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", 1)
}
_SMALL = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}

Quantity = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\+?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$"
    ),
]
"""An amount of a resource, none of which a node has or a pod asks for less than nothing.

The form is that of `k8s.io/apimachinery/pkg/api/resource`, without signs and with an end to its digits.
"""


def whole(quantity: str) -> int:
    """A quantity rounded up to whole units, as Kubernetes rounds."""
    number = quantity.rstrip("numkKMGTPEi")
    factor = _SUFFIXES.get(suffix := quantity[len(number) :]) or _SMALL.get(suffix, 1)
    return ceil(Decimal(number) * factor)


class Owner(msgspec.Struct, frozen=True, rename="camel"):
    """What made an object."""

    kind: str = ""
    name: str = ""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Name and labels of an object."""

    name: str
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    owner_references: tuple[Owner, ...] = ()


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that is or is not so."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class Taint(msgspec.Struct, frozen=True, rename="camel"):
    """What keeps pods off a node."""

    key: str = ""
    effect: str = ""
    value: str = ""


class _NodeSpec(msgspec.Struct, frozen=True, rename="camel"):
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeInfo(msgspec.Struct, frozen=True, rename="camel"):
    """What the kubelet says of the machine."""

    kubelet_version: str = ""
    os_image: str = ""
    kernel_version: str = ""
    container_runtime_version: str = ""


class Address(msgspec.Struct, frozen=True, rename="camel"):
    """Where a node can be reached."""

    type: str = ""
    address: str = ""


class _NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    capacity: dict[str, Quantity] = {}
    allocatable: dict[str, Quantity] = {}
    conditions: tuple[Condition, ...] = ()
    addresses: tuple[Address, ...] = ()
    node_info: NodeInfo = NodeInfo()


class Node(msgspec.Struct, frozen=True, rename="camel"):
    """A node."""

    metadata: Metadata
    spec: _NodeSpec = _NodeSpec()
    status: _NodeStatus = _NodeStatus()

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.metadata.labels

    @property
    def ready(self) -> bool:
        """Whether its kubelet reports Ready."""
        return _is_true(self.status.conditions, "Ready")

    def capacity(self, name: str) -> int:
        """How much of a countable resource it has, healthy or not."""
        return whole(self.status.capacity.get(name, "0"))

    def allocatable(self, name: str) -> int:
        """How much of a countable resource it offers to the scheduler."""
        return whole(self.status.allocatable.get(name, "0"))


class Variable(msgspec.Struct, frozen=True, rename="camel"):
    """An environment variable that is written out."""

    name: str = ""
    value: str = ""


class _Resources(msgspec.Struct, frozen=True, rename="camel"):
    limits: dict[str, Quantity] = {}


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """A container as it was asked for."""

    name: str = ""
    image: str = ""
    env: tuple[Variable, ...] = ()
    resources: _Resources = _Resources()
    restart_policy: str = ""
    """`Always` in an init container that runs beside the others to the end."""


class _PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""
    priority: int = 0
    runtime_class_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class DeviceHealth(msgspec.Struct, frozen=True, rename="camel"):
    """One device of a container, as the kubelet reports it since Kubernetes 1.31 (KEP-4680, feature gate)."""

    resource_id: str = msgspec.field(name="resourceID")
    """Of a shared GPU: its UUID, two colons, and the number of the slice."""
    health: str = ""


class DeviceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The devices of one resource that a container has."""

    name: str = ""
    resources: tuple[DeviceHealth, ...] = ()


class _Waiting(msgspec.Struct, frozen=True, rename="camel"):
    reason: str = ""
    message: str = ""


class _Terminated(msgspec.Struct, frozen=True, rename="camel"):
    reason: str = ""
    message: str = ""
    exit_code: int = 0
    started_at: str = ""
    finished_at: str = ""


class _Running(msgspec.Struct, frozen=True, rename="camel"):
    started_at: str = ""


class _State(msgspec.Struct, frozen=True, rename="camel"):
    waiting: _Waiting | None = None
    running: _Running | None = None
    terminated: _Terminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a container."""

    name: str = ""
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    state: _State = _State()
    last_state: _State = _State()
    allocated_resources_status: tuple[DeviceStatus, ...] = ()


class _PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    start_time: str = ""
    """When the kubelet took it, and gave it its devices."""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    extended_resource_claim_status: dict[str, Any] | None = None
    """The claim that the scheduler wrote for what it asks for; None where a device plugin offers that."""


class Pod(msgspec.Struct, frozen=True, rename="camel"):
    """A pod."""

    metadata: Metadata
    spec: _PodSpec = _PodSpec()
    status: _PodStatus = _PodStatus()
    claimed: tuple[DeviceStatus, ...] = ()
    """What its ResourceClaims hold, by the resource that stands for it. The API has it in the claims; see
    `gpuctl.observed.shares`."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.metadata.namespace

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.metadata.labels

    @property
    def node(self) -> str:
        """The node it was given; empty while it has none."""
        return self.spec.node_name

    @property
    def ready(self) -> bool:
        """Whether it is ready and not about to end."""
        return _is_true(self.status.conditions, "Ready") and not self.metadata.deletion_timestamp

    @property
    def active(self) -> bool:
        """Whether it holds what it asked for: it has a node and is not over."""
        return bool(self.node) and self.status.phase not in ("Succeeded", "Failed")

    def asks_for(self, name: str) -> int:
        """How much of a countable resource it holds at most at one time, as the scheduler counts it.

        What its claims hold counts before what it asks for: a claim may be for several shares, or for none.
        """
        if claimed := [each for each in self.claimed if each.name == name]:
            return sum(len(each.resources) for each in claimed)
        beside, most = 0, 0
        for container in self.spec.init_containers:
            amount = whole(container.resources.limits.get(name, "0"))
            most = max(most, beside + amount)
            beside += amount if container.restart_policy == "Always" else 0
        running = sum(whole(container.resources.limits.get(name, "0")) for container in self.spec.containers)
        return max(most, beside + running)

    def devices(self, name: str) -> tuple[DeviceHealth, ...]:
        """The devices of a resource it has; none where neither the kubelet nor a claim says so."""
        reported = (each for box in self.status.container_statuses for each in box.allocated_resources_status)
        return tuple(
            device for status in (*self.claimed, *reported) if status.name == name for device in status.resources
        )


def _is_true(conditions: tuple[Condition, ...], kind: str) -> bool:
    return any(condition.type == kind and condition.status == "True" for condition in conditions)


Manifest = dict[str, Any]
"""Any other object, as the API gives it."""
