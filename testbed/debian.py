"""Programs from Debian packages, unpacked into the cache: nothing is installed on the machine.

Packages come through apt, which checks their signatures, from the mirrors the machine is set up with. Root
is not needed.
"""

import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from testbed.artifacts import artifact, key
from testbed.errors import BedError
from testbed.layout import ARTIFACTS

PACKAGES = (
    *("containerd", "runc", "libseccomp2", "containernetworking-plugins"),
    "busybox-static",
    "shellcheck",
)
PROMETHEUS = ("prometheus",)

_KEY = key(*PACKAGES)
_COMMANDS = ("apt-get", "dpkg")


def obstacle() -> str | None:
    """Why the packages cannot be had here, as one sentence; None when they can."""
    if (ARTIFACTS / f"debian-{_KEY}").exists():
        return None
    if missing := _missing_commands():
        return (
            f"{missing} missing: containerd and runc are taken from Debian packages, so real "
            "nodes need Debian or Ubuntu; use --kwok-nodes"
        )
    return None


def packages() -> Path:
    """The root folder of the unpacked packages: usr/bin/containerd, usr/sbin/runc, usr/lib/cni, ..."""
    if problem := obstacle():
        raise BedError(problem)
    return artifact("debian", _KEY, "fetching containerd, runc and other Debian packages", partial(_fetch, PACKAGES))


def prometheus() -> Path:
    """The folder with prometheus and promtool, which no node needs: only tests of alerts ask for it."""
    if missing := _missing_commands():
        raise BedError(f"{missing} missing: Prometheus is taken from a Debian package")
    what = "fetching Prometheus from a Debian package"
    return artifact("prometheus", key(*PROMETHEUS), what, partial(_fetch, PROMETHEUS)) / "usr" / "bin"


def _missing_commands() -> str:
    return " and ".join(command for command in _COMMANDS if not shutil.which(command))


def _fetch(names: Sequence[str], out: Path) -> None:
    scratch = out / "apt"
    (scratch / "lists" / "partial").mkdir(parents=True)
    own_cache = ["-o", f"Dir::Cache={scratch}", "-o", "APT::Sandbox::User=root"]
    own_lists = ["-o", f"Dir::State::Lists={scratch}/lists"]
    if not _apt(scratch, *own_cache, "download", *names):  # no package lists here, or outdated ones
        _apt(scratch, *own_cache, *own_lists, "update")
        if not _apt(scratch, *own_cache, *own_lists, "download", *names):
            raise BedError(
                f"apt cannot download {', '.join(names)}, so what needs them cannot run. Its own "
                f"words: apt-get update && apt-get download {' '.join(names)}"
            )
    for archive in sorted(scratch.glob("*.deb")):
        subprocess.run(["dpkg", "-x", archive, out], check=True)
    shutil.rmtree(scratch)


def _apt(directory: Path, *arguments: str) -> bool:
    command = ["apt-get", "-q", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, check=False).returncode == 0
