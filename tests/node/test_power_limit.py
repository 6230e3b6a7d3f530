"""Watts: every GPU at its limit, back there when something moves it, and a reason where that cannot be."""

import json
import sys
import time
from collections.abc import Iterator

import pytest

from testbed.gpus import SimulatedGpu
from tests.node.bed import INTERVAL, MIXED, NAMESPACE, PLUGIN, POWER, Bed, stack_file, wait_for

pytestmark = pytest.mark.node

SYS_ADMIN = 1 << 21
"""Its bit in a set of capabilities; see capabilities(7)."""


def limits(bed: Bed, node: str) -> list[str]:
    """What nvidia-smi says in the power-limit pod of a node, in watts."""
    query = ["nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader,nounits"]
    return bed.execute(POWER, node, *query).stdout.split()


def reason(bed: Bed, node: str) -> str:
    """Why the power-limit pod is not ready, in the words of its readiness probe."""
    return bed.execute(POWER, node, "/busybox/sh", "/agent/agent.sh", "ready").stdout


def process_status(bed: Bed, component: str) -> dict[str, str]:
    """/proc/PID/status of a container's first process."""
    lines = bed.execute(component, "gpu-1", "cat", "/proc/1/status").stdout.splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def verified(bed: Bed) -> str:
    """What `gpuctl verify` says of the power limits."""
    return bed.run(
        sys.executable, "-m", "gpuctl", "verify", "--check", "power-limit", "--stack", "l2", "-o", "json"
    ).stdout


def unavailable(bed: Bed) -> int:
    """How many nodes the DaemonSet's status calls unavailable."""
    return bed.get("daemonset", "-n", NAMESPACE, POWER)["status"].get("numberUnavailable", 0)


def test_every_gpu_is_at_the_limit_of_its_node(deployed: Bed) -> None:
    wait_for(["300.00", "300.00"], lambda: limits(deployed, "gpu-1"))
    wait_for(["250.00"], lambda: limits(deployed, "gpu-2"))
    wait_for(["300.00"], lambda: limits(deployed, "gpu-3"))


def test_a_limit_that_another_process_moved_is_put_back(deployed: Bed, gpu: SimulatedGpu) -> None:
    gpu.drift(350)
    moved = time.monotonic()
    wait_for(300.0, lambda: gpu.power_limit)
    print(f"from drift to correction: {time.monotonic() - moved:.1f} s; a look every {INTERVAL} s")
    wait_for(True, lambda: f"msg=drift gpu={gpu.uuid} limit_w=350 desired_w=300" in deployed.log(POWER, "gpu-1"))


def test_the_limits_that_a_driver_reload_forgot_are_all_set_again(deployed: Bed, gpu: SimulatedGpu) -> None:
    """And the driver stays loaded from then on, where no nvidia-persistenced sees to it."""
    gpus = deployed.gpus("gpu-1")
    for each in gpus:
        each.reload_driver()
    assert [each.power_limit for each in gpus] == [350.0, 350.0]
    wait_for([300.0, 300.0], lambda: [each.power_limit for each in gpus])
    wait_for(True, lambda: f"msg=persistence gpu={gpu.uuid}" in deployed.log(POWER, "gpu-1"))
    wait_for(0, lambda: unavailable(deployed))


def test_a_card_that_something_else_caps_further_down_is_told_and_fine(deployed: Bed, gpu: SimulatedGpu) -> None:
    gpu.cap_elsewhere(250)
    try:
        capped = f"msg=capped gpu={gpu.uuid} desired_w=300 enforced_w=250"
        wait_for(True, lambda: capped in deployed.log(POWER, "gpu-1"))
        assert reason(deployed, "gpu-1") == ""
    finally:
        gpu.cap_elsewhere(None)


def test_a_card_that_is_lost_is_noticed_and_the_other_is_still_held(deployed: Bed, gpu: SimulatedGpu) -> None:
    wait_for(0, lambda: unavailable(deployed))
    other = deployed.gpus("gpu-1")[1]
    gpu.lose()
    try:
        wait_for(True, lambda: f"lost gpu={gpu.uuid}" in reason(deployed, "gpu-1"))
        other.drift(350)
        wait_for(300.0, lambda: other.power_limit)
        wait_for(1, lambda: unavailable(deployed))
    finally:
        gpu.recover()
    wait_for(0, lambda: unavailable(deployed))


def test_mixed_cards_of_one_node_get_the_limit_of_their_model_or_their_own(deployed: Bed) -> None:
    big, small = deployed.gpus(MIXED.name)
    config = stack_file(powerLimits={"rtx-4090": 320})
    config["nodes"].append({"name": MIXED.name, "gpus": {"rtx-4090": 1, "rtx-3090": 1}})
    deployed.deploy(config)
    wait_for([320.0, 300.0], lambda: [big.power_limit, small.power_limit])
    wait_for(8, lambda: deployed.allocatable(MIXED.name))
    config["powerLimits"] |= {small.uuid: 260}
    deployed.deploy(config)
    wait_for([320.0, 260.0], lambda: [big.power_limit, small.power_limit])
    deployed.deploy(stack_file())
    wait_for([450.0, 350.0], lambda: [big.power_limit, small.power_limit])


