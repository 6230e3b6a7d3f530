"""The command line, as a user runs it, in a cache of the test's own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
Testbed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def testbed(tmp_path: Path) -> Testbed:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "testbed", *arguments]
        env = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
        return subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False)

    return run


def test_status_without_a_cluster_tells_how_to_start_one(testbed: Testbed) -> None:
    assert "python -m testbed up --node gpu-1=rtx-3090x2" in testbed("status").stdout


@pytest.mark.parametrize("verb", ["shell", "kubeconfig"])
def test_a_verb_that_needs_a_cluster_tells_how_to_start_it(testbed: Testbed, verb: str) -> None:
    result = testbed(verb, "--name", "lab")
    assert result.returncode == 1
    assert result.stderr.strip().endswith("cluster 'lab' is not up. Start it: python -m testbed up --name lab")


def test_taking_down_a_cluster_that_is_not_there_is_no_error(testbed: Testbed) -> None:
    assert testbed("down").returncode == 0


def test_an_unknown_gpu_model_is_a_usage_error_that_lists_the_known_ones(testbed: Testbed) -> None:
    result = testbed("up", "--node", "gpu-1=rtx-1x2")
    assert result.returncode == 2
    assert "GPU model 'rtx-1' is not simulated. Known: rtx-3060" in result.stderr


def test_without_go_the_error_is_one_sentence_and_no_traceback(testbed: Testbed) -> None:
    result = testbed("tools")
    assert result.returncode == 1
    assert "error: Go is missing" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_names_every_verb(testbed: Testbed) -> None:
    shown = testbed("--help").stdout
    assert all(f" {verb} " in shown for verb in ("tools", "up", "down", "status", "kubeconfig", "shell"))
