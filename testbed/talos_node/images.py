"""The images that a Talos node pulls, as the folder of a read-only registry (registry.py).

Kubernetes and etcd are the test bed's one program, so one image stands under the names of all of them.
"""

import json
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from testbed import images
from testbed.talos_node.releases import TalosRelease

_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
_PAUSES = (images.PAUSE, "registry.k8s.io/pause:3.10")


def write_registry(release: TalosRelease, hyperkube: Path, plugin: Path, busybox: Path, out: Path) -> None:
    """Writes all images that nodes of a release ask for.

    Args:
        release: of Talos.
        hyperkube: the program of Kubernetes and etcd.
        plugin: the program of the NVIDIA device plugin.
        busybox: for shells and for the mount command that the kubelet starts.
        out: an empty folder; gets `refs.json`, from REPOSITORY:TAG to the manifest's digest, and `blobs`.
    """
    version = f"v{release.kubernetes_version}"
    of_kubernetes = [f"registry.k8s.io/{name}:{version}" for name in _PROGRAMS if name.startswith("kube-")]
    of_kubernetes += [f"ghcr.io/siderolabs/kubelet:{version}", release.etcd]
    references: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="gpu-testbed-") as folder:
        scratch = Path(folder)
        for image, names in (
            (_kubernetes(hyperkube, busybox, scratch), of_kubernetes),
            (images.pause_image(busybox), _PAUSES),
            (images.busybox_image(busybox), [images.BUSYBOX]),
            (images.device_plugin_image(plugin, busybox), [images.DEVICE_PLUGIN]),
        ):
            images.write_archive(image, scratch / "image.tar")
            references |= _add(scratch / "image.tar", names, out)
    (out / "refs.json").write_text(json.dumps(references, indent=2))


def _kubernetes(hyperkube: Path, busybox: Path, scratch: Path) -> images.Image:
    (scratch / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (scratch / "group").write_text("root:x:0:\n")
    image = images.busybox_image(busybox)
    image.reference, image.command = "testbed/kubernetes", ()
    image.files["/usr/local/bin/hyperkube"] = hyperkube.resolve()
    image.files |= {f"/etc/{name}": scratch / name for name in ("passwd", "group")}  # the kubelet looks up its user
    image.links |= {f"/usr/local/bin/{name}": "hyperkube" for name in _PROGRAMS}
    image.links |= {f"/usr/bin/{name}": "/busybox/busybox" for name in ("mount", "umount")}
    image.links["/var/run"] = "/run"  # Talos mounts the former, the kubelet opens the latter
    return image


def _add(archive: Path, names: Iterable[str], out: Path) -> dict[str, str]:
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    manifest = json.loads((out / "index.json").read_text())["manifests"][0]["digest"]
    return {name.partition("/")[2]: manifest for name in names}
