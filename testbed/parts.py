"""The parts of a cluster, as its recorded state describes them."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path

from testbed import debian, driver, tools
from testbed.cluster_state import ClusterState
from testbed.control_plane import ControlPlane
from testbed.gpus import NodeSpec
from testbed.kwok import Kwok
from testbed.layout import ClusterDir, Slot
from testbed.node import Node
from testbed.node_config import NodeConfig


def tools_for(state: ClusterState | None, *, real_gpus: Set[bool], kwok: bool) -> dict[str, str]:
    """Where each tool lies that a cluster needs; those missing are built.

    One that it was started with is kept while it is there, also when those of the checkout change.

    Args:
        state: of the cluster; None for a new one.
        real_gpus: the kinds of real nodes that come to it: with this machine's own GPUs, with simulated ones.
        kwok: whether nodes played by kwok come to it.
    """
    recorded = state.tools if state else {}
    kinds = real_gpus | {record.real_gpu for record in state.nodes.values()} if state else real_gpus
    makers: dict[str, Callable[[], Path]] = {
        "kubernetes": tools.kubernetes,
        "commands": tools.commands,
        "provider": tools.provider,
    }
    if kinds:
        makers |= {"debian": debian.packages, "images": tools.node_images}
    if True in kinds:
        makers["toolkit"] = tools.container_toolkit
    if False in kinds:
        makers["driver"] = tools.simulated_driver
    if kwok or "kwok" in recorded:
        makers["kwok"] = tools.kwok
    kept = {name for name, path in recorded.items() if Path(path).exists()}
    return {name: recorded[name] if name in kept else str(make()) for name, make in makers.items()}


@dataclass(frozen=True)
class Parts:
    """Gives access to the parts; starts none of them."""

    directory: ClusterDir
    state: ClusterState

    @property
    def slot(self) -> Slot:
        """The cluster's addresses and names."""
        return Slot(self.state.slot)

    @property
    def control_plane(self) -> ControlPlane:
        """The control plane."""
        return ControlPlane(
            directory=self.directory.control_plane,
            context=f"gpu-testbed-{self.directory.name}",
            programs=self.tool("kubernetes"),
            address=self.state.address,
            ports=self.state.ports,
        )

    @property
    def kwok(self) -> Kwok:
        """The player of kwok nodes."""
        port = self.state.ports["kwok"]
        return Kwok(self.directory.kwok, self.tool("kwok"), self.directory.kubeconfig, port)

    @property
    def nodes(self) -> dict[str, Node]:
        """The real nodes by name."""
        return {name: self._node(name) for name in self.state.nodes}

    @property
    def commands(self) -> Path:
        """The folder with kubectl and pulumi."""
        return self.tool("commands")

    def start_node(self, name: str) -> None:
        """Starts a recorded node, with its GPUs and images."""
        record, directory = self.state.nodes[name], self.directory.node(name)
        directory.mkdir(parents=True, exist_ok=True)
        runc = self.tool("debian") / "usr" / "sbin" / "runc"
        if record.real_gpu:
            driver.real(directory, self.tool("toolkit"), runc)
        else:
            driver.simulated(directory, self._spec(name), self.tool("driver"), runc)
        self._node(name).up(sorted(self.tool("images").iterdir()))

    def tool(self, name: str) -> Path:
        """Where a tool lies that the cluster was started with."""
        return Path(self.state.tools.get(name, ""))

    def _spec(self, name: str) -> NodeSpec:
        return NodeSpec(name, tuple(self.state.nodes[name].boards))

    def _node(self, name: str) -> Node:
        number, directory = self.state.nodes[name].number, self.directory.node(name)
        config = NodeConfig(
            name=name,
            directory=directory,
            group=self.slot.node_group(number),
            address=self.slot.node_address(number),
            pods=self.slot.pods(number),
            kubeconfig=self.directory.kubeconfig,
            kubelet=self.tool("kubernetes") / "kubelet",
            debian=self.tool("debian"),
            runtime=directory / "nvidia-container-runtime",
        )
        return Node(config, driver.simulated_gpus(directory, self._spec(name)))
