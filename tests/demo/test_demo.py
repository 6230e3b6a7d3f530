"""The demo without a cluster: what it reads, what it says when a figure is not as expected, what it leaves alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demo import __main__ as command_line
from demo import figures, stack
from demo.screen import DemoError, Screen
from demo.story import Story
from testbed import tools
from testbed.cluster import Cluster
from testbed.errors import BedError

PODS = """\
POD       PHASE     RESTARTS   DEVICE
share-a   Running   0          GPU-1::3
share-b   Running   2          GPU-2::0
share-c   Running   0          <none>
share-d   Pending   <none>     <none>
"""


def test_pods_are_counted_by_gpu_and_those_without_by_phase() -> None:
    assert figures.placement(PODS) == {"GPU-1": 1, "GPU-2": 1, "<none>": 1, "Pending": 1}


def test_a_pod_counts_as_running_once_its_device_is_known() -> None:
    assert figures.running(PODS) == {"share-a": "0", "share-b": "2"}


@pytest.mark.parametrize("output", ["", "error: unable to upgrade connection\n"])
def test_an_output_without_figures_gives_none(output: str) -> None:
    assert figures.limits(output) == {}
    assert figures.placement(output) == {}
    assert figures.shortage(output) is None
    assert figures.replicas(output) is None


def test_a_limit_is_read_by_uuid() -> None:
    assert figures.limits("GPU-1, 300.00, 350.00\nGPU-2, 250.00, 450.00\n") == {"GPU-1": 300.0, "GPU-2": 250.0}


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "cpu"])
def test_only_a_lacking_gpu_is_a_shortage_of_gpus(resource: str) -> None:
    found = figures.shortage(f"0/1 nodes are available: 1 Insufficient {resource}. no new claims to deallocate.")
    assert (found == "Insufficient nvidia.com/gpu") == (resource == "nvidia.com/gpu")


def test_a_command_is_shown_before_its_output(capfd: pytest.CaptureFixture[str]) -> None:
    Screen().run("echo", "two words")
    assert capfd.readouterr().out == "$ echo 'two words'\ntwo words\n"


def test_gpuctl_is_that_of_this_checkout(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    Screen().run("gpuctl", "--version")
    assert capfd.readouterr().out.startswith("$ gpuctl --version\ngpuctl ")


def test_a_figure_that_is_not_as_expected_is_told_with_both(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DemoError, match=r"(?s)eight: not within 0 s.*expected: 8.*seen: +7"):
        Screen().until("eight", ("echo", "7"), lambda output: int(output), 8, 0)
    assert capfd.readouterr().out == "$ echo 7\n7\n"


def test_a_command_that_fails_ends_the_demo() -> None:
    with pytest.raises(DemoError, match=r"`false` ended with code 1"):
        Screen().run("false")


@pytest.mark.parametrize(("raised", "code"), [(DemoError("seven"), 1), (KeyboardInterrupt(), 130)])
def test_an_early_end_has_an_exit_code_and_names_the_way_out(
    raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Story) -> None:
        raise raised

    monkeypatch.setattr(Story, "tell", fail)
    result = CliRunner().invoke(command_line.app, ["--name", "demo"])
    assert result.exit_code == code
    assert "make demo-down" in result.stdout


@pytest.mark.parametrize("before", [b"config: {}\n", None])
def test_what_pulumi_writes_into_the_checkout_is_taken_back(
    before: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "CONFIG", tmp_path)
    path = tmp_path / "Pulumi.demo.yaml"
    if before is not None:
        path.write_bytes(before)
    with stack.KeptStackFile("demo"):
        path.write_text("encryptionsalt: v1\n")
    assert (path.read_bytes() if path.exists() else None) == before


@pytest.fixture
def without_namespaces(tmp_path: Path) -> Iterator[tuple[Cluster, str]]:
    """A cluster's name and a PATH without unshare, so that no real node can run."""
    try:
        for tool in (tools.kubernetes, tools.kwok, tools.provider, tools.commands):
            tool()
    except BedError as error:
        pytest.skip(str(error))
    folder = tmp_path / "bin"
    folder.mkdir()
    for directory in os.environ["PATH"].split(":"):
        for program in Path(directory).glob("*"):
            link = folder / program.name
            if program.name != "unshare" and not link.is_symlink():
                link.symlink_to(program)
    cluster = Cluster("demo-kwok")
    cluster.down()  # a run that was killed
    yield cluster, str(folder)
    cluster.down()


@pytest.mark.cluster
def test_without_real_nodes_it_says_so_and_shows_what_can_be_shown(without_namespaces: tuple[Cluster, str]) -> None:
    cluster, path = without_namespaces
    command = [sys.executable, "-m", "demo", "--name", cluster.name]
    environment = os.environ | {"PATH": path}
    done = subprocess.run(command, cwd=stack.REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No real node can run here: real nodes need unshare" in done.stdout
    assert "capacity and watts, cannot be shown" in done.stdout
    assert "is configured for 4 slices" in done.stdout
    assert "is configured for 6 slices" in done.stdout
    assert "nvidia.com/gpu:.status.allocatable" not in done.stdout
