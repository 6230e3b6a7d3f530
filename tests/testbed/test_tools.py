"""Which programs a cluster gets."""

import shutil
import subprocess
from pathlib import Path

import pytest

from testbed import artifacts, installed_pulumi, tools
from testbed.go_tools import PROVIDER, PULUMI
from testbed.gobuild import GoTool


def _machine(monkeypatch: pytest.MonkeyPatch, *copied: GoTool, go: str | None = None) -> None:
    """A machine without Pulumi of its own, with or without Go, and with programs that were copied there."""

    def which(_name: str) -> str | None:
        return go

    def built(tool: GoTool) -> Path | None:
        return Path(tool.name) if tool in copied else None

    def installed() -> None:
        return None

    monkeypatch.setattr(shutil, "which", which)
    monkeypatch.setattr(tools, "built", built)
    monkeypatch.setattr(installed_pulumi, "provider", installed)


def test_without_go_a_cluster_has_pulumi_only_where_all_of_it_was_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch)
    assert not tools.has_pulumi()
    _machine(monkeypatch, PULUMI)
    assert not tools.has_pulumi()
    _machine(monkeypatch, PULUMI, PROVIDER)
    assert tools.has_pulumi()


def test_with_go_pulumi_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, go="/usr/local/go/bin/go")
    assert tools.has_pulumi()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")
def test_the_cuda_load_is_compiled_without_cuda_and_says_that_it_finds_no_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path)
    done = subprocess.run([tools.cuda_load() / "cuda-load"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("libcuda.so.1: cannot open shared object file")
