"""`gpuctl init` reads a cluster: Pulumi takes the stack file that it writes, and keeps its comments."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cluster import Cluster
from tests.cluster.pulumi_stack import Environment, Stack, Step, output, run

pytestmark = pytest.mark.cluster

LABELS = ("nvidia.com/gpu.product=NVIDIA-GeForce-RTX-3090", "nvidia.com/gpu.count=2", "nvidia.com/gpu.memory=24576")
TAINT = "dedicated=gpu:NoSchedule"


@pytest.fixture
def described(environment: Environment) -> Iterator[None]:
    """GPU Feature Discovery has labelled gpu-1; gpu-2 shows nothing, and has a taint."""
    output(environment, "kubectl", "label", "nodes", "gpu-1", *LABELS)
    output(environment, "kubectl", "taint", "nodes", "gpu-2", TAINT)
    yield
    output(environment, "kubectl", "label", "nodes", "gpu-1", *(f"{label.partition('=')[0]}-" for label in LABELS))
    output(environment, "kubectl", "taint", "nodes", "gpu-2", f"{TAINT}-")


@pytest.mark.usefixtures("described")
def test_pulumi_previews_what_was_written_and_keeps_its_comments(stack: Stack, cluster: Cluster) -> None:
    stack.file.unlink()
    init = (sys.executable, "-m", "gpuctl", "init", stack.name, "--context", cluster.context, "--yes")
    done = run(stack.environment, *init, "--circuit", "2000", "--node", "gpu-2=l4x1")
    assert done.returncode == 0, done.stderr
    settings = stack.settings
    assert [(node.name, node.gpu, node.count) for node in settings.nodes] == [
        ("gpu-1", "rtx-3090", 2),
        ("gpu-2", "l4", 1),
    ]
    assert settings.tolerations == ({"key": "dedicated", "value": "gpu", "effect": "NoSchedule"},)
    assert (settings.power_limit, settings.power_limits, settings.circuit_watts) == (300, {"l4": 72}, 2000)

    preview = stack.preview()
    assert preview.succeeded, preview.errors
    made = {step.kind for step in preview.steps if step.operation == "create"}
    assert {"Namespace", "RuntimeClass", "ConfigMap", "DaemonSet"} <= made
    assert Step("create", "DaemonSet", "nvidia-device-plugin") in preview.steps

    before = stack.file.read_text()
    stack.pulumi("config", "set", "gpu:slices", "6")
    assert _comments(stack.file.read_text()) == _comments(before)
    assert stack.settings == settings.model_copy(update={"slices": 6})
    assert run(stack.environment, *init).returncode == 2, "the file is there"


def test_a_stack_that_is_made_afterwards_finds_the_file_and_keeps_what_is_in_it(
    environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: gpu\nruntime: python\n")
    file = tmp_path / "Pulumi.after-init.yaml"
    init = (sys.executable, "-m", "gpuctl", "init", "after-init", "--offline", "--context", "admin@lab", "--yes")
    here = {**environment, "PULUMI_OPTION_CONFIG_FILE": str(file)}
    output(here, *init, "--node", "gpu-1=rtx-3090x2")
    before = file.read_text()
    stack = ("after-init", "--cwd", str(tmp_path))
    output(here, "pulumi", "stack", "init", *stack)
    try:
        assert _comments(file.read_text()) == _comments(before)
        assert output(here, "pulumi", "config", "get", "gpu:slices", "--stack", *stack) == "4\n"
    finally:
        output(here, "pulumi", "stack", "rm", "--yes", *stack)


def _comments(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("#")]
