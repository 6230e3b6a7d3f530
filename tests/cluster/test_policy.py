"""The engine itself asks the policy pack, which refuses what breaks a rule and ends with the command."""

import subprocess
from pathlib import Path

import pytest

from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1
from tests.cluster.pulumi_stack import REPOSITORY, Environment, Stack, run, snapshot

PACK = REPOSITORY / "policy"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not (PACK / ".venv" / "ready").exists(), reason="no environment for the policy pack: make policy"
    ),
]

FOREIGN_PROGRAM = """\
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Namespace

Namespace("open", metadata={"name": "open", "labels": {"pod-security.kubernetes.io/enforce": "privileged"}})
container = {"name": "main", "image": "intruder", "securityContext": {"privileged": True}}
labels = {"app": "intruder"}
Deployment(
    "intruder",
    metadata={"name": "intruder"},
    spec={
        "selector": {"match_labels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"runtime_class_name": "nvidia", "containers": [container]},
        },
    },
)
"""


def _judged(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    """A pulumi command under the policy pack."""
    return run(stack.environment, *stack.command(*words, "--policy-pack", str(PACK), "--color", "never"))


def _left_behind(stack: Stack) -> list[str]:
    """What still runs in the stack's environment."""
    left: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(stack.file).encode() in (process / "environ").read_bytes():
                left.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended, or is none of ours
    return left


def test_what_the_project_deploys_passes_and_the_pack_ends_with_the_command(stack: Stack) -> None:
    done = _judged(stack, "preview")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gpu-sharing@v1.0.0" in done.stdout
    assert "mandatory" not in done.stdout
    assert _left_behind(stack) == []


def test_a_tag_that_moves_is_refused_by_preview_and_up(
    stack: Stack, cluster: Cluster, environment: Environment
) -> None:
    image = "nvcr.io/nvidia/k8s-device-plugin:latest"
    stack.configure(context=cluster.context, nodes=[GPU_1], devicePluginImage=image)
    for words in (("preview",), ("up", "--yes")):
        done = _judged(stack, *words)
        assert done.returncode != 0
        assert "[mandatory]  image-pinned  (kubernetes:apps/v1:DaemonSet: nvidia-device-plugin)" in done.stdout
        assert f"image '{image}' has the tag latest" in done.stdout
    assert snapshot(environment).objects == {}
    assert _left_behind(stack) == []


def test_a_limit_that_no_card_takes_is_refused(stack: Stack, cluster: Cluster) -> None:
    node = {"name": "gpu-1", "gpu": "of-the-future", "count": 1, "powerLimit": 1500}
    stack.configure(context=cluster.context, nodes=[node])
    done = _judged(stack, "preview")
    assert done.returncode != 0
    assert "[mandatory]  power-limit-range" in done.stdout
    assert "POWER_LIMITS has 'gpu-1 1500'" in done.stdout


def test_small_slices_are_advised_against_and_not_refused(stack: Stack, cluster: Cluster) -> None:
    stack.configure(context=cluster.context, nodes=[GPU_1], slices=64)
    done = _judged(stack, "preview")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("[advisory]  slice-memory") == 1
    assert "node gpu-1: a slice has 384 MiB" in done.stdout


def test_a_program_that_is_not_the_projects_is_judged_too(stack: Stack) -> None:
    project = stack.file.parent / stack.name
    (project / "__main__.py").write_text(FOREIGN_PROGRAM)
    done = _judged(stack, "preview", "--cwd", str(project))
    assert done.returncode != 0
    for rule, fact in (
        ("image-pinned", "image 'intruder' has no tag"),
        ("no-privileged-container", "container main: privileged is true"),
        ("capabilities", "keeps the capabilities"),
        ("pod-security", "Namespace open: label pod-security.kubernetes.io/enforce is 'privileged'"),
        ("runtime-class", "runtimeClassName is 'nvidia', and the stack has no RuntimeClass"),
    ):
        assert f"[mandatory]  {rule}" in done.stdout
        assert fact in done.stdout
