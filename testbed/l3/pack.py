"""Everything that a GPU machine without Go, compiler and registries needs for `run`, in one file or a few.

A pack is a tar of three compressed archives and the script that starts: programs, Python packages, the project. Each
archive of the first two is an artifact of its own, so that a changed project is packed again in seconds.
"""

import io
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from testbed import debian, tools
from testbed.artifacts import artifact, key
from testbed.errors import BedError

PART_BYTES = 60 * 2**20
"""A file is not larger: what carries files often has a limit near it."""
DEBIAN_FILES = (
    "bin/busybox",
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/bin/ctr",
    "usr/sbin/runc",
    "usr/lib/cni/bridge",
    "usr/lib/cni/host-local",
    "usr/lib/cni/loopback",
    "usr/lib/x86_64-linux-gnu/libseccomp.so.2",
)
"""What nodes use of the unpacked Debian packages."""

_PROJECT = Path(__file__).parents[2]
_PACKAGES = ("testbed", "gpuctl")
_REQUIREMENTS, _MORE = "requirements-gpuctl.txt", "requirements-dev.txt"
_ONE_MORE = "pyroute2"
"""What the test bed needs besides gpuctl's packages."""
_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
_DICTIONARY_BYTES = 192 * 2**20
"""Go programs repeat each other far apart: with the usual 8 MiB a pack is a quarter larger, and two files."""
_START = """\
#!/bin/sh
# Proves the product on this machine's GPUs; options: ./l3 --help. GPU settings are only read.
set -e
cd "$(dirname "$0")"
python=$(command -v python{version} || command -v python3)
case $("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') in
  {version}) ;;
  *) echo "this pack is for Python {version}, and $python is another: pack again with --python" >&2 && exit 1 ;;
esac
for archive in programs packages project; do
  [ -e "$archive" ] && continue
  mkdir -p unpacking
  "$python" -W ignore -m tarfile -e "$archive.tar.xz" unpacking
  mv "unpacking/$archive" .
done
PYTHONPATH=$PWD/packages:$PWD/project XDG_CACHE_HOME=$PWD/programs
export PYTHONPATH XDG_CACHE_HOME
exec "$python" -m testbed l3 "$@"
"""


def write(target: Path, python: str) -> list[Path]:
    """Writes the pack; returns its files: the target, or `TARGET.1`, `TARGET.2` and so on, to be joined with cat.

    Args:
        target: a tar archive.
        python: the version of Python on the GPU machine, such as 3.12.

    Raises:
        BedError: a program cannot be built, or a Python package cannot be had.
    """
    archives = (_programs() / "programs.tar.xz", _python_packages(python) / "packages.tar.xz")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as pack:
        for archive in archives:
            _add(pack, archive.name, archive.read_bytes())
        _add(pack, "project.tar.xz", _compressed(("project", _PROJECT, _project_files())))
        _add(pack, "l3", _START.format(version=python).encode(), mode=0o755)
    return list(_split(target, buffer.getvalue()))


def programs() -> dict[Path, list[Path]]:
    """The artifacts that a node with real GPUs uses, each with the files of it that go into the pack."""
    unpacked = debian.packages()
    found = {folder: _files(folder) for folder in (tools.kubernetes(), tools.plugin(), tools.container_toolkit())}
    found[tools.cuda_load()] = _files(tools.cuda_load())
    found[unpacked] = [path for name in DEBIAN_FILES for path in _with_target(unpacked / name)]
    return found


def requirements() -> str:
    """The Python packages that gpuctl and the test bed import, with versions and hashes."""
    lines = (_PROJECT / _MORE).read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{_ONE_MORE}=="))
    hashes = list(takewhile(lambda line: line.startswith("    --hash="), lines[start + 1 :]))
    return "\n".join([(_PROJECT / _REQUIREMENTS).read_text(), lines[start], *hashes]) + "\n"


def _programs() -> Path:
    found = programs()

    def make(out: Path) -> None:
        contents = [(f"programs/gpu-testbed/tools/{folder.name}", folder, files) for folder, files in found.items()]
        (out / "programs.tar.xz").write_bytes(_compressed(*contents))

    inputs = key(*(folder.name for folder in found), *DEBIAN_FILES, str(_DICTIONARY_BYTES))
    return artifact("packed-programs", inputs, "packing programs", make)


def _python_packages(python: str) -> Path:
    pinned = requirements()

    def make(out: Path) -> None:
        folder, listed = out / "packages", out / "requirements.txt"
        listed.write_text(pinned)
        platforms = (word for platform in _PLATFORMS for word in ("--platform", platform))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        only = (
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--implementation",
            "cp",
            "--python-version",
            python,
        )
        done = subprocess.run(
            [*command, *only, *platforms, "--target", folder, "-r", listed],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BedError(f"pip cannot have the packages for Python {python}: {done.stderr.strip()}")
        (out / "packages.tar.xz").write_bytes(_compressed(("packages", folder, _files(folder))))

    inputs = key(pinned, python, *_PLATFORMS, str(_DICTIONARY_BYTES))
    return artifact("packed-python", inputs, f"packing Python packages for Python {python}", make)


def _project_files() -> list[Path]:
    return [path for name in _PACKAGES for path in _files(_PROJECT / name) if "__pycache__" not in path.parts]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def _with_target(path: Path) -> list[Path]:
    """A file, and what it is a symbolic link to."""
    return [path, path.parent / path.readlink()] if path.is_symlink() else [path]


def _compressed(*contents: tuple[str, Path, Sequence[Path]]) -> bytes:
    """An archive of files below folders; each folder gets another name."""
    size = sum(path.lstat().st_size for _, _, files in contents for path in files)
    dictionary = min(max(size, 2**20), _DICTIONARY_BYTES)  # its memory is taken whether it is filled or not
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": dictionary}]
    buffer = io.BytesIO()
    with (
        lzma.LZMAFile(buffer, "w", format=lzma.FORMAT_XZ, filters=filters) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for name, folder, files in contents:
            for path in files:
                archive.add(path, f"{name}/{path.relative_to(folder)}", recursive=False, filter=_anonymous)
    return buffer.getvalue()


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def _split(target: Path, content: bytes) -> Iterator[Path]:
    if len(content) <= PART_BYTES:
        target.write_bytes(content)
        yield target
        return
    for number, start in enumerate(range(0, len(content), PART_BYTES), 1):
        part = target.with_name(f"{target.name}.{number}")
        part.write_bytes(content[start : start + PART_BYTES])
        yield part
