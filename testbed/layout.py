"""Where everything of the test bed lies on disk, and which names and addresses a cluster has.

Nothing is written outside `CACHE`; programs in it are shared by every checkout of the project.
"""

import os
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from testbed.errors import BedError

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-testbed"
ARTIFACTS = CACHE / "tools"
"""Everything built or fetched, one folder per content key."""
CLUSTERS = CACHE / "clusters"

SLOTS = range(10)
"""Clusters that can run side by side."""

NETWORK_PREFIX = 16
"""Length of the prefix that all addresses of a slot's nodes have in common."""

SLOT_GROUPS = "gtb[0-9]"
"""Pattern of Slot.prefix, the name of the control group that reserves a slot."""

NODE_GROUPS = "gtb[0-9]n[0-9]*"
"""Pattern of the names that Slot.node_group gives."""


@dataclass(frozen=True)
class ClusterDir:
    """The files of one cluster; all of them go when it is taken down."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", self.name):
            raise BedError(
                f"cluster name {self.name!r} is not valid: it becomes part of paths and of the kubeconfig "
                "context, so it takes lower-case letters, digits and hyphens, at most 32. "
                "Choose another: python -m testbed up --name demo"
            )

    @property
    def root(self) -> Path:
        """The cluster's folder; it exists exactly while the cluster is up or was not taken down."""
        return CLUSTERS / self.name

    @property
    def state(self) -> Path:
        """What the cluster consists of (cluster_state.py)."""
        return self.root / "cluster.json"

    @property
    def kubeconfig(self) -> Path:
        """Administrator's access."""
        return self.root / "kubeconfig"

    @property
    def control_plane(self) -> Path:
        """Data, certificates and logs of the control plane."""
        return self.root / "control-plane"

    @property
    def kwok(self) -> Path:
        """Log and process record of kwok."""
        return self.root / "kwok"

    def node(self, name: str) -> Path:
        """Everything of one real node."""
        return self.root / "nodes" / name

    @property
    def pulumi_home(self) -> Path:
        """PULUMI_HOME: plugins and credentials."""
        return self.root / "pulumi-home"

    @property
    def pulumi_state(self) -> Path:
        """Pulumi's file backend: its stacks describe this cluster and end with it."""
        return self.root / "pulumi-state"

    @property
    def kubectl_cache(self) -> Path:
        """KUBECACHEDIR: what kubectl knows of this API server; the next one may have the same address."""
        return self.root / "kubectl-cache"

    @property
    def stack_file(self) -> Path:
        """The stack file that pulumi reads and writes for this cluster, so that it changes none of a checkout."""
        return self.root / "stack.yaml"

    @property
    def temporary(self) -> Path:
        """TMPDIR: the Kubernetes provider leaves copies of the kubeconfig in it."""
        return self.root / "tmp"


@dataclass(frozen=True)
class Slot:
    """One of ten address spaces and name prefixes, so that clusters do not meet."""

    number: int

    @property
    def prefix(self) -> str:
        """Start of the names of links and control groups; a link's name holds 15 characters."""
        return f"gtb{self.number}"

    @property
    def bridge(self) -> str:
        """The link that carries the API server's address."""
        return self.prefix

    @property
    def api_address(self) -> IPv4Address:
        """Where nodes reach the API server."""
        return IPv4Address(f"10.{200 + self.number}.255.1")

    @property
    def first_port(self) -> int:
        """Start of the cluster's ports: below the ephemeral range, whose ports other connections take."""
        return 20000 + 100 * self.number

    def node_group(self, number: int) -> str:
        """Name of a node's control group and of its link on the machine's side."""
        return f"{self.prefix}n{number}"

    def node_address(self, number: int) -> IPv4Address:
        """A node's address; its gateway is the address before."""
        return IPv4Address(f"10.{200 + self.number}.{number}.2")

    def network_address(self, number: int) -> IPv4Interface:
        """A node's address with the network that all nodes and the bridge are in, for nodes on the bridge itself."""
        return IPv4Interface(f"{self.node_address(number)}/{NETWORK_PREFIX}")

    def pods(self, number: int) -> IPv4Network:
        """The addresses of a node's pods."""
        return IPv4Network(f"10.{210 + self.number}.{number}.0/24")
