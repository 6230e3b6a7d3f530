"""Container images without a registry: one layer, as an OCI archive that `ctr images import` reads.

An image here is a program with the shared libraries it needs, taken from this machine, and busybox. The
device plugin's image carries the published tag and, like the published one, has its shell under /busybox;
it is not the published image.
"""

import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

DEVICE_PLUGIN = "nvcr.io/nvidia/k8s-device-plugin:v0.18.2"
DRA_DRIVER = "nvcr.io/nvidia/dra-driver-nvidia-gpu:v0.5.0"
PAUSE = "registry.k8s.io/pause:3.10.1"
BUSYBOX = "docker.io/library/busybox:testbed"

APPLETS = """
[ awk basename cat chmod cmp cp cut date dd diff dirname du echo env expr false find grep head hostname
httpd id kill ln ls mkdir mkfifo mktemp mount mv nl od paste printf ps pwd readlink rm rmdir sed seq sh sleep
sort stat tail tee test timeout touch tr true uname uniq wc xargs
"""
"""POSIX tools a shell script may expect; the published image's busybox has all of them."""

_C_LIBRARY = "libc.so.6"
_DRIVER_NEEDS = ("libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1")
"""What libnvidia-ml and libcuda name as needed (`readelf -d`), beside the C library."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/busybox"
_EPOCH = "2026-01-01T00:00:00Z"


@dataclass
class Image:
    """What goes into an image. Targets are absolute paths in it."""

    reference: str
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    """Target -> file on this machine, stored executable."""
    links: dict[str, str] = field(default_factory=dict[str, str])
    """Target -> what the symbolic link says."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()


def pause_image(busybox: Path) -> Image:
    """The container that holds a pod's namespaces."""
    return Image(PAUSE, {"/busybox/busybox": busybox}, entrypoint=["/busybox/busybox", "sleep", "2147483647"])


def busybox_image(busybox: Path) -> Image:
    """A shell with POSIX tools, for workloads."""
    return _with_shell(Image(BUSYBOX, command=["sh"]), busybox)


def device_plugin_image(plugin: Path, busybox: Path) -> Image:
    """The NVIDIA device plugin under its published tag and with its published environment."""
    env = {
        "NVIDIA_DISABLE_REQUIRE": "true",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }
    image = program_image(DEVICE_PLUGIN, plugin, "/usr/bin/nvidia-device-plugin", busybox)
    image.env = env
    return image


def dra_driver_image(programs: Path, busybox: Path) -> Image:
    """NVIDIA's DRA driver under its published tag, with its published environment and without an entry point."""
    image = program_image(DRA_DRIVER, programs / "gpu-kubelet-plugin", "/usr/bin/gpu-kubelet-plugin", busybox)
    image.files["/usr/bin/nvidia-cdi-hook"] = programs / "nvidia-cdi-hook"
    image.env = {
        "NVIDIA_DISABLE_REQUIRE": "true",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "utility",
    }
    image.entrypoint = ()
    return image


def program_image(reference: str, program: Path, target: str, busybox: Path) -> Image:
    """A program of this machine as entry point, with a shell, its libraries and those of NVIDIA's driver."""
    files = {target: program, **_with_those_of_the_driver(shared_libraries(program))}
    return _with_shell(Image(reference, files, entrypoint=[target]), busybox)


def _with_shell(image: Image, busybox: Path) -> Image:
    image.files["/busybox/busybox"] = busybox
    image.links |= {f"/busybox/{applet}": "/busybox/busybox" for applet in APPLETS.split()}
    image.links["/bin/sh"] = "/busybox/sh"
    return image


def shared_libraries(program: Path) -> dict[str, Path]:
    """The loader and libraries of a program: path in the image -> file here. None for a static program."""
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return parse_ldd(listing)


def _with_those_of_the_driver(libraries: dict[str, Path]) -> dict[str, Path]:
    """Adds what the driver's libraries are linked to: the container runtime brings those and nothing else."""
    folders = {target.rpartition("/")[0]: path.parent for target, path in libraries.items() if path.name == _C_LIBRARY}
    return libraries | {
        f"{target}/{name}": folder / name
        for target, folder in folders.items()
        for name in _DRIVER_NEEDS
        if (folder / name).exists()
    }


def parse_ldd(listing: str) -> dict[str, Path]:
    """Reads `libc.so.6 => /lib/.../libc.so.6 (0x...)` and `/lib64/ld-linux-x86-64.so.2 (0x...)`.

    Libraries go to the Debian folder of their architecture, which the loader in the image searches by itself.
    """
    libraries: dict[str, Path] = {}
    for line in listing.splitlines():
        if match := re.match(r"\s*(\S+) => (/\S+) \(", line):
            libraries[f"/lib/x86_64-linux-gnu/{match[1]}"] = Path(match[2])
        elif match := re.match(r"\s*(/\S+) \(", line):
            libraries[match[1]] = Path(match[1])
    return libraries


def write_archive(image: Image, path: Path) -> None:
    """Writes the image as an OCI archive. The same input gives the same bytes."""
    layer = _layer(image)
    compressed = gzip.compress(layer, 3, mtime=0)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _EPOCH,
            "config": {
                "Env": [f"{key}={value}" for key, value in {"PATH": _PATH, **image.env}.items()],
                "Entrypoint": list(image.entrypoint),
                "Cmd": list(image.command),
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", compressed)],
        }
    )
    named = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    named["annotations"] = {"io.containerd.image.name": image.reference}
    index_type = "application/vnd.oci.image.index.v1+json"
    index = _json({"schemaVersion": 2, "mediaType": index_type, "manifests": [named]})
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644)
        _add(archive, "index.json", index, 0o644)
        for blob in (config, manifest, compressed):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob, 0o644)


def _layer(image: Image) -> bytes:
    buffer = io.BytesIO()
    made: set[str] = set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for directory in ("/tmp", "/etc", "/proc", "/sys", "/dev", "/run", "/var"):
            _add_directory(archive, directory, made)
        for target, source in image.files.items():
            _add_directory(archive, target.rpartition("/")[0], made)
            _add(archive, target.lstrip("/"), source.read_bytes(), 0o755)
        for target, says in image.links.items():
            _add_directory(archive, target.rpartition("/")[0], made)
            info = tarfile.TarInfo(target.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, says
            archive.addfile(info)
    return buffer.getvalue()


def _add_directory(archive: tarfile.TarFile, directory: str, made: set[str]) -> None:
    for path in [*reversed(PurePosixPath(directory).parents), PurePosixPath(directory)]:
        name = str(path).lstrip("/")
        if name and name not in made:
            made.add(name)
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(info)


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}
