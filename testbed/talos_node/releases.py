"""The releases of Talos that can be started, with all that differs between them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed import go_tools
from testbed.errors import BedError
from testbed.gobuild import GoTool, Module, built

CONTAINERD_VERSION = "2.2.4"

_TALOS = "github.com/siderolabs/talos"
_CONTAINERD = "github.com/containerd/containerd/v2"


@dataclass(frozen=True)
class TalosRelease:
    """One release; its wrapper module is testbed/go/talos-node-MINOR."""

    version: str
    """With a leading v."""
    etcd: str
    """The image that this release asks for by default."""
    kubernetes: GoTool
    """A Kubernetes that this release can run."""
    kubernetes_version: str
    driver: str
    """Of the NVIDIA extensions of its channel `production`, as the toolkit's version."""
    toolkit: str

    @property
    def minor(self) -> str:
        """Such as 1.13."""
        return ".".join(self.version.removeprefix("v").split(".")[:2])

    @property
    def programs(self) -> GoTool:
        """The node's process 1 and talosctl, with Talos' own build tags and flags (its Makefile)."""
        return GoTool(
            name=f"talos-node-{self.minor}",
            title=f"Talos {self.version}",
            programs={"machined": f"{_TALOS}/internal/app/machined", "talosctl": f"{_TALOS}/cmd/talosctl"},
            ldflags="-X golang.zx2c4.com/wireguard/ipc.socketDirectory=/system/wireguard-sock",
            tags="tcell_minimal,grpcnotrace",
            after=_add_root_files,
        )

    @property
    def is_built(self) -> bool:
        """Whether all that takes minutes to build is there."""
        return all(built(tool) for tool in (self.programs, CONTAINERD, self.kubernetes))


def _add_root_files(module: Module, out: Path) -> None:
    """The files that Talos' Dockerfile takes from its source into a node's root: path there -> file."""
    hack, machinery = module.source(_TALOS) / "hack", module.source(f"{_TALOS}/pkg/machinery")
    copies = {
        "etc/containerd/config.toml": hack / "containerd.toml",
        "etc/cri/containerd.toml": hack / "cri-containerd.toml",
        "etc/cri/conf.d/00-base.part": hack / "cri-plugin.part",
        "etc/nfsmount.conf": hack / "nfsmount.conf",
        "etc/os-release": machinery / "version" / "os-release",
        "usr/share/zoneinfo/Etc/UTC": hack / "zoneinfo" / "Etc" / "UTC",
    }
    for target, source in copies.items():
        path = out / "root" / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        path.chmod(0o644)


CONTAINERD = GoTool(
    name="containerd",
    title=f"containerd {CONTAINERD_VERSION}",
    programs={name: f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2")},
    ldflags=f"-X {_CONTAINERD}/version.Version=v{CONTAINERD_VERSION} -X {_CONTAINERD}/version.Package={_CONTAINERD}",
    tags="no_btrfs,no_zfs,no_devmapper,urfave_cli_no_docs,grpcnotrace",
)
"""Talos' configuration of containerd is for version 2; Debian's package is older."""
SHIM = GoTool(name="talos-shim", title="what stands before runc on a Talos node", programs={"shim": "."})

_NEW = (go_tools.KUBERNETES, go_tools.KUBERNETES_VERSION)
_OLD = (go_tools.KUBERNETES_OF_OLDER_TALOS, go_tools.OLDER_KUBERNETES_VERSION)
RELEASES = {
    release.version: release
    for release in (
        TalosRelease("v1.10.6", "gcr.io/etcd-development/etcd:v3.5.21", *_OLD, "570.148.08", "1.17.8"),
        TalosRelease("v1.11.5", "gcr.io/etcd-development/etcd:v3.6.5", *_OLD, "570.172.08", "1.17.8"),
        TalosRelease("v1.12.6", "registry.k8s.io/etcd:v3.6.8", *_OLD, "570.211.01", "1.18.2"),
        TalosRelease("v1.13.9", "registry.k8s.io/etcd:v3.6.12", *_NEW, "595.91.07", "1.19.1"),
        TalosRelease("v1.14.1", "registry.k8s.io/etcd:v3.7.1", *_NEW, "595.91.07", "1.19.1"),
    )
}


def release_of(version: str) -> TalosRelease:
    """The release of a version.

    Raises:
        BedError: it cannot be built here.
    """
    if version not in RELEASES:
        raise BedError(
            f"Talos {version!r} cannot be started here: its modules are not pinned in testbed/go. "
            f"Choose one of {', '.join(RELEASES)}, for example: python -m testbed up --talos v1.13.9"
        )
    return RELEASES[version]
