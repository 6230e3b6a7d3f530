"""Programs from Debian packages, unpacked into the cache: nothing is installed on the machine.

Packages come through apt, which checks their signatures, from the mirrors the machine is set up with. Root
is not needed.
"""

import shutil
import subprocess
from pathlib import Path

from testbed.artifacts import artifact, key
from testbed.errors import BedError
from testbed.layout import ARTIFACTS

PACKAGES = (
    *("containerd", "runc", "libseccomp2", "containernetworking-plugins"),
    "busybox-static",
    "shellcheck",
)

_KEY = key(*PACKAGES)
_COMMANDS = ("apt-get", "dpkg")


def obstacle() -> str | None:
    """Why the packages cannot be had here, as one sentence; None when they can."""
    if (ARTIFACTS / f"debian-{_KEY}").exists():
        return None
    missing = [command for command in _COMMANDS if not shutil.which(command)]
    if missing:
        return (
            f"{' and '.join(missing)} missing: containerd and runc are taken from Debian packages, so real "
            "nodes need Debian or Ubuntu; use --kwok-nodes"
        )
    return None


def packages() -> Path:
    """The root folder of the unpacked packages: usr/bin/containerd, usr/sbin/runc, usr/lib/cni, ..."""
    if problem := obstacle():
        raise BedError(problem)
    return artifact("debian", _KEY, "fetching containerd, runc and other Debian packages", _fetch)


def _fetch(out: Path) -> None:
    scratch = out / "apt"
    (scratch / "lists" / "partial").mkdir(parents=True)
    own_cache = ["-o", f"Dir::Cache={scratch}", "-o", "APT::Sandbox::User=root"]
    own_lists = ["-o", f"Dir::State::Lists={scratch}/lists"]
    if not _apt(scratch, *own_cache, "download", *PACKAGES):  # no package lists here, or outdated ones
        _apt(scratch, *own_cache, *own_lists, "update")
        if not _apt(scratch, *own_cache, *own_lists, "download", *PACKAGES):
            raise BedError(
                f"apt cannot download {', '.join(PACKAGES)}: without them there are no real nodes. Its own "
                f"words: apt-get update && apt-get download {' '.join(PACKAGES)}"
            )
    for archive in sorted(scratch.glob("*.deb")):
        subprocess.run(["dpkg", "-x", archive, out], check=True)
    shutil.rmtree(scratch)


def _apt(directory: Path, *arguments: str) -> bool:
    command = ["apt-get", "-q", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, check=False).returncode == 0
