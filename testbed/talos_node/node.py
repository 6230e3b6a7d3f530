"""One Talos node in namespaces of this machine: its process 1, again after each reboot, until it is shut down.

Its network namespace lives as long as the node is up, with the link to the cluster's bridge; process, mount, host name,
IPC and control group namespaces are new at every boot. All that it starts is in one control group, so a node ends
without a trace, as a node of the other kind does (testbed/node.py).
"""

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from testbed import links, machine, process
from testbed.cgroups import NodeCgroup
from testbed.gpus import NodeSpec, SimulatedGpu
from testbed.talos_node import init, root
from testbed.talos_node.releases import TalosRelease

_START_SECONDS = 60
_RESTART = 128 + 1
"""What unshare ends with after a reboot in its process namespace: by SIGHUP; a halt is SIGINT (pid_namespaces(7))."""


@dataclass(frozen=True)
class TalosNodeConfig:
    """What differs from node to node, and what all are made of."""

    spec: NodeSpec
    directory: Path
    group: str
    """The node's control group, and its link on the machine's side."""
    address: IPv4Interface
    gateway: IPv4Address
    bridge: str
    pods: IPv4Network
    release: TalosRelease
    root: Path
    """The release's root (root.py)."""
    driver: Path


class TalosNode:
    """One node. `up` and `down` may be repeated, also after a crash of either."""

    def __init__(self, config: TalosNodeConfig, gpus: Sequence[SimulatedGpu]) -> None:
        self.name = config.spec.name
        self.address = config.address.ip
        self.gpus = list(gpus)
        """The simulated GPUs in index order."""
        self._config = config
        self._directory = config.directory
        self._cgroup = NodeCgroup(config.group)

    @property
    def running(self) -> bool:
        """Whether the node is switched on; it may be rebooting."""
        return process.alive(self._directory, "talos")

    def up(self, machine_config: str = "") -> None:
        """Boots the node unless it runs; returns once its process 1 has started.

        Args:
            machine_config: for a node that has none yet; without any it goes into maintenance mode.
        """
        if self.running:
            return
        machine.claim(self._config.group)
        self._lay_out()
        userdata = self._directory / "userdata"
        if machine_config or not userdata.exists():
            userdata.write_text(base64.b64encode(machine_config.encode()).decode())
        self._cgroup.create()
        for name in ("pid", "linked"):
            (self._directory / name).unlink(missing_ok=True)
        process.start(self._directory, "talos", ["sh", "-c", 'echo $$ >"$0" && exec "$@"', *self._command()])
        self._wait("it has a network namespace", (self._directory / "anchored").exists)
        namespace = Path(f"/proc/{process.pid(self._directory, 'talos')}/ns/net")
        links.attach(self._config.bridge, self._config.group, namespace, self._config.address, self._config.gateway)
        (self._directory / "linked").touch()
        self._wait("its process 1 starts", (self._directory / "pid").exists)

    def down(self) -> None:
        """Switches the node off at once and removes its files; its Node object in the API stays."""
        self._cgroup.remove()
        shutil.rmtree(self._directory, ignore_errors=True)
        machine.release(self._config.group)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of the node in its namespaces, for example `/sbin/init --help`; Talos has no shell."""
        pid = (self._directory / "pid").read_text().strip()
        enter = ["nsenter", f"--target={pid}", "--net", "--mount", "--pid", "--cgroup", "--"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=False)

    def _command(self) -> list[str]:
        """Joins the node's control group, makes its network namespace, waits for the link, then boots."""
        (self._directory / "anchored").unlink(missing_ok=True)
        inner = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup"]
        words = [*inner, sys.executable, "-I", "-S", init.__file__, str(self._directory), self.name]
        boot = self._directory / "boot"
        joins = "".join(f"echo $$ >'{entrance}'\n" for entrance in self._cgroup.roots())
        boot.write_text(f"#!/bin/sh -e\n{joins}exec " + " ".join(f"'{word}'" for word in words) + "\n")
        loop = self._directory / "loop"
        loop.write_text(
            "#!/bin/sh\n"
            f"touch '{self._directory}/anchored'\n"
            f"while [ ! -e '{self._directory}/linked' ]; do sleep 0.02; done\n"
            f"code={_RESTART}\n"
            f"while [ $code = {_RESTART} ]; do '{boot}'; code=$?; echo \"process 1 ended with $code\"; done\n"
        )
        for script in (boot, loop):
            script.chmod(0o755)
        return [str(self._cgroup.entrance), "unshare", "--net", str(loop)]

    def _lay_out(self) -> None:
        directory, config = self._directory, self._config
        for name in ("kernel", "log", "root", *(f"gpu/{gpu.uuid}" for gpu in self.gpus)):
            (directory / name).mkdir(parents=True, exist_ok=True)
        if not (directory / "rootfs").exists():
            draft = directory / "rootfs.draft"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(config.root, draft, symlinks=True, copy_function=os.link)
            root.personalize(draft, self.name, config.gateway, self._network())
            root.add_extensions(draft, config.release, config.driver, config.spec)
            draft.rename(directory / "rootfs")
        for name in init.VOLUMES:
            source, volume = directory / "rootfs" / name, directory / "volumes" / name
            if source.exists() and not volume.exists():  # docker fills a new volume from the image
                shutil.copytree(source, volume)
            volume.mkdir(parents=True, exist_ok=True)

    def _network(self) -> dict[str, object]:
        subnet = [[{"subnet": str(self._config.pods)}]]
        ipam = {"type": "host-local", "ranges": subnet, "routes": [{"dst": "0.0.0.0/0"}]}
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
        return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}

    def _wait(self, condition: str, holds: Callable[[], bool]) -> None:
        process.wait(self._directory, "talos", f"node {self.name}: {condition}", holds, _START_SECONDS)
