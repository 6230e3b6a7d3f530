"""A cluster of the test bed: what the command line and the tests use.

cluster = Cluster("test")
cluster.up(nodes=[NodeSpec.parse("gpu-1=rtx-3090x2")])
subprocess.run(["kubectl", "get", "nodes"], env=cluster.environment())
cluster.nodes["gpu-1"].gpus[0].drift(350)
cluster.down()
"""

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from testbed import cgroups, debian, links, machine, process
from testbed import environment as environments
from testbed.cluster_state import LOOPBACK, ClusterState, claim, claim_again
from testbed.control_plane import ControlPlane
from testbed.errors import BedError
from testbed.gpus import NodeSpec
from testbed.kube_api import KubeApi, is_ready
from testbed.kwok import Kwok
from testbed.layout import CLUSTERS, NETWORK_PREFIX, ClusterDir
from testbed.locking import exclusive
from testbed.node import Node
from testbed.parts import Parts, tools_for
from testbed.progress import say, step
from testbed.talos_node.control_plane import TalosControlPlane
from testbed.talos_node.node import TalosNode

_READY_SECONDS = 300
_DRIVER_TRACES = (Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/version"))


def capabilities() -> str | None:
    """Why no real node with simulated GPUs can run on this machine, as one sentence; None when it can."""
    if problem := machine.obstacle() or debian.obstacle():
        return problem
    if not shutil.which("gcc"):
        return "gcc is missing: it compiles the simulated driver (Debian: apt-get install gcc libc6-dev)"
    return None


def real_gpu_obstacle() -> str | None:
    """Why no node with real GPUs can run on this machine, as one sentence; None when it can."""
    if not any(map(Path.exists, _DRIVER_TRACES)):
        return (
            f"no NVIDIA driver is loaded here ({_DRIVER_TRACES[0]} and {_DRIVER_TRACES[1]} are missing), so "
            "there is no real GPU; for simulated ones: python -m testbed up --node gpu-1=rtx-3090x2"
        )
    return machine.obstacle() or debian.obstacle()


class Cluster:
    """One cluster. `up` and `down` may be repeated, also after a crash of either."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._directory = ClusterDir(name)

    @property
    def context(self) -> str:
        """The cluster's context in its kubeconfig."""
        return self.control_plane.context

    @property
    def kubeconfig(self) -> Path:
        """The administrator's access."""
        return self._directory.kubeconfig

    @property
    def stack_file(self) -> Path:
        """The stack file that pulumi reads and writes in the cluster's environment; a caller puts it there."""
        return self._directory.stack_file

    @property
    def is_up(self) -> bool:
        """Whether the cluster was brought up and not taken down; its processes may have died since."""
        return self._directory.state.exists()

    @property
    def nodes(self) -> dict[str, Node]:
        """The real nodes that run this machine's own system, by name."""
        return self._parts().nodes

    @property
    def talos_nodes(self) -> dict[str, TalosNode]:
        """The nodes that run Talos, by name."""
        return self._parts().talos_nodes

    @property
    def every_node(self) -> dict[str, Node | TalosNode]:
        """The real nodes by name, whatever they run."""
        return {**self.nodes, **self.talos_nodes}

    @property
    def talos(self) -> TalosControlPlane:
        """Access to the nodes of a cluster of Talos nodes."""
        return self._parts().talos_control_plane

    @property
    def control_plane(self) -> ControlPlane | TalosControlPlane:
        """The cluster's control plane."""
        return self._parts().control_plane

    @property
    def kwok(self) -> Kwok:
        """What plays the cluster's kwok nodes."""
        return self._parts().kwok

    @property
    def has_kwok(self) -> bool:
        """Whether it has nodes played by kwok."""
        return "kwok" in self._parts().state.tools

    @property
    def api(self) -> KubeApi:
        """A small client of the API server."""
        return KubeApi(self.control_plane.access)

    def environment(self) -> dict[str, str]:
        """This process's environment with all that leads kubectl, pulumi and the project to the cluster."""
        parts = self._parts()
        found = environments.environment(self._directory, parts.commands, parts.control_plane.address)
        if parts.state.talos:
            talosctl = parts.talos_control_plane
            found |= {"PATH": f"{talosctl.program.parent}:{found['PATH']}", "TALOSCONFIG": str(talosctl.talosconfig)}
        return found

    def up(
        self,
        nodes: Sequence[NodeSpec] = (),
        kwok_nodes: int = 0,
        *,
        real_gpu: bool = False,
        talos: str = "",
        dra: bool = False,
        toolkit: bool = True,
    ) -> None:
        """Brings up what is missing of the cluster and of the nodes asked for; waits until all are Ready.

        Ctrl-C takes down what this call started. After an error everything stays for a look, until `down`.

        Args:
            nodes: real nodes, with simulated GPUs unless `real_gpu`.
            kwok_nodes: how many nodes played by kwok there shall be, kwok-1 to kwok-N.
            real_gpu: the nodes get this machine's own NVIDIA GPUs, through NVIDIA's container runtime.
            talos: the release of Talos that the nodes run, such as v1.13.9, one of talos_node.RELEASES; a cluster keeps
                the one it was started with. Its first node is the control plane.
            dra: nodes have CDI, a driver root and the image of NVIDIA's DRA driver; for a new cluster only.
            toolkit: the nodes have the handler `nvidia`, as Talos has it up to 1.14.

        Raises:
            BedError: something on this machine is missing or did not start.
        """
        problem = real_gpu_obstacle() if real_gpu else capabilities()
        if (nodes or talos) and problem:
            raise BedError(problem)
        with self._locked():
            state = ClusterState.load(self._directory)
            if state:
                talos = state.talos
                if dra and not state.dra:
                    raise BedError(
                        f"the nodes of cluster {self.name!r} have no CDI. "
                        f"Start over: python -m testbed down --name {self.name}"
                    )
            elif talos and not nodes:
                raise BedError(
                    "Talos' control plane is a node: python -m testbed up --talos v1.13.9 --node gpu-1=rtx-3090x2"
                )
            kinds: set[bool] = {real_gpu} if nodes else set()
            built = tools_for(state, real_gpus=kinds, kwok=kwok_nodes > 0, talos=talos, dra=dra)
            created = state is None
            if created:  # not before the builds, which take longer than addresses stay free
                claim(self._directory, built, bridged=machine.obstacle() is None, talos=talos)
            parts = self._parts()
            claim_again(self._directory, parts.state)
            parts.state.tools |= built
            present = set(parts.state.nodes)
            for spec in nodes:
                parts.state.add_node(spec.name, list(spec.boards), real_gpu=real_gpu, toolkit=toolkit)
            parts.state.save(self._directory)
            try:
                self._bring_up(parts)
                self._start_nodes(parts)
                self._add_kwok_nodes(parts, {f"kwok-{number + 1}": 0 for number in range(kwok_nodes)})
            except KeyboardInterrupt:
                say("interrupted: taking down what was started")
                if created:
                    self._take_down()
                else:
                    self._remove_nodes(parts, set(parts.state.nodes) - present)
                raise

    def add_kwok_node(self, name: str, gpus: int = 0) -> None:
        """Adds a node played by kwok that offers a number of GPUs, to a cluster that is up."""
        with self._locked():
            parts = self._parts()
            parts.state.tools |= tools_for(parts.state, real_gpus=set(), kwok=True, talos=parts.state.talos)
            self._add_kwok_nodes(parts, {name: gpus})

    def down(self) -> None:
        """Ends and removes everything of the cluster. Nothing happens when there is nothing."""
        with self._locked():
            self._take_down()

    def _bring_up(self, parts: Parts) -> None:
        environments.prepare(self._directory, parts.provider)
        if parts.state.address != LOOPBACK:
            links.make_bridge(parts.slot, NETWORK_PREFIX if parts.state.talos else 32)
        with step("control plane"):
            parts.control_plane.up(self.kubeconfig)

    def _start_nodes(self, parts: Parts) -> None:
        if not parts.state.nodes:
            return
        for name, node in self.every_node.items():
            if not node.running:
                with step(f"node {name}"):
                    parts.start_node(name)
        with step("nodes are Ready"):
            self._wait_until_ready(parts)

    def _wait_until_ready(self, parts: Parts) -> None:
        api, deadline = self.api, time.monotonic() + _READY_SECONDS
        waiting = set(parts.state.nodes)
        while waiting:
            present = api.nodes()
            waiting = {name for name in waiting if name not in present or not is_ready(present[name])}
            if waiting and time.monotonic() > deadline:
                log = "talos" if parts.state.talos else "kubelet"
                logs = (process.log_tail(self._directory.node(name), log) for name in sorted(waiting))
                raise BedError(
                    f"nodes {', '.join(sorted(waiting))} are not Ready after {_READY_SECONDS} s; see "
                    f"python -m testbed shell --name {self.name} -- kubectl describe nodes\n" + "\n".join(logs)
                )
            time.sleep(0.1)

    def _add_kwok_nodes(self, parts: Parts, gpus: Mapping[str, int]) -> None:
        if not gpus and "kwok" not in parts.state.tools:
            return
        parts.state.save(self._directory)
        with step("kwok nodes are Ready"):
            parts.kwok.up()
            for name, count in gpus.items():
                parts.kwok.add_node(self.api, name, count)
            parts.kwok.wait_for_nodes(self.api)

    def _take_down(self) -> None:
        if not self.is_up:
            return
        parts = self._parts()
        with step(f"taking down cluster {self.name}"):
            parts.kwok.down()
            if parts.state.has_slot:
                self._end_nodes(parts, parts.state.nodes)
            else:  # they ended with the machine, and what has their names now is not this cluster's
                for record in parts.state.nodes.values():
                    machine.release(parts.slot.node_group(record.number))
            if parts.state.nodes or not parts.state.talos:  # Talos' own is one of the nodes
                parts.control_plane.down()
            if parts.state.has_slot:
                links.remove_bridge(parts.slot)
                if parts.state.claim:
                    cgroups.release(parts.slot.prefix)
            shutil.rmtree(self._directory.root)

    def _remove_nodes(self, parts: Parts, names: Iterable[str]) -> None:
        """Ends nodes of a cluster that goes on."""
        self._end_nodes(parts, names)
        for name in names:
            self.api.delete(f"/api/v1/nodes/{name}")
            del parts.state.nodes[name]
        parts.state.save(self._directory)

    def _end_nodes(self, parts: Parts, names: Iterable[str]) -> None:
        for name in names:
            self.every_node[name].down()
            links.wait_until_gone(parts.slot.node_group(parts.state.nodes[name].number))

    def _parts(self) -> Parts:
        state = ClusterState.load(self._directory)
        if state is None:
            raise BedError(f"cluster {self.name!r} is not up. Start it: python -m testbed up --name {self.name}")
        return Parts(self._directory, state)

    def _locked(self) -> AbstractContextManager[None]:
        return exclusive(CLUSTERS / f"{self.name}.lock", f"cluster {self.name}")
