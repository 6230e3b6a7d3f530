"""gpuctl stacks on a folder of stack files, with and without Pulumi's records."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from tests.fixtures import command_line
from tests.fixtures.stack_files import ROOT

LAB = """\
config:
  gpu:context: admin@lab
  gpu:nodes:
    - {name: gpu-1, gpu: rtx-3090, count: 2}
    - {name: gpu-2, gpu: rtx-4090, count: 1, slices: 6}
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one stack."""
    (tmp_path / "config").mkdir()
    (tmp_path / "gpuctl").symlink_to(ROOT / "gpuctl")
    (tmp_path / "Pulumi.yaml").symlink_to(ROOT / "Pulumi.yaml")
    (tmp_path / "config" / "Pulumi.lab.yaml").write_text(LAB)
    return tmp_path


@pytest.fixture
def gpuctl(checkout: Path) -> Run:
    """Runs gpuctl in it; the only other program is what lies in its folder `bin`."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        path = f"{checkout / 'bin'}{os.pathsep}/nowhere"
        return command_line.run(*words, cwd=checkout, env={"PATH": path, "HOME": str(checkout), "COLUMNS": "120"})

    return run


def _install_pulumi(checkout: Path, script: str) -> None:
    program = checkout / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def _listed(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return json.loads(done.stdout)


def test_every_stack_is_listed_with_what_its_cluster_must_show(gpuctl: Run) -> None:
    done = gpuctl("stacks")
    assert done.returncode == 0
    assert done.stdout == snapshot("""\
STACK  CONTEXT    NODES  GPUS  SLICES  WATTS  TALOS    LAST UPDATE
lab    admin@lab      2     3      14    900  v1.13.9  not known
""")


def test_pulumi_knows_when_a_stack_was_last_deployed(checkout: Path, gpuctl: Run) -> None:
    """Also by the full name that Pulumi's own service gives it."""
    answer = [{"name": "acme/gpu/lab", "lastUpdate": "2026-01-02T03:04:05.000Z"}, {"name": "new"}]
    _install_pulumi(checkout, f"echo '{json.dumps(answer)}'")
    assert _listed(gpuctl("stacks", "-o", "json")) == [
        {
            "stack": "lab",
            "lastUpdate": "2026-01-02T03:04:05.000Z",
            "context": "admin@lab",
            "resource": "nvidia.com/gpu",
            "total": 14,
            "byResource": {"nvidia.com/gpu": 14},
            "watts": 900,
            "talosVersion": "v1.13.9",
            "talosVersions": ["v1.13.9"],
            "nodes": 2,
        }
    ]


def test_a_pulumi_that_is_not_logged_in_is_no_obstacle(checkout: Path, gpuctl: Run) -> None:
    _install_pulumi(checkout, "echo 'error: not logged in' >&2; exit 255")
    [lab] = _listed(gpuctl("stacks", "-o", "json"))
    assert lab["lastUpdate"] is None


@pytest.mark.parametrize(
    "answer",
    [
        "x",
        "null",
        '{"a": 1}',
        "[1]",
        '[{"lastUpdate": "2026-01-02"}]',
        '[{"name": {}, "lastUpdate": "2026-01-02"}]',
        '[{"name": "lab", "lastUpdate": 5}]',
        '[{"name": "lab", "lastUpdate": ["2026-01-02"]}]',
        "[" * 100_000,
    ],
)
def test_what_pulumi_does_not_answer_so_is_not_known(checkout: Path, gpuctl: Run, answer: str) -> None:
    (checkout / "answer").write_text(answer)
    _install_pulumi(checkout, f'while read -r line || test -n "$line"; do echo "$line"; done <{checkout}/answer')
    done = gpuctl("stacks")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].endswith("v1.13.9  not known")


def test_a_stack_with_mistakes_is_listed_with_them(checkout: Path, gpuctl: Run) -> None:
    (checkout / "config" / "Pulumi.bad.yaml").write_text(LAB + "  gpu:slices: 0\n")
    done = gpuctl("stacks")
    assert done.returncode == 2
    assert "gpu:slices = 0: must be at least 1" in done.stdout
    assert "admin@lab" in done.stdout
