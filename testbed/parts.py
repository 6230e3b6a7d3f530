"""The parts of a cluster, as its recorded state describes them."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testbed import debian, driver, tools
from testbed.cluster_state import ClusterState
from testbed.control_plane import ControlPlane
from testbed.gpus import NodeSpec
from testbed.kwok import Kwok
from testbed.layout import ClusterDir, Slot
from testbed.node import Node
from testbed.node_config import NodeConfig
from testbed.talos_node.control_plane import TalosControlPlane
from testbed.talos_node.node import TalosNode, TalosNodeConfig
from testbed.talos_node.releases import release_of


def tools_for(
    state: ClusterState | None, *, real_gpus: Set[bool], kwok: bool, talos: str, dra: bool = False
) -> dict[str, str]:
    """Where each tool lies that a cluster needs; those missing are built.

    One that it was started with is kept while it is there, also when those of the checkout change.

    Args:
        state: of the cluster; None for a new one.
        real_gpus: the kinds of real nodes that come to it: with this machine's own GPUs, with simulated ones.
        kwok: whether nodes played by kwok come to it.
        talos: the release that its nodes run, if they run Talos.
        dra: whether nodes that come to it have CDI and NVIDIA's DRA driver.
    """
    recorded = state.tools if state else {}
    kinds = real_gpus | {record.real_gpu for record in state.nodes.values()} if state else real_gpus
    makers: dict[str, Callable[[], Path]] = {
        "kubernetes": tools.kubernetes,
        "commands": tools.commands,
    }
    if tools.has_pulumi():
        makers["provider"] = tools.provider
    if talos:
        makers |= {
            "talos": partial(tools.talos_programs, talos),
            "talos-root": partial(tools.talos_root, talos),
            "talos-images": partial(tools.talos_images, talos),
            "driver": tools.simulated_driver,
        }
    elif kinds:
        makers |= {"debian": debian.packages, "images": tools.node_images}
    if dra or (state and state.dra):
        makers |= {"containerd": tools.containerd, "dra-images": tools.dra_images}
    if True in kinds:
        makers["toolkit"] = tools.container_toolkit
    if False in kinds and not talos:
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
    def control_plane(self) -> ControlPlane | TalosControlPlane:
        """The control plane."""
        if self.state.talos:
            return self.talos_control_plane
        return ControlPlane(
            directory=self.directory.control_plane,
            context=self._context,
            programs=self.tool("kubernetes"),
            address=self.state.address,
            ports=self.state.ports,
        )

    @property
    def talos_control_plane(self) -> TalosControlPlane:
        """The control plane of a cluster of Talos nodes: the first node that was recorded."""
        return TalosControlPlane(
            directory=self.directory.control_plane,
            context=self._context,
            release=release_of(self.state.talos),
            program=self.tool("talos") / "talosctl",
            images=self.tool("talos-images"),
            bridge=self.slot.api_address,
            registry_port=self.state.ports["registry"],
            node=self.talos_nodes[next(iter(self.state.nodes))],
        )

    @property
    def talos_nodes(self) -> dict[str, TalosNode]:
        """The nodes that run Talos, by name."""
        return {name: self._talos_node(name) for name in self.state.nodes} if self.state.talos else {}

    @property
    def kwok(self) -> Kwok:
        """The player of kwok nodes."""
        port = self.state.ports["kwok"]
        return Kwok(self.directory.kwok, self.tool("kwok"), self.directory.kubeconfig, port)

    @property
    def nodes(self) -> dict[str, Node]:
        """The real nodes that run this machine's own system, by name."""
        return {} if self.state.talos else {name: self._node(name) for name in self.state.nodes}

    @property
    def commands(self) -> Path:
        """The folder with kubectl and pulumi."""
        return self.tool("commands")

    @property
    def provider(self) -> Path | None:
        """Pulumi's Kubernetes provider; None in a cluster that does without Pulumi."""
        return Path(self.state.tools["provider"]) if "provider" in self.state.tools else None

    def start_node(self, name: str) -> None:
        """Starts a recorded node, with its GPUs and images."""
        if self.state.talos:
            control_plane, node = self.talos_control_plane, self._talos_node(name)
            if name != control_plane.node.name:
                control_plane.join(node)
            return
        record, directory = self.state.nodes[name], self.directory.node(name)
        directory.mkdir(parents=True, exist_ok=True)
        runc = self.tool("debian") / "usr" / "sbin" / "runc"
        if record.real_gpu:
            driver.real(directory, self.tool("toolkit"), runc)
        else:
            driver.simulated(directory, self._spec(name), self.tool("driver"), runc)
        if self._has_simulated_devices(name):
            driver.simulated_devices(directory, self._spec(name), self.tool("driver"), runc)
        folders = [self.tool(name) for name in ("images", "dra-images") if name in self.state.tools]
        self._node(name).up(sorted(archive for folder in folders for archive in folder.iterdir()))

    @property
    def _context(self) -> str:
        return f"gpu-testbed-{self.directory.name}"

    def tool(self, name: str) -> Path:
        """Where a tool lies that the cluster was started with."""
        return Path(self.state.tools.get(name, ""))

    def _spec(self, name: str) -> NodeSpec:
        return NodeSpec(name, tuple(self.state.nodes[name].boards))

    def _node(self, name: str) -> Node:
        record, directory = self.state.nodes[name], self.directory.node(name)
        number, debian = record.number, self.tool("debian")
        simulated = self._has_simulated_devices(name)
        config = NodeConfig(
            name=name,
            directory=directory,
            group=self.slot.node_group(number),
            address=self.slot.node_address(number),
            pods=self.slot.pods(number),
            kubeconfig=self.directory.kubeconfig,
            kubelet=self.tool("kubernetes") / "kubelet",
            debian=debian,
            containerd=self.tool("containerd") if self.state.dra else debian / "usr" / "bin",
            runc=directory / "runc" if simulated else debian / "usr" / "sbin" / "runc",
            runtime=directory / "nvidia-container-runtime" if record.toolkit else None,
            laid_over=driver.laid_over(directory) if simulated else {},
        )
        return Node(config, driver.simulated_gpus(directory, self._spec(name)))

    def _has_simulated_devices(self, name: str) -> bool:
        return self.state.dra and not self.state.nodes[name].real_gpu

    def _talos_node(self, name: str) -> TalosNode:
        number, directory, slot = self.state.nodes[name].number, self.directory.node(name), self.slot
        config = TalosNodeConfig(
            spec=self._spec(name),
            directory=directory,
            group=slot.node_group(number),
            address=slot.network_address(number),
            gateway=slot.api_address,
            bridge=slot.bridge,
            pods=slot.pods(number),
            release=release_of(self.state.talos),
            root=self.tool("talos-root"),
            driver=self.tool("driver"),
        )
        return TalosNode(config, driver.simulated_gpus(directory, config.spec))
