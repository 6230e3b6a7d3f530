"""What a cluster consists of, on disk from before its first process starts until after its last one ended.

So `up` brings up what is missing and `down` finds everything, also after a crash of either.
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Self

from testbed import cgroups, links
from testbed.control_plane import PORTS, SERVICE_PORT
from testbed.errors import BedError
from testbed.layout import CACHE, CLUSTERS, SLOT_GROUPS, SLOTS, ClusterDir, Slot
from testbed.locking import exclusive

LOOPBACK = "127.0.0.1"

_PORT_NAMES: tuple[str, ...] = (*PORTS, "kwok", "registry")


@dataclass
class NodeRecord:
    """A real node."""

    number: int
    """Gives its addresses and names within the cluster."""
    boards: list[str]
    """Keys of gpus.MODELS."""
    real_gpu: bool
    """Whether it has the machine's own GPUs instead."""
    toolkit: bool = True
    """Whether its containerd has the handler `nvidia`."""


@dataclass
class ClusterState:
    """One cluster."""

    slot: int
    address: str
    """Of the API server: on the cluster's bridge, or LOOPBACK where no real nodes can run."""
    ports: dict[str, int]
    claim: str = ""
    """The control group that reserves the slot on this machine (cgroups.identity); empty on LOOPBACK."""
    talos: str = ""
    """The release that its nodes run, such as v1.13.9; empty when they run this machine's own system."""
    tools: dict[str, str] = field(default_factory=dict[str, str])
    """Folder of each tool it was started with; it keeps them when those of the checkout change."""
    nodes: dict[str, NodeRecord] = field(default_factory=dict[str, NodeRecord])

    @classmethod
    def load(cls, directory: ClusterDir) -> Self | None:
        """The recorded state; None when the cluster is not up."""
        try:
            document = json.loads(directory.state.read_text())
        except FileNotFoundError:
            return None
        nodes = {name: NodeRecord(**record) for name, record in document.pop("nodes").items()}
        return cls(nodes=nodes, **document)

    @property
    def has_slot(self) -> bool:
        """Whether the slot is still this cluster's: a claim ends when the machine is started again."""
        return not self.claim or cgroups.identity(Slot(self.slot).prefix) == self.claim

    def save(self, directory: ClusterDir) -> None:
        """Records the state, whole or not at all."""
        directory.root.mkdir(parents=True, exist_ok=True)
        draft = directory.state.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=2))
        draft.replace(directory.state)

    @property
    def dra(self) -> bool:
        """Whether its nodes have CDI and NVIDIA's DRA driver."""
        return "dra-images" in self.tools

    def add_node(self, name: str, boards: list[str], *, real_gpu: bool, toolkit: bool = True) -> None:
        """Records a node under the next free number; one that is there keeps its own.

        Raises:
            BedError: it is there with other GPUs or another runtime.
        """
        used = {record.number for record in self.nodes.values()}
        number = next(number for number in range(1, 255) if number not in used)
        present = self.nodes.setdefault(name, NodeRecord(number, boards, real_gpu, toolkit))
        if (present.boards, present.real_gpu) != (boards, real_gpu):
            raise BedError(
                f"node {name} is up with other GPUs ({' + '.join(present.boards) or 'real ones'}); they are "
                "built in. Give the new node another name, or start over: python -m testbed down"
            )
        if present.toolkit != toolkit:
            raise BedError(
                f"node {name} is up with{'' if present.toolkit else 'out'} the container toolkit. Give the new node "
                "another name, or start over: python -m testbed down"
            )


def claim(directory: ClusterDir, tools: Mapping[str, str], *, bridged: bool, talos: str = "") -> ClusterState:
    """Takes the lowest slot that is free on this machine for a new cluster, with free ports.

    Args:
        directory: of the new cluster.
        tools: the folder of each tool it is started with.
        bridged: whether the API server listens on a bridge, where real nodes can reach it.
        talos: the release that its nodes run, if they run Talos.

    Raises:
        BedError: no slot is free.
    """
    with exclusive(CACHE / "slots.lock", "the choice of addresses"):
        slot, claimed = _free_slot(bridged=bridged)
        ports = dict(zip(_PORT_NAMES, _free_ports(slot, len(_PORT_NAMES)), strict=True))
        address = str(slot.api_address) if bridged else LOOPBACK
        state = ClusterState(slot.number, address, ports, claimed, talos, dict(tools))
        if state.dra:  # the DRA driver reaches the API server by its Service, whose port is fixed
            ports["kube-apiserver"] = SERVICE_PORT
        state.save(directory)
        return state


def claim_again(directory: ClusterDir, state: ClusterState) -> None:
    """Takes a cluster's slot once more if the machine was started again since.

    Raises:
        BedError: another cluster has it by now.
    """
    if state.has_slot:
        return
    claimed = cgroups.reserve(Slot(state.slot).prefix)
    if claimed is None:
        raise BedError(
            f"the addresses of cluster {directory.name!r} belong to another one since this machine was started again. "
            f"Start over: python -m testbed down --name {directory.name}"
        )
    state.claim = claimed
    state.save(directory)


def cluster_names() -> list[str]:
    """The clusters that are up, or were not taken down."""
    return sorted(path.parent.name for path in CLUSTERS.glob(f"*/{ClusterDir('any').state.name}"))


def _free_slot(*, bridged: bool) -> tuple[Slot, str]:
    """A slot and its claim; clusters of other cache folders show in their claim or their bridge only."""
    states = (ClusterState.load(ClusterDir(name)) for name in cluster_names())
    taken = {state.slot for state in states if state}
    for slot in map(Slot, SLOTS):
        if slot.number in taken or links.exists(slot.bridge):
            continue
        claimed = cgroups.reserve(slot.prefix) if bridged else ""
        if claimed is not None:
            return slot, claimed
    raise BedError(
        f"all {len(SLOTS)} address ranges of this machine are taken, here by {', '.join(cluster_names()) or 'nobody'}. "
        "Take a cluster down: python -m testbed down --name NAME. Ranges taken from other cache folders: "
        f"ls -d {cgroups.tracked_root()}/{SLOT_GROUPS}"
    )


def _free_ports(slot: Slot, count: int) -> list[int]:
    return list(islice(filter(_is_free, range(slot.first_port, 32768)), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
