"""Container images written without a registry."""

import gzip
import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from testbed import images

LDD = """\
\tlinux-vdso.so.1 (0x00007f95c107f000)
\tlibc.so.6 => /usr/lib64/libc.so.6 (0x00007f95c0e8c000)
\tlibnvidia-ml.so.1 => not found
\t/lib64/ld-linux-x86-64.so.2 (0x00007f95c1081000)
"""


@pytest.fixture
def busybox(tmp_path: Path) -> Path:
    path = tmp_path / "busybox"
    path.write_bytes(b"a static program")
    return path


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as file:
        contents = ((member.name, file.extractfile(member)) for member in file)
        return {name: content.read() for name, content in contents if content is not None}


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    content = files["blobs/" + descriptor["digest"].replace(":", "/")]
    assert hashlib.sha256(content).hexdigest() == descriptor["digest"].removeprefix("sha256:")
    assert len(content) == descriptor["size"]
    return content


def test_the_archive_is_a_chain_of_matching_digests_from_index_to_layer(tmp_path: Path, busybox: Path) -> None:
    """containerd verifies every one of them on import."""
    images.write_archive(images.busybox_image(busybox), tmp_path / "image.tar")
    files = members(tmp_path / "image.tar")
    entry = json.loads(files["index.json"])["manifests"][0]
    manifest = json.loads(blob(files, entry))
    config = json.loads(blob(files, manifest["config"]))
    layer = gzip.decompress(blob(files, manifest["layers"][0]))
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/busybox:testbed"
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, busybox: Path) -> None:
    for name in ("first.tar", "second.tar"):
        images.write_archive(images.busybox_image(busybox), tmp_path / name)
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def layer_of(archive: Path) -> tarfile.TarFile:
    files = members(archive)
    manifest = json.loads(blob(files, json.loads(files["index.json"])["manifests"][0]))
    return tarfile.open(fileobj=BytesIO(gzip.decompress(blob(files, manifest["layers"][0]))))


def test_the_device_plugin_image_has_its_tag_a_shell_and_the_programs_libraries(tmp_path: Path, busybox: Path) -> None:
    images.write_archive(images.device_plugin_image(Path("/bin/ls"), busybox), tmp_path / "plugin.tar")
    layer = layer_of(tmp_path / "plugin.tar")
    assert {"usr/bin/nvidia-device-plugin", "lib/x86_64-linux-gnu/libc.so.6", "busybox/busybox"} <= set(
        layer.getnames()
    )
    assert layer.getmember("busybox/awk").linkname == "/busybox/busybox"
    assert layer.getmember("bin/sh").linkname == "/busybox/sh"
    assert layer.getmember("usr/bin/nvidia-device-plugin").mode & 0o111


def test_the_dra_drivers_image_has_its_tag_both_programs_and_no_entry_point(tmp_path: Path, busybox: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("gpu-kubelet-plugin", "nvidia-cdi-hook"):
        (programs / name).symlink_to("/bin/ls")
    images.write_archive(images.dra_driver_image(programs, busybox), tmp_path / "driver.tar")
    files = members(tmp_path / "driver.tar")
    entry = json.loads(files["index.json"])["manifests"][0]
    config = json.loads(blob(files, json.loads(blob(files, entry))["config"]))["config"]
    reference = "nvcr.io/nvidia/dra-driver-nvidia-gpu:v0.5.0"
    assert entry["annotations"]["io.containerd.image.name"] == reference
    assert (config["Entrypoint"], "NVIDIA_VISIBLE_DEVICES=all" in config["Env"]) == ([], True)
    names = set(layer_of(tmp_path / "driver.tar").getnames())
    assert {"usr/bin/gpu-kubelet-plugin", "usr/bin/nvidia-cdi-hook", "lib/x86_64-linux-gnu/libc.so.6"} <= names


def test_a_program_has_the_libraries_that_nvidias_driver_needs(tmp_path: Path, busybox: Path) -> None:
    """Without them the real driver's library cannot be loaded: device plugin v0.18.2 then finds no GPU."""
    images.write_archive(images.device_plugin_image(Path("/bin/ls"), busybox), tmp_path / "plugin.tar")
    names = layer_of(tmp_path / "plugin.tar").getnames()
    assert {f"lib/x86_64-linux-gnu/{name}" for name in ("libdl.so.2", "libm.so.6", "libpthread.so.0")} <= set(names)


def test_every_file_of_a_layer_comes_after_its_folders(tmp_path: Path, busybox: Path) -> None:
    images.write_archive(images.device_plugin_image(Path("/bin/ls"), busybox), tmp_path / "plugin.tar")
    seen = {""}
    for name in layer_of(tmp_path / "plugin.tar").getnames():
        assert name.rpartition("/")[0] in seen
        assert name not in seen
        seen.add(name)


def test_libraries_go_where_the_loader_in_the_image_searches() -> None:
    """Other distributions keep theirs elsewhere; one that is not found comes with the driver."""
    assert images.parse_ldd(LDD) == {
        "/lib/x86_64-linux-gnu/libc.so.6": Path("/usr/lib64/libc.so.6"),
        "/lib64/ld-linux-x86-64.so.2": Path("/lib64/ld-linux-x86-64.so.2"),
    }
