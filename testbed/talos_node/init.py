"""Process 1 of a Talos node before Talos: makes the mounts that a container runtime would, then becomes machined.

`init.py DIRECTORY NAME`, as process 1 of new namespaces. The mounts are those of Talos' own docker provisioner: a
read-only root, tmpfs on /run, /system and /tmp, volumes on what Talos keeps. Kernel settings that belong to the whole
machine are shown as files of the node's own.

It runs by itself, so it imports the standard library only.
"""

import ctypes
import os
import socket
import stat
import sys
from pathlib import Path

# linux/mount.h
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PIVOT_ROOT = 155  # on x86-64
_CAP_SYS_RESOURCE = 24

_TMPFS = {"run": "mode=0755", "system": "mode=0755", "tmp": "mode=1777"}
VOLUMES = ("var", "system/state", "etc/cni", "etc/kubernetes", "usr/libexec/kubernetes", "opt")
"""What Talos keeps over reboots."""
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse")
_DEVICE_LINKS = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_DEVICE_MOUNTS = {
    "pts": ("devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5"),
    "shm": ("tmpfs", "mode=1777"),
    "mqueue": ("mqueue", ""),
}
_KERNEL_SETTINGS = {
    "kernel/panic": "0",
    "kernel/panic_on_oops": "1",
    "kernel/pid_max": "32768",
    "vm/overcommit_memory": "0",
    "vm/panic_on_oom": "0",
    "fs/inotify/max_user_instances": "128",
    "fs/inotify/max_user_watches": "65536",
    "fs/aio-max-nr": "65536",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What Talos and the kubelet set and read of the whole machine's settings, and what the node's files say at first."""
_NET_SETTINGS_OF_THE_FIRST_NAMESPACE = ("core", "bpf_jit_harden")
"""A setting below net/ that the kernel shows in the machine's own network namespace only; Talos wants to set it."""

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Mounts, and becomes Talos."""
    directory, name = Path(sys.argv[1]), sys.argv[2]
    (directory / "pid").write_text(f"{Path('/proc/self').readlink()}\n")  # /proc is still the machine's
    socket.sethostname(name)
    userdata = (directory / "userdata").read_text()
    _enter(_mounts(directory))
    os.execve("/sbin/init", ["/sbin/init"], {"PLATFORM": "container", "TALOSSKU": "2CPU-4096RAM", "USERDATA": userdata})


def _mounts(directory: Path) -> Path:
    """Makes all mounts; returns the new root."""
    _mount("", Path("/"), flags=_PRIVATE | _REC)
    root = directory / "root"
    root.mkdir(exist_ok=True)
    _bind(directory / "rootfs", root, read_only=True)
    _mount("proc", root / "proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    _mount("sysfs", root / "sys", "sysfs", _NOSUID | _NODEV | _NOEXEC | _RDONLY)
    for name, data in _TMPFS.items():
        _mount("tmpfs", root / name, "tmpfs", _NOSUID | _NODEV, data)
    for name in VOLUMES:
        (root / name).mkdir(parents=True, exist_ok=True)
        _bind(directory / "volumes" / name, root / name)
    for state in (directory / "gpu").glob("*/*"):  # as are power limits and faults of the GPUs
        state.unlink()
    (root / "run/gpu-sim").mkdir()
    _bind(directory / "gpu", root / "run/gpu-sim")
    _devices(root / "dev")
    _control_groups(root / "sys/fs/cgroup")
    _kernel_settings(directory / "kernel", root / "proc/sys")
    if not _has_sys_resource():
        # Lowering oom_score_adj is refused here. Talos (containerd's pkg/sys) takes that quietly inside a user
        # namespace, which it recognises by this file.
        (directory / "uid_map").write_text("         0          0 4294967294\n")
        _bind(directory / "uid_map", root / "proc/1/uid_map", read_only=True)
    return root


def _devices(dev: Path) -> None:
    _mount("tmpfs", dev, "tmpfs", _NOSUID, "mode=0755")
    for name in _DEVICES:
        on_machine = Path("/dev") / name
        if on_machine.exists():
            os.mknod(dev / name, stat.S_IFCHR | 0o666, on_machine.stat().st_rdev)
            (dev / name).chmod(0o666)
    for name, (kind, data) in _DEVICE_MOUNTS.items():
        (dev / name).mkdir()
        _mount(kind, dev / name, kind, _NOSUID | _NOEXEC, data)
    for name, says in _DEVICE_LINKS.items():
        (dev / name).symlink_to(says)


def _control_groups(target: Path) -> None:
    """What this control group namespace shows: one hierarchy for each controller, or cgroup v2."""
    flags = _NOSUID | _NODEV | _NOEXEC
    of_v1 = [line.split(":", 2)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    of_v1 = [controllers for controllers in of_v1 if controllers]
    if not of_v1:
        _mount("cgroup2", target, "cgroup2", flags)
        return
    _mount("tmpfs", target, "tmpfs", flags, "mode=0755")
    for controllers in of_v1:
        folder = target / controllers.removeprefix("name=")
        folder.mkdir()
        data = f"none,{controllers}" if controllers.startswith("name=") else controllers
        _mount("cgroup", folder, "cgroup", flags, data)


def _kernel_settings(files: Path, sys_folder: Path) -> None:
    """Shows the machine's /proc/sys read-only, but for the node's own files and that of its network namespace."""
    net = sys_folder / "net"
    _bind(sys_folder, sys_folder, read_only=True)
    _bind(net, net)
    _mount("", net, flags=_BIND | _REMOUNT | _NOSUID | _NODEV | _NOEXEC)
    folder, name = _NET_SETTINGS_OF_THE_FIRST_NAMESPACE
    if not (net / folder / name).exists():
        _complete(files, net / folder, name)
    for key, value in _KERNEL_SETTINGS.items():
        if (sys_folder / key).exists():
            shown = files / key.replace("/", ".")
            shown.write_text(f"{value}\n")  # what was set before a reboot is gone
            _bind(shown, sys_folder / key)


def _complete(files: Path, folder: Path, name: str) -> None:
    """Adds a file to a folder of /proc/sys; the others stay what they are."""
    real, shown = files / "real", files / "shown"
    for path in (real, shown):
        path.mkdir(exist_ok=True)
    _bind(folder, real)
    names = [path.name for path in real.iterdir()]
    for each in names:
        (shown / each).touch()
    (shown / name).write_text("0\n")
    _bind(shown, folder)
    for each in names:
        _bind(real / each, folder / each)


def _has_sys_resource() -> bool:
    status = Path("/proc/self/status").read_text()
    bounding = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding.split()[1], 16) & 1 << _CAP_SYS_RESOURCE)


def _enter(root: Path) -> None:
    """pivot_root(2), and nothing of the old root stays."""
    os.chdir(root)
    # the old root lies under the new one until it is detached
    _check(_libc.syscall(_PIVOT_ROOT, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount of the old root")
    os.chdir("/")


def _bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    """A bind mount of one folder or file."""
    _mount(str(source), target, flags=_BIND | _REC)
    if read_only:
        _mount("", target, flags=_BIND | _REMOUNT | _RDONLY)


def _mount(source: str, target: Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    words = (source.encode(), str(target).encode(), kind.encode())
    _check(_libc.mount(*words, flags, data.encode()), f"mount {kind} {source} on {target} ({data})")


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)}: {what}")


if __name__ == "__main__":
    main()
