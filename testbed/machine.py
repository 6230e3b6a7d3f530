"""What real nodes need from the machine itself: changed for the first node, put back after the last one.

Nodes live in namespaces of their own, so little is left: folders that a node mounts over must exist, and on
cgroup v2 the root must hand its controllers on. Kernel settings stay (node_config.KERNEL_SETTINGS).
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

from testbed import cgroups
from testbed.layout import CACHE

MOUNT_POINTS = (
    *("/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers"),
    *("/run/containerd", "/run/cdi", "/run/gpu-mps"),
)
"""Paths fixed in the kubelet, containerd, CNI, CDI and the product; each node mounts a folder of its own there."""

Record = dict[str, list[str]]


def obstacle() -> str | None:
    """Why no real node can run on this machine, as one sentence; None when it can."""
    if os.geteuid() != 0:
        return "real nodes need root (namespaces and control groups); run as root or use --kwok-nodes"
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        return "real nodes need unshare and nsenter (Debian: apt-get install util-linux)"
    unshare = ["unshare", "--net", "--mount", "true"]
    probe = subprocess.run(unshare, capture_output=True, text=True, check=False)
    if probe.returncode:
        return f"new network and mount namespaces are refused ({probe.stderr.strip()}); use --kwok-nodes"
    if not os.access(cgroups.tracked_root(), os.W_OK):
        return f"control groups under {cgroups.ROOT} cannot be made here; use --kwok-nodes"
    return None


def claim(node: str) -> None:
    """Makes what is missing, for a node known by the name of its control group."""
    with _record() as record:
        if node not in record["nodes"]:
            record["nodes"].append(node)
        for path in map(Path, MOUNT_POINTS):
            if not path.exists():
                path.mkdir(parents=True)
                record["directories"].append(str(path))
        if cgroups.is_unified():
            record["controllers"] += cgroups.delegate(cgroups.ROOT)


def release(node: str) -> None:
    """A node is gone; after the last one, what was made is taken back."""
    with _record() as record:
        record["nodes"] = [name for name in record["nodes"] if name != node]
        # nodes of another cache folder count: to remove a folder unmounts what they have mounted there
        if record["nodes"] or cgroups.node_groups():
            return
        for directory in record["directories"]:
            with contextlib.suppress(OSError):  # something else may use it by now
                Path(directory).rmdir()
        cgroups.withdraw(cgroups.ROOT, record["controllers"])
        record["directories"], record["controllers"] = [], []


@contextlib.contextmanager
def _record() -> Generator[Record, None, None]:
    """The list of changes, locked: clusters may come and go at the same time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "machine.json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        record: Record = json.loads(file.read() or '{"nodes": [], "directories": [], "controllers": []}')
        try:
            yield record
        finally:
            file.truncate(0)
            json.dump(record, file)
