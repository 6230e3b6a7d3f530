"""What Talos nodes are made of, without a node."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import BedError
from testbed.gpus import NodeSpec
from testbed.images import BUSYBOX
from testbed.talos_node import images, registry, releases, root
from testbed.talos_node.releases import RELEASES, release_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A registry's folder with the images of v1.13.9; their programs are empty files."""
    programs = [tmp_path / name for name in ("hyperkube", "plugin", "busybox")]
    for program in programs:
        program.touch()
    out = tmp_path / "registry"
    out.mkdir()
    images.write_registry(RELEASES["v1.13.9"], programs[0], programs[1], programs[2], out)
    return out


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """The registry's URL."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", registry.__file__, str(folder), "127.0.0.1", "20990"]
    ) as process:
        yield "http://127.0.0.1:20990/v2"
        process.terminate()


def get(url: str) -> bytes:
    """What a server answers; waits until it listens."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 30
    while True:
        try:
            with opener.open(url) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_registry_has_every_image_that_a_node_of_the_release_asks_for(folder: Path) -> None:
    references = json.loads((folder / "refs.json").read_text())
    assert set(references) == {
        "etcd:v3.6.12",
        "kube-apiserver:v1.36.4",
        "kube-controller-manager:v1.36.4",
        "kube-scheduler:v1.36.4",
        "siderolabs/kubelet:v1.36.4",
        "pause:3.10",
        "pause:3.10.1",
        "nvidia/k8s-device-plugin:v0.18.2",
        BUSYBOX.removeprefix("docker.io/"),
    }


def test_an_image_is_pulled_by_tag_then_manifest_then_blobs(server: str) -> None:
    manifest = json.loads(get(f"{server}/pause/manifests/3.10.1?ns=registry.k8s.io"))
    for blob in (manifest["config"], *manifest["layers"]):
        content = get(f"{server}/pause/blobs/{blob['digest']}")
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob["digest"]


@pytest.mark.parametrize(
    "path", ["nginx/manifests/latest", "pause/blobs/sha256:../../refs.json", "x/blobs/../refs.json"]
)
def test_the_registry_serves_nothing_but_its_images(server: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{server}/{path}")


def test_a_release_that_is_not_pinned_is_refused_with_those_that_are() -> None:
    with pytest.raises(BedError, match=r"'v1\.13\.1' cannot be started here: .*v1\.13\.9"):
        release_of("v1.13.1")


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES.keys())
def test_a_release_is_built_from_its_own_version_of_talos(release: releases.TalosRelease) -> None:
    module = (Path(releases.__file__).parents[1] / "go" / release.programs.name / "go.mod").read_text()
    assert f"github.com/siderolabs/talos {release.version}\n" in module
    assert f"github.com/siderolabs/talos/pkg/machinery {release.version}\n" in module


def test_a_node_shows_the_extensions_of_the_schematic_that_the_image_factory_would_have_used(tmp_path: Path) -> None:
    """The ID is the one that the Image Factory gives for NVIDIA's two extensions of the channel `production`."""
    for name in ("etc", "usr/local/glibc/usr/lib", "usr/local/bin", "usr/local/gpu-sim"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/extensions.yaml").touch()
    for name in ("libnvidia-ml.so.1", "nvidia-smi"):
        (tmp_path / name).touch()
    root.add_extensions(tmp_path, RELEASES["v1.13.9"], tmp_path, NodeSpec.parse("gpu-1=l4x1"))
    layers: list[dict[str, Any]] = json.loads((tmp_path / "etc/extensions.yaml").read_text())["layers"]
    assert {layer["metadata"]["name"]: layer["metadata"]["version"] for layer in layers} == {
        "nvidia-open-gpu-kernel-modules-production": "595.91.07-v1.13.9",
        "nvidia-container-toolkit-production": "595.91.07-v1.19.1",
        "schematic": "1deaeeb1ea2e7901c21c109368a7261f52dfd9a91e9d7eea83cfd0f0e1b7d488",
    }


def test_what_is_one_nodes_own_is_not_in_the_root_that_all_share(tmp_path: Path) -> None:
    """Roots are copies by hard links."""
    shared, own = tmp_path / "shared", tmp_path / "own"
    for name in ("etc", "usr/local/share/gpu-testbed/net.d"):
        (shared / name).mkdir(parents=True)
    (shared / "etc/hostname").write_text("")
    shutil.copytree(shared, own, copy_function=os.link)
    root.personalize(own, "gpu-1", IPv4Address("10.200.255.1"), {"name": "pods"})
    assert (own / "etc/hostname").read_text() == "gpu-1\n"
    assert (own / "etc/resolv.conf").read_text() == "nameserver 10.200.255.1\n"
    assert json.loads((own / "usr/local/share/gpu-testbed/net.d/10-bridge.conflist").read_text()) == {"name": "pods"}
    assert (shared / "etc/hostname").read_text() == ""
