"""Slices by MPS on a real kubelet, with the real device plugin, the product's daemon and a simulated MPS."""

import json
import sys
from collections.abc import Iterator

import pytest

from tests.node.bed import NAMESPACE, PLUGIN, Bed, Config, Object, gpu_pod, stack_file, wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(900, func_only=True)]

DAEMON = "nvidia-mps-control-daemon"
VERIFY = (sys.executable, "-m", "gpuctl", "verify", "--stack", "l2", "-o", "json", "--check", "mps")
LIMIT = 6144
"""MiB of one of four slices of an RTX 3090."""


def _stack(**keys: object) -> Config:
    """gpu-1 shares its two GPUs by MPS; the other nodes have time slices."""
    config = stack_file()
    config["nodes"][0] |= {"sharing": "mps"} | keys
    return config


def _program(name: str, mib: int, user: int = 0) -> Object:
    """A pod whose program allocates memory on its slice and holds it."""
    pod = gpu_pod(name, "gpu-1")
    pod["spec"] |= {"restartPolicy": "Never", "securityContext": {"runAsUser": user}}
    pod["spec"]["containers"][0] |= {
        "command": ["gpu-client", str(mib), "900"],
        "env": [{"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "compute,utility"}],
    }
    return pod


def _said(bed: Bed, pod: str) -> str:
    return bed.run("kubectl", "logs", pod).stdout


def _outcomes(bed: Bed) -> dict[str, list[str]]:
    """Id -> the outcomes of what the checks of MPS find on gpu-1."""
    done = bed.run(*VERIFY)
    assert done.stdout, done.stderr
    (stack,) = json.loads(done.stdout)["stacks"]
    checks = [check for category in stack["categories"] for check in category["checks"]]
    return {each["id"]: [found["outcome"] for found in each["results"]] for each in checks if each["id"] >= "MPS"}


@pytest.fixture
def shared(bed: Bed) -> Iterator[Bed]:
    bed.deploy(_stack())
    wait_for(8, lambda: bed.allocatable("gpu-1"))
    yield bed
    bed.delete_pods()


def test_a_program_over_its_limit_is_refused_while_its_neighbours_of_any_user_go_on(shared: Bed) -> None:
    shared.create(_program("root", LIMIT), _program("user", LIMIT - 1, user=1000), _program("greedy", LIMIT + 1))
    wait_for("Failed", lambda: shared.phases()["greedy"])
    assert _said(shared, "greedy").endswith(f"limit_mib={LIMIT} threads_pct=25 uid=0 out of memory\n")
    wait_for({"root": "Running", "user": "Running", "greedy": "Failed"}, shared.phases)
    wait_for(True, lambda: "mode=mps uuid=GPU-" in _said(shared, "user"))
    assert "uid=1000\n" in _said(shared, "user")
    wait_for(
        {"MPS001": ["pass"], "MPS002": ["pass", "pass"], "MPS003": ["pass"], "MPS004": ["pass"]},
        lambda: _outcomes(shared),
    )


def test_a_restart_of_the_plugin_disturbs_no_program(shared: Bed) -> None:
    shared.create(_program("steady", 100))
    wait_for(True, lambda: "mode=mps" in _said(shared, "steady"))
    shared.restart_plugin("gpu-1")
    wait_for(True, lambda: shared.is_ready(PLUGIN, "gpu-1"))
    wait_for(8, lambda: shared.allocatable("gpu-1"))
    shared.create(_program("next", 100))
    wait_for(True, lambda: "mode=mps" in _said(shared, "next"))
    assert shared.phases()["steady"] == "Running"


def test_while_no_daemon_serves_no_slice_is_offered_and_programs_have_lost_their_server(shared: Bed) -> None:
    shared.create(_program("lost", 100))
    wait_for(True, lambda: "mode=mps" in _said(shared, "lost"))
    shared.changed_by_hand()
    shared.output("kubectl", "delete", "daemonset", "-n", NAMESPACE, f"{DAEMON}-gpu-1")
    wait_for("Failed", lambda: shared.phases()["lost"])
    assert _said(shared, "lost").endswith("its MPS server is gone\n")
    wait_for(0, lambda: shared.allocatable("gpu-1"))
    shared.deploy(_stack())
    wait_for(8, lambda: shared.allocatable("gpu-1"))
    shared.create(_program("again", 100))
    wait_for(True, lambda: "mode=mps" in _said(shared, "again"))