def test_without_the_capability_the_reason_is_told(deployed: Bed, gpu: SimulatedGpu) -> None:
    path = "/spec/template/spec/containers/0/securityContext/capabilities/add"
    deployed.changed_by_hand()
    patch = json.dumps([{"op": "remove", "path": path}])
    deployed.output("kubectl", "patch", "-n", NAMESPACE, "daemonset", POWER, "--type=json", "-p", patch)
    wait_for(0, lambda: int(process_status(deployed, POWER).get("CapEff", "-1"), 16))
    wait_for("", lambda: reason(deployed, "gpu-1"))
    gpu.drift(350)
    wait_for(True, lambda: "setting needs uid 0 and the capability SYS_ADMIN" in reason(deployed, "gpu-1"))
    deployed.deploy(stack_file())
    wait_for(300.0, lambda: gpu.power_limit)


def test_a_limit_that_cannot_be_set_makes_the_pod_not_ready_and_says_why(deployed: Bed, gpu: SimulatedGpu) -> None:
    wait_for(0, lambda: unavailable(deployed))
    gpu.fail_set(3)
    gpu.drift(350)
    wait_for(1, lambda: unavailable(deployed))
    assert f"not_applied gpu={gpu.uuid} desired_w=300 limit_w=350" in reason(deployed, "gpu-1")
    gpu.fail_set(None)
    wait_for(True, lambda: deployed.is_ready(POWER, "gpu-1"))
    assert gpu.power_limit == 300.0


@pytest.fixture
def stubborn(bed: Bed) -> Iterator[SimulatedGpu]:
    """The GPU of gpu-2, which takes no limit, as a laptop's or one behind a hypervisor."""
    bed.deploy(stack_file())
    (gpu,) = bed.gpus("gpu-2")
    gpu.drift(450)
    gpu.fail_set(3)
    yield gpu
    gpu.fail_set(None)
    gpu.cap_elsewhere(None)
    gpu.drift(250)


@pytest.mark.parametrize("off", ["node", "model", "UUID"])
def test_a_gpu_that_takes_no_limit_is_left_alone_by_one_key_and_the_others_are_held(
    bed: Bed, stubborn: SimulatedGpu, off: str
) -> None:
    config = stack_file()
    del config["nodes"][1]["powerLimit"]
    if off == "node":
        config["nodes"][1]["powerManagement"] = False
    else:
        config["powerLimits"] = {"rtx-4090" if off == "model" else stubborn.uuid: "none"}
    bed.deploy(config)
    assert bed.is_ready(POWER, "gpu-2")
    assert stubborn.power_limit == 450.0
    assert [gpu.power_limit for gpu in bed.gpus("gpu-1")] == [300.0, 300.0]
    wait_for(2, lambda: bed.allocatable("gpu-2"))


def test_a_gpu_that_takes_no_limit_is_held_by_a_lower_one_that_it_enforces(bed: Bed, stubborn: SimulatedGpu) -> None:
    stubborn.cap_elsewhere(175)
    bed.deploy(stack_file(powerInterval=6))
    assert bed.is_ready(POWER, "gpu-2")
    held = "GPU 0 of gpu-2 (NVIDIA GeForce RTX 4090) does not take a limit, and enforces 175 W of the 250 W allowed"
    assert held in verified(bed)


def test_one_gpu_that_cannot_be_held_blocks_no_other_and_is_named(bed: Bed, stubborn: SimulatedGpu) -> None:
    up = bed.start_deploying(stack_file(powerInterval=7, powerLimit=280))
    try:
        wait_for([280.0, 280.0], lambda: [gpu.power_limit for gpu in bed.gpus("gpu-1")])
        wait_for(True, lambda: f"not_applied gpu={stubborn.uuid} desired_w=250" in reason(bed, "gpu-2"))
        assert up.poll() is None
    finally:
        said = bed.stop_deploying(up)
    assert f"containers with unready status: [{POWER}]" in said
    assert f"the power-limit agent on gpu-2 is not ready: not_applied gpu={stubborn.uuid} desired_w=250" in verified(
        bed
    )


def test_a_gpu_fewer_than_declared_keeps_pulumi_waiting_with_the_reason(deployed: Bed) -> None:
    config = stack_file()
    config["nodes"][1]["count"] = 2
    up = deployed.start_deploying(config)
    try:
        wait_for("missing expected=2 found=1\n", lambda: reason(deployed, "gpu-2"))
        assert not deployed.is_ready(POWER, "gpu-2")
        assert up.poll() is None
    finally:
        said = deployed.stop_deploying(up)
    assert f"containers with unready status: [{POWER}]" in said


def test_the_agent_has_one_capability_and_a_read_only_root(deployed: Bed) -> None:
    status = process_status(deployed, POWER)
    assert int(status["CapEff"], 16) == SYS_ADMIN
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "Read-only file system" in deployed.execute(POWER, "gpu-1", "touch", "/new").stderr


def test_the_device_plugin_has_no_capability_and_a_read_only_root(deployed: Bed) -> None:
    status = process_status(deployed, PLUGIN)
    assert int(status["CapEff"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "Read-only file system" in deployed.execute(PLUGIN, "gpu-1", "touch", "/new").stderr
