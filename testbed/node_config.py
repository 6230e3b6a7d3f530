"""The files that make a node: configuration of kubelet, containerd and CNI, and their start scripts.

All of them lie in the node's folder, so what a node runs can be read there and a daemon can be started
again without this code.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from testbed import images
from testbed.machine import MOUNT_POINTS

KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
"""What the kubelet would set on the machine (its setupKernelTunables): it sees files with these values."""

SOCKET = "/run/containerd/containerd.sock"
"""containerd's address, inside the node only."""


@dataclass(frozen=True)
class NodeConfig:
    """What differs from node to node, and the programs it runs."""

    name: str
    directory: Path
    group: str
    """The node's control group."""
    address: IPv4Address
    pods: IPv4Network
    kubeconfig: Path
    kubelet: Path
    debian: Path
    """Folder with the unpacked packages of containerd, runc and the CNI plugins."""
    containerd: Path
    """Folder with containerd and its shim."""
    runc: Path
    """What containerd starts for pods without RuntimeClass."""
    runtime: Path | None
    """What containerd starts for RuntimeClass `nvidia`; None for a node without that handler."""
    laid_over: Mapping[str, Path]
    """Path on the node -> folder whose files are there beside those of the machine."""

    def write(self) -> None:
        """Writes every file of the node; the same configuration gives the same files."""
        for folder in ("log", "cni", "containerd", "kernel", *map(_mounted, MOUNT_POINTS)):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        for setting, value in KERNEL_SETTINGS.items():
            (self.directory / "kernel" / Path(setting).name).write_text(f"{value}\n")
        (self.directory / "kubelet.json").write_text(json.dumps(self._kubelet(), indent=2))
        (self.directory / "containerd.toml").write_text(self._containerd())
        (self.directory / "cni" / "10-bridge.conflist").write_text(json.dumps(self._network(), indent=2))
        (self.directory / "resolv.conf").touch()
        self._script("start-anchor", self._mounts())
        self._script(
            "start-containerd",
            f"export LD_LIBRARY_PATH='{self.debian}/usr/lib/x86_64-linux-gnu'\n"  # runc's libseccomp
            f"exec '{self.containerd}/containerd' --config='{self.directory}/containerd.toml'",
        )
        self._script(
            "start-kubelet",
            f"exec '{self.kubelet}' --config='{self.directory}/kubelet.json' "
            f"--kubeconfig='{self.kubeconfig}' --hostname-override={self.name} --node-ip={self.address}",
        )

    def _script(self, name: str, body: str) -> None:
        path = self.directory / name
        path.write_text(f"#!/bin/sh -e\n{body}\n")
        path.chmod(0o755)

    def _mounts(self) -> str:
        """Runs first in the new namespaces; then sleeps and so keeps them."""
        overlays = [line for point, folder in self.laid_over.items() for line in _overlay(point, folder)]
        mounts = [f"mount --bind '{self.directory}/{_mounted(point)}' {point}" for point in MOUNT_POINTS]
        for key in KERNEL_SETTINGS:
            shown, setting = f"{self.directory}/kernel/{Path(key).name}", f"/proc/sys/{key}"
            mounts.append(f"[ ! -e {setting} ] || mount --bind '{shown}' {setting}")
        ready = f"touch '{self.directory}/anchored'"
        return "\n".join([*overlays, "mount --make-rshared /", *mounts, ready, "exec sleep infinity"])

    def _kubelet(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,  # 1.35 and later refuse cgroup v1 otherwise
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.group}",
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "resolvConf": f"{self.directory}/resolv.conf",
            "makeIPTablesUtilChains": False,
            "nodeStatusUpdateFrequency": "2s",
            "nodeStatusReportFrequency": "10s",
            "syncFrequency": "5s",
            "localStorageCapacityIsolation": False,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,  # an image that is collected could not be pulled again
        }

    def _containerd(self) -> str:
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""\
version = 2
root = "{self.directory}/containerd"
state = "/run/containerd/state"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.directory}/containerd/opt"
[{cri}]
  sandbox_image = "{images.PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true  # lowering a score needs CAP_SYS_RESOURCE, which not every machine gives
  netns_mounts_under_state_dir = true
  enable_cdi = true  # the default from containerd 2 on; 1.6 has no CDI
  [{cri}.cni]
    bin_dir = "{self.debian}/usr/lib/cni"
    conf_dir = "{self.directory}/cni"
  [{cri}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [{cri}.containerd.runtimes.runc.options]
      BinaryName = "{self.runc}"
{self._handler(cri) if self.runtime else ""}"""

    def _handler(self, cri: str) -> str:
        return f"""\
  [{cri}.containerd.runtimes.nvidia]
    runtime_type = "io.containerd.runc.v2"
    [{cri}.containerd.runtimes.nvidia.options]
      BinaryName = "{self.runtime}"
"""

    def _network(self) -> dict[str, object]:
        ipam = {
            "type": "host-local",
            "dataDir": f"{self.directory}/addresses",
            "ranges": [[{"subnet": str(self.pods)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
        return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def _overlay(point: str, folder: Path) -> list[str]:
    """Lays a folder's files over those of the machine, on which other things may be mounted, such as /dev/pts."""
    return [
        f"mkdir -p '{folder}.machine' && mount --rbind {point} '{folder}.machine'",
        f"mount -t overlay overlay -o 'lowerdir={folder}:{point}' {point}",
        f"for mounted in '{folder}.machine'/*/; do",
        f'  ! mountpoint -q "$mounted" || mount --rbind "$mounted" "{point}/$(basename "$mounted")"',
        "done",
    ]


def _mounted(mount_point: str) -> str:
    return f"mounts/{Path(mount_point).name}"
