"""The parts of a cluster, as its recorded state describes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import driver, tools
from testbed.cluster_state import ClusterState
from testbed.control_plane import ControlPlane
from testbed.errors import BedError
from testbed.gpus import NodeSpec
from testbed.kwok import Kwok
from testbed.layout import ClusterDir, Slot
from testbed.node import Node
from testbed.node_config import NodeConfig


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
            programs=self._tool("kubernetes"),
            address=self.state.address,
            ports=self.state.ports,
        )

    @property
    def kwok(self) -> Kwok:
        """The player of kwok nodes."""
        port = self.state.ports["kwok"]
        return Kwok(self.directory.kwok, self._tool("kwok"), self.directory.kubeconfig, port)

    @property
    def nodes(self) -> dict[str, Node]:
        """The real nodes by name."""
        return {name: self._node(name) for name in self.state.nodes}

    @property
    def commands(self) -> Path:
        """The folder with kubectl and pulumi.

        Raises:
            BedError: the cluster stopped coming up before there was one.
        """
        if "commands" not in self.state.tools:
            name = self.directory.name
            raise BedError(
                f"cluster {name!r} did not come up, so there is nothing to work with. "
                f"Try again: python -m testbed up --name {name}"
            )
        return self._tool("commands")

    def need(self, tool: str, make: Callable[[], Path]) -> None:
        """Records where a tool lies; one that is recorded and still there is kept.

        So a cluster goes on with what it was started with, and taking it down builds nothing.
        """
        if tool not in self.state.tools or not self._tool(tool).is_dir():
            self.state.tools[tool] = str(make())
            self.state.save(self.directory)

    def need_driver(self, node: str) -> None:
        """Records what stands between containerd and a node's GPUs, real or simulated."""
        if self.state.nodes[node].real_gpu:
            self.need("toolkit", tools.container_toolkit)
        else:
            self.need("driver", tools.simulated_driver)

    def start_node(self, name: str, images: Sequence[Path]) -> None:
        """Starts a recorded node, with its GPUs."""
        record, directory = self.state.nodes[name], self.directory.node(name)
        directory.mkdir(parents=True, exist_ok=True)
        runc = self._tool("debian") / "usr" / "sbin" / "runc"
        if record.real_gpu:
            driver.real(directory, self._tool("toolkit"), runc)
        else:
            driver.simulated(directory, self._spec(name), self._tool("driver"), runc)
        self._node(name).up(images)

    def _tool(self, name: str) -> Path:
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
            kubelet=self._tool("kubernetes") / "kubelet",
            debian=self._tool("debian"),
            runtime=directory / "nvidia-container-runtime",
        )
        return Node(config, driver.simulated_gpus(directory, self._spec(name)))
