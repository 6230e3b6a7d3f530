"""A node's control group: the limits of its pods, and the list of every process the node ever started.

The kubelet keeps its pods under the node's group; the node's own daemons enter the child group `daemons`.
So a node can be ended completely from its control group alone, also when everything else about it was lost.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from testbed.layout import NODE_GROUPS

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
"""Controllers that the kubelet asks of cgroup v2."""

_KILL_SECONDS = 60
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def is_unified() -> bool:
    """Whether the machine runs cgroup v2."""
    return (ROOT / "cgroup.controllers").exists()


def node_groups() -> list[str]:
    """The names of all nodes' groups on this machine, those of other cache folders included."""
    return [path.name for path in tracked_root().glob(NODE_GROUPS)]


def reserve(name: str) -> str | None:
    """Makes the empty group `/<name>`, which the kernel gives to one caller only; None when somebody has it.

    Cache folders and network namespaces of one machine share its control groups, so whoever made this one has what is
    called after it. It ends with the machine, like the node groups.

    Returns:
        What tells this group from a later one of the same name (`identity`).
    """
    try:
        (tracked_root() / name).mkdir()
    except FileExistsError:
        return None
    return identity(name)


def identity(name: str) -> str | None:
    """What tells a group from earlier and later ones of its name, also after the machine was started again."""
    with contextlib.suppress(FileNotFoundError):
        return f"{_BOOT_ID.read_text().strip()}/{(tracked_root() / name).stat().st_ino}"
    return None


def release(name: str) -> None:
    """Removes a group that `reserve` made."""
    _remove_group(tracked_root() / name)


class NodeCgroup:
    """The group `/<name>`, in every hierarchy of cgroup v1 or in the one of v2."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._hierarchies = [ROOT] if is_unified() else [p for p in ROOT.glob("*/") if not p.is_symlink()]
        self._tracked = tracked_root() / name

    @property
    def entrance(self) -> Path:
        """A daemon joins the node by writing its process id here."""
        return self._tracked / "daemons" / "cgroup.procs"

    def create(self) -> None:
        """Makes the group; keeps one that is there."""
        for hierarchy in self._hierarchies:
            (hierarchy / self.name).mkdir(exist_ok=True)
        if is_unified():
            delegate(ROOT / self.name)
        else:
            cpuset = ROOT / "cpuset"
            for setting in (
                "cpuset.cpus",
                "cpuset.mems",
            ):  # empty in a new group, so that nothing could enter
                (cpuset / self.name / setting).write_text((cpuset / setting).read_text())
        self.entrance.parent.mkdir(exist_ok=True)

    def roots(self) -> list[Path]:
        """Where a process enters before its control group namespace is made, to have the node's group as its root."""
        if not is_unified():
            return [hierarchy / self.name / "cgroup.procs" for hierarchy in self._hierarchies]
        inner = self._tracked / "root"  # v2: a group that hands controllers on holds no processes itself
        inner.mkdir(exist_ok=True)
        return [inner / "cgroup.procs"]

    def processes(self) -> list[int]:
        """Process ids of the node: daemons, shims and containers."""
        pids: list[int] = []
        for group, _, _ in os.walk(self._tracked):  # passes over groups that go while they are listed
            with contextlib.suppress(OSError):
                pids += map(int, Path(group, "cgroup.procs").read_text().split())
        return pids

    def remove(self) -> None:
        """Kills every process of the node, then removes its groups.

        Raises:
            TimeoutError: a process does not die, so that something of the node would stay behind.
        """
        deadline = time.monotonic() + _KILL_SECONDS
        while pids := self.processes():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"processes {pids} of node group {self.name} do not die within {_KILL_SECONDS} s of "
                    "SIGKILL: they wait for the kernel. "
                    f"See: ps -o pid,stat,wchan,args -p {','.join(map(str, pids))}"
                )
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for hierarchy in self._hierarchies:
            for directory, _, _ in os.walk(hierarchy / self.name, topdown=False):
                _remove_group(Path(directory))


def tracked_root() -> Path:
    """The hierarchy that is looked at; v1: a container is in those of all controllers, so any will do."""
    return ROOT if is_unified() else ROOT / "memory"


def delegate(group: Path) -> list[str]:
    """Hands the controllers of cgroup v2 on to a group's children; returns those that were not before.

    A controller that the kernel lacks or has in use elsewhere is left out: the kubelet says which it misses.
    """
    control = group / "cgroup.subtree_control"
    before = control.read_text().split()
    for controller in CONTROLLERS:
        with contextlib.suppress(OSError):
            control.write_text(f"+{controller}")
    return [controller for controller in control.read_text().split() if controller not in before]


def withdraw(group: Path, controllers: list[str]) -> None:
    """Takes controllers back from a group's children, as far as nothing else uses them."""
    for controller in controllers:
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"-{controller}")


def _remove_group(group: Path) -> None:
    for _ in range(50):  # a killed process may still be leaving
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.02)
        else:
            return
    group.rmdir()
