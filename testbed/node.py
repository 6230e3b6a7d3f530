"""A real Kubernetes node on this machine: kubelet, containerd and runc in namespaces of their own.

The namespaces (network and mount) belong to one sleeping process, the *anchor*, and everything the node ever
starts is in one control group. So a node ends without a trace: kill what is in the group, and namespaces,
mounts and links go with the last process.

Left out, because nothing in the product needs it: kube-proxy (no Service addresses), DNS, traffic between
pods of two nodes.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Interface
from pathlib import Path

from testbed import links, machine, process
from testbed.cgroups import NodeCgroup
from testbed.errors import BedError
from testbed.gpus import SimulatedGpu
from testbed.node_config import SOCKET, NodeConfig

_START_SECONDS = 120
_STOP_SECONDS = 10


class Node:
    """One node. `up` and `down` may be repeated, also after a crash of either."""

    def __init__(self, config: NodeConfig, gpus: Sequence[SimulatedGpu] = ()) -> None:
        self.name = config.name
        self.gpus = list(gpus)
        """The simulated GPUs in index order; empty on a node with real ones."""
        self._config = config
        self._directory = config.directory
        self._cgroup = NodeCgroup(config.group)

    @property
    def running(self) -> bool:
        """Whether all of the node's daemons run."""
        return all(process.alive(self._directory, daemon) for daemon in ("anchor", "containerd", "kubelet"))

    def up(self, images: Sequence[Path]) -> None:
        """Starts what does not run and imports image archives; the node registers itself a moment later."""
        machine.claim(self._config.group)
        self._config.write()
        self._cgroup.create()
        if not process.alive(self._directory, "anchor"):
            self._start_anchor()
            self._connect()
        if not process.alive(self._directory, "containerd"):
            self._start("containerd")
            self._wait("containerd answers", lambda: self._ctr("version").returncode == 0)
            for image in images:
                self.import_image(image)
        self.start_kubelet()

    def down(self) -> None:
        """Ends the node and removes its files (GPU state, logs, images); its Node object in the API stays."""
        self._cgroup.remove()
        shutil.rmtree(self._directory, ignore_errors=True)
        machine.release(self._config.group)

    def import_image(self, archive: Path) -> None:
        """Gives the node an image from an OCI archive, such as images.write_archive writes.

        Raises:
            BedError: containerd refuses it; with its reason.
        """
        done = self._ctr("--namespace", "k8s.io", "images", "import", str(archive.resolve()))
        if done.returncode:
            raise BedError(f"node {self.name} cannot take the image {archive}: {done.stderr.strip()}")

    def start_kubelet(self) -> None:
        """Starts the kubelet unless it runs."""
        if not process.alive(self._directory, "kubelet"):
            self._start("kubelet")

    def stop_kubelet(self) -> None:
        """Stops the kubelet; containers go on."""
        process.stop(self._directory, "kubelet", seconds=_STOP_SECONDS)

    def restart_kubelet(self) -> None:
        """Stops and starts the kubelet."""
        self.stop_kubelet()
        self.start_kubelet()

    def kill_containerd(self) -> None:
        """Kills containerd; containers go on."""
        process.stop(self._directory, "containerd", seconds=0)

    def start_containerd(self) -> None:
        """Starts containerd unless it runs."""
        if not process.alive(self._directory, "containerd"):
            self._start("containerd")

    def lose_power(self) -> None:
        """Kills every process of the node; its disk stays, and `Cluster.up` lets it boot."""
        self._cgroup.remove()

    def processes(self) -> list[int]:
        """Process ids of the node: daemons, shims and containers."""
        return self._cgroup.processes()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the node's namespaces, for example `ls /var/lib/kubelet/device-plugins`."""
        return subprocess.run([*self._enter(), *command], capture_output=True, text=True, check=False)

    def _start_anchor(self) -> None:
        ready = self._directory / "anchored"
        ready.unlink(missing_ok=True)
        command = ["unshare", "--net", "--mount", str(self._directory / "start-anchor")]
        process.start(self._directory, "anchor", self._join(command))
        self._wait("namespaces and mounts are made", ready.exists)

    def _connect(self) -> None:
        near, far = (
            IPv4Interface(f"{self._config.address - 1}/30"),
            IPv4Interface(f"{self._config.address}/30"),
        )
        namespace = Path(f"/proc/{process.pid(self._directory, 'anchor')}/ns/net")
        links.connect(self._config.group, near, namespace, far, self._config.pods)

    def _start(self, daemon: str) -> None:
        """Starts a daemon inside the node: in its control group first, then in its namespaces."""
        process.start(self._directory, daemon, self._join([*self._enter(), str(self._directory / f"start-{daemon}")]))

    def _join(self, command: Sequence[str]) -> list[str]:
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self._cgroup.entrance), *command]

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(process.pid(self._directory, "anchor")), "--net", "--mount", "--"]

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(self._config.debian / "usr/bin/ctr"), "--address", SOCKET, *arguments)

    def _wait(self, condition: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"node {self.name}: waited {_START_SECONDS} s until {condition}. "
                    f"See the end of the files in {self._directory}/log"
                )
            time.sleep(0.05)
