"""What is packed for a GPU machine without Go and registries; stand-ins play the programs and pip."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from testbed import artifacts, debian, tools
from testbed.errors import BedError
from testbed.l3 import pack

REPOSITORY = Path(__file__).parents[2]
MEBIBYTE = 2**20


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Built programs, of which a node uses some, and a pip that installs one package."""
    store = tmp_path / "store"
    for name in pack.DEBIAN_FILES:
        _write(store / "debian-1" / name)
    for name in ("usr/bin/shellcheck", "usr/lib/cni/dhcp"):
        _write(store / "debian-1" / name)
    _write(store / "kube-1" / "hyperkube")
    (store / "kube-1" / "kubelet").symlink_to("hyperkube")
    _write(store / "plugin-1" / "nvidia-device-plugin")
    _write(store / "toolkit-1" / "nvidia-ctk")
    _write(store / "cuda-load-1" / "cuda-load")
    monkeypatch.setattr(artifacts, "ARTIFACTS", store)
    monkeypatch.setattr(debian, "packages", lambda: store / "debian-1")
    for maker, folder in (
        ("kubernetes", "kube-1"),
        ("plugin", "plugin-1"),
        ("container_toolkit", "toolkit-1"),
        ("cuda_load", "cuda-load-1"),
    ):
        monkeypatch.setattr(tools, maker, lambda folder=folder: store / folder)
    _pip(
        tmp_path, monkeypatch, 'while [ "$1" != --target ]; do shift; done; mkdir -p "$2/yaml"; echo 1 >"$2/yaml/a.py"'
    )
    return tmp_path


def _pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$*" >>"$0.log"\n{does}\n')
    python.chmod(0o755)
    monkeypatch.setattr(pack.sys, "executable", str(python))


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"program")


def _inner(pack_file: Path, name: str) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(pack_file) as outer:
        found = outer.extractfile(name)
        assert found is not None
        with tarfile.open(fileobj=io.BytesIO(found.read()), mode="r:xz") as inner:
            return {member.name: member for member in inner}


def test_it_has_what_a_node_uses_of_the_programs_and_nothing_else(machine: Path) -> None:
    [written] = pack.write(machine / "pack.tar", "3.12")
    assert set(_inner(written, "programs.tar.xz")) == {
        "programs/gpu-testbed/tools/kube-1/hyperkube",
        "programs/gpu-testbed/tools/kube-1/kubelet",
        "programs/gpu-testbed/tools/plugin-1/nvidia-device-plugin",
        "programs/gpu-testbed/tools/toolkit-1/nvidia-ctk",
        "programs/gpu-testbed/tools/cuda-load-1/cuda-load",
        "programs/gpu-testbed/tools/debian-1/bin/busybox",
        "programs/gpu-testbed/tools/debian-1/usr/bin/containerd",
        "programs/gpu-testbed/tools/debian-1/usr/bin/containerd-shim-runc-v2",
        "programs/gpu-testbed/tools/debian-1/usr/bin/ctr",
        "programs/gpu-testbed/tools/debian-1/usr/sbin/runc",
        "programs/gpu-testbed/tools/debian-1/usr/lib/cni/bridge",
        "programs/gpu-testbed/tools/debian-1/usr/lib/cni/host-local",
        "programs/gpu-testbed/tools/debian-1/usr/lib/cni/loopback",
        "programs/gpu-testbed/tools/debian-1/usr/lib/x86_64-linux-gnu/libseccomp.so.2",
    }


def test_one_program_under_six_names_is_packed_once(machine: Path) -> None:
    [written] = pack.write(machine / "pack.tar", "3.12")
    kubelet = _inner(written, "programs.tar.xz")["programs/gpu-testbed/tools/kube-1/kubelet"]
    assert (kubelet.issym(), kubelet.linkname) == (True, "hyperkube")


def test_the_project_is_in_it_without_what_python_left(machine: Path) -> None:
    [written] = pack.write(machine / "pack.tar", "3.12")
    names = set(_inner(written, "project.tar.xz"))
    assert {"project/testbed/l3/run.py", "project/testbed/go/kube/go.mod", "project/gpuctl/data/gpus.yaml"} <= names
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_packages_are_those_of_the_gpu_machines_python_with_their_hashes(machine: Path) -> None:
    [written] = pack.write(machine / "pack.tar", "3.13")
    assert set(_inner(written, "packages.tar.xz")) == {"packages/yaml/a.py"}
    [asked] = (machine / "python.log").read_text().splitlines()
    assert "--require-hashes" in asked
    assert "--python-version 3.13" in asked
    with tarfile.open(written) as outer:
        start = outer.extractfile("l3")
        assert start is not None
        assert "this pack is for Python 3.13" in start.read().decode()
        assert outer.getmember("l3").mode == 0o755


def test_a_changed_project_packs_neither_programs_nor_packages_again(machine: Path) -> None:
    pack.write(machine / "pack.tar", "3.12")
    pack.write(machine / "pack.tar", "3.12")
    assert len((machine / "python.log").read_text().splitlines()) == 1
    assert len(list((machine / "store").glob("packed-programs-*"))) == 1


def test_a_package_that_cannot_be_had_is_named_in_pips_words(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pip(machine, monkeypatch, "echo 'No matching distribution found for pyyaml' >&2; exit 1")
    with pytest.raises(BedError, match=r"Python 3\.12: No matching distribution found for pyyaml"):
        pack.write(machine / "pack.tar", "3.12")


def test_what_is_larger_than_a_part_becomes_parts_that_cat_joins(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [whole] = pack.write(machine / "whole.tar", "3.12")
    monkeypatch.setattr(pack, "PART_BYTES", 100_000)
    parts = pack.write(machine / "pack.tar", "3.12")
    assert [part.name for part in parts] == [f"pack.tar.{number}" for number in range(1, len(parts) + 1)]
    assert all(part.stat().st_size <= 100_000 for part in parts)
    assert b"".join(part.read_bytes() for part in parts) == whole.read_bytes()


def test_the_packages_are_gpuctls_and_the_test_beds_with_hashes() -> None:
    pinned = [line.split("==")[0] for line in pack.requirements().splitlines() if "==" in line]
    assert {"pydantic-core", "typer", "rich", "pyyaml", "pyroute2"} <= set(pinned)
    assert "pytest" not in pinned
    assert pack.requirements().count("--hash=sha256:") >= len(pinned)


def test_a_part_is_under_sixty_mebibytes() -> None:
    assert pack.PART_BYTES <= 60 * MEBIBYTE


def test_the_repository_holds_no_program_and_no_archive() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    heads = {name: _head(REPOSITORY / name) for name in listed.split("\0") if name}
    signs = (b"\x7fELF", b"\xfd7zXZ", b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
    assert [name for name, head in heads.items() if head.startswith(signs)] == []


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(8)
