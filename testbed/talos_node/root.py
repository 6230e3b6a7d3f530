"""A Talos node's read-only root, put together from built programs as Talos' Dockerfile does.

Left out, because container mode never starts them: udevd, kernel modules, LVM, cryptsetup, file system tools, the boot
loader. From Debian: runc with libseccomp and the C library, and the CNI plugins.
"""

import hashlib
import json
import os
import shutil
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

from testbed.gpus import NodeSpec
from testbed.images import parse_ldd
from testbed.talos_node.releases import TalosRelease

_CNI = ("bridge", "firewall", "host-local", "loopback", "portmap")
_EMPTY = """\
extensions.yaml resolv.conf hosts hostname machine-id cri/conf.d/cri.toml cri/conf.d/01-registries.part
cri/conf.d/20-customization.part cri/conf.d/base-spec.json ssl/certs/ca-certificates.crt
selinux/targeted/contexts/files/file_contexts iscsi/initiatorname.iscsi nvme/hostid nvme/hostnqn
"""
"""Files below /etc that Talos mounts its own over."""
_FOLDERS = """\
boot dev etc/kubernetes/manifests etc/cni/net.d etc/ssl/certs etc/cri/conf.d/hosts mnt opt/cni/bin proc root run sys
system tmp usr/bin usr/etc usr/lib/modules usr/lib/firmware usr/libexec/kubernetes usr/local/bin usr/local/share
usr/local/lib/kubelet/credentialproviders usr/share/spdx usr/share/zoneinfo/Etc var .extra
usr/local/glibc/usr/lib usr/local/gpu-sim usr/local/share/gpu-testbed/net.d
"""
_LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib",
    "usr/sbin": "bin",
    "usr/lib64": "lib",
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
    "etc/pki": "/etc/ssl",
    "etc/ca-certificates": "/etc/ssl",
    "etc/ssl/certs/ca-certificates": "ca-certificates.crt",
    **dict.fromkeys(("usr/bin/poweroff", "usr/bin/shutdown", "usr/bin/reboot", "usr/bin/dashboard"), "init"),
    "usr/bin/sandboxd": "init",  # from 1.14 on
    "usr/bin/runc": "shim",
    "usr/local/bin/nvidia-container-runtime": "/usr/bin/shim",
}
_PART = """\
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia]
  privileged_without_host_devices = false
  runtime_engine = ""
  runtime_root = ""
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia.options]
    BinaryName = "/usr/local/bin/nvidia-container-runtime"
"""
"""nvidia-container-toolkit's file in siderolabs/extensions."""
_NETWORK_FOLDER = "usr/local/share/gpu-testbed/net.d"
_NETWORK_PART = f"""\
[plugins."io.containerd.cri.v1.runtime".cni]
  conf_dir = "/{_NETWORK_FOLDER}"
"""
"""Where containerd finds the network of pods: from v1.14 on /etc/cni is empty at every boot, for a CNI pod to fill."""


def build(out: Path, talos: Path, containerd: Path, shim: Path, debian: Path) -> None:
    """Fills an empty folder with the root of every node of a release.

    Args:
        out: the folder.
        talos: with machined and, below `root`, the files of Talos' source (releases.py).
        containerd: with containerd and its shim.
        shim: what stands before runc.
        debian: with runc and the CNI plugins.
    """
    for folder in _FOLDERS.split():
        (out / folder).mkdir(parents=True, exist_ok=True)
    for target, says in _LINKS.items():
        (out / target).symlink_to(says)
    for path in (out / "etc" / name for name in _EMPTY.split()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shutil.copytree(talos / "root", out, dirs_exist_ok=True)
    (out / "usr/etc/in-container").write_text("true\n")
    (out / "etc/cri/conf.d/10-nvidia-container-runtime.part").write_text(_PART)
    (out / "etc/cri/conf.d/05-testbed.part").write_text(_NETWORK_PART)
    plugins = {f"opt/cni/bin/{name}": debian / "usr/lib/cni" / name for name in _CNI}
    programs = {
        "usr/bin/init": talos / "machined",
        "usr/bin/containerd": containerd / "containerd",
        "usr/bin/containerd-shim-runc-v2": containerd / "containerd-shim-runc-v2",
        "usr/bin/shim": shim,
        "usr/libexec/runc": debian / "usr/sbin/runc",
        **plugins,
    }
    libraries = _libraries(debian, debian / "usr/sbin/runc", *plugins.values())
    for target, source in {**programs, **{f"usr/lib/{path.name}": path for path in libraries}}.items():
        shutil.copyfile(source, out / target)
        (out / target).chmod(0o755)


def personalize(root: Path, name: str, gateway: IPv4Address, network: dict[str, object]) -> None:
    """Adds what is one node's own: its name, where names are resolved, and the network of its pods (CNI)."""
    _replace(root / "etc/hostname", f"{name}\n")
    _replace(root / "etc/hosts", "127.0.0.1 localhost\n")
    _replace(root / "etc/resolv.conf", f"nameserver {gateway}\n")
    _replace(root / _NETWORK_FOLDER / "10-bridge.conflist", json.dumps(network, indent=2))


def add_extensions(root: Path, release: TalosRelease, driver: Path, spec: NodeSpec) -> None:
    """Adds what the image of a node with NVIDIA's extensions contains, with a simulated driver."""
    _replace(root / "etc/extensions.yaml", json.dumps(_manifest(release), indent=2))
    shutil.copy(driver / "libnvidia-ml.so.1", root / "usr/local/glibc/usr/lib")
    shutil.copy(driver / "nvidia-smi", root / "usr/local/bin")
    (root / "usr/local/gpu-sim/gpus.conf").write_text(spec.driver_config())


def _replace(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)  # a hard link, so that writing to it would change every node's
    path.write_text(text)


def _manifest(release: TalosRelease) -> dict[str, object]:
    """/etc/extensions.yaml, as Talos' imager writes it for a schematic of the Image Factory."""
    versions = {
        "nvidia-open-gpu-kernel-modules-production": f"{release.driver}-{release.version}",
        "nvidia-container-toolkit-production": f"{release.driver}-v{release.toolkit}",
    }
    entries = "".join(f"            - siderolabs/{name}\n" for name in versions)
    schematic = f"customization:\n    systemExtensions:\n        officialExtensions:\n{entries}"
    layers = [
        _layer(f"{number:03d}.ghcr.io-siderolabs-{name}.sqsh", name, version)
        for number, (name, version) in enumerate(versions.items())
    ]
    schematic_id = hashlib.sha256(schematic.encode()).hexdigest()
    return {"layers": [*layers, _layer("999.schematic.sqsh", "schematic", schematic_id, extraInfo=schematic)]}


def _layer(image: str, name: str, version: str, **more: str) -> dict[str, object]:
    metadata: dict[str, object] = {
        "name": name,
        "version": version,
        "author": "Sidero Labs",
        "description": "simulated",
        "compatibility": {"talos": {"version": ">= v1.2.0"}},
    }
    return {"image": image, "metadata": metadata | more}


def _libraries(debian: Path, *programs: Path) -> set[Path]:
    """The loader and the shared libraries of programs."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(debian / "usr/lib/x86_64-linux-gnu")}
    found: set[Path] = set()
    for program in programs:
        done = subprocess.run(["ldd", program], env=environment, capture_output=True, text=True, check=False)
        found |= set(parse_ldd(done.stdout).values())
    return found
