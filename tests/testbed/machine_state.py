"""What is recorded of the machine before a cluster comes up, and compared when it is gone."""

from pathlib import Path

_PROC_SYS = Path("/proc/sys")
_CHANGES_BY_ITSELF = ("kernel/ns_last_pid", "kernel/random/")
_OF_ONE_LINK = ("net/ipv4/conf/", "net/ipv6/conf/", "net/ipv4/neigh/", "net/ipv6/neigh/")
"""They come and go with links, also with those of a cluster beside."""


def kernel_settings() -> dict[str, str]:
    """Every setting below /proc/sys that a process may change, by its path there."""
    found: dict[str, str] = {}
    for path in _PROC_SYS.rglob("*"):
        name = str(path.relative_to(_PROC_SYS))
        try:
            if name.startswith((*_CHANGES_BY_ITSELF, *_OF_ONE_LINK)) or not path.stat().st_mode & 0o222:
                continue
            if path.is_file():
                found[name] = path.read_text()
        except OSError:  # can be written only, or went with its link
            continue
    return found


def mounts() -> list[str]:
    """Every mount of the machine's own mount namespace: where, of what kind, with which options."""
    lines = (line.split() for line in Path("/proc/1/mounts").read_text().splitlines())
    return sorted(" ".join(fields[1:4]) for fields in lines)


def processes(folder: Path) -> list[str]:
    """The command lines that name something in a folder."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended while we looked
            continue
        if f"{folder}/" in command:
            found.append(command)
    return found
