"""From one agent to the next no GPU has its default limit for a moment, nor more than the old or the new limit."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from testbed.gpus import SimulatedGpu
from tests.node.bed import NAMESPACE, POWER, Bed, stack_file, wait_for

pytestmark = pytest.mark.node

SAMPLE_SECONDS = 0.1


@contextmanager
def every_limit_of(gpu: SimulatedGpu) -> Generator[list[float]]:
    """The limits that a GPU has, one after the other, sampled from its state."""
    seen, done = [gpu.power_limit], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            if (limit := gpu.power_limit) != seen[-1]:
                seen.append(limit)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def replaced(bed: Bed, old: str, node: str = "gpu-1") -> bool:
    """Whether another pod is ready there, and the old one gone."""
    exists = bed.run("kubectl", "get", "pod", "-n", NAMESPACE, old).returncode == 0
    return not exists and bed.is_ready(POWER, node)


def test_an_update_of_the_agent_leaves_every_limit_where_it_is(deployed: Bed, gpu: SimulatedGpu) -> None:
    old = deployed.name_of(POWER, "gpu-1")
    with every_limit_of(gpu) as seen:
        deployed.deploy(stack_file(powerInterval=6))
        wait_for(True, lambda: replaced(deployed, old))
    assert seen == [300.0]


def test_a_lower_limit_comes_in_one_step(deployed: Bed, gpu: SimulatedGpu) -> None:
    old = deployed.name_of(POWER, "gpu-1")
    with every_limit_of(gpu) as seen:
        deployed.deploy(stack_file(powerLimit=280))
        wait_for(True, lambda: replaced(deployed, old))
    assert seen == [300.0, 280.0]
    gpu.drift(300)


def test_a_pod_that_is_deleted_hands_over_to_the_next(deployed: Bed, gpu: SimulatedGpu) -> None:
    wait_for(True, lambda: deployed.is_ready(POWER, "gpu-1"))
    old = deployed.name_of(POWER, "gpu-1")
    with every_limit_of(gpu) as seen:
        deployed.output("kubectl", "delete", "pod", "-n", NAMESPACE, old, "--wait=false")
        wait_for(True, lambda: replaced(deployed, old))
    assert seen == [300.0]


def test_a_pod_that_is_killed_leaves_the_limit_and_is_replaced(deployed: Bed, gpu: SimulatedGpu) -> None:
    old = deployed.name_of(POWER, "gpu-1")
    with every_limit_of(gpu) as seen:
        deployed.output("kubectl", "delete", "pod", "-n", NAMESPACE, old, "--force", "--grace-period=0")
        wait_for(True, lambda: replaced(deployed, old))
    assert seen == [300.0]
    gpu.drift(350)
    wait_for(300.0, lambda: gpu.power_limit)


def test_slices_of_its_own_move_no_node_to_another_agent(deployed: Bed, gpu: SimulatedGpu) -> None:
    """The node gets another device plugin; its agent is told nothing new."""
    agent = deployed.name_of(POWER, "gpu-1")
    config = stack_file()
    config["nodes"][0]["slices"] = 3
    with every_limit_of(gpu) as seen:
        deployed.deploy(config)
        wait_for(6, lambda: deployed.allocatable("gpu-1"))
    assert seen == [300.0]
    assert deployed.name_of(POWER, "gpu-1") == agent


def test_a_limit_that_a_card_refuses_stops_the_update_and_the_old_one_is_held(deployed: Bed, gpu: SimulatedGpu) -> None:
    """The catalogue knows boards that take 400 W; these take 375 W."""
    config = stack_file(powerLimit=400)
    old = deployed.name_of(POWER, "gpu-1")
    up = deployed.start_deploying(config)
    try:
        wait_for(True, lambda: old != deployed.name_of(POWER, "gpu-1"))
        refusal = f"unattainable gpu={gpu.uuid} desired_w=400 min_w=100 max_w=375 nearest_w=375"
        ready = ["/busybox/sh", "/agent/agent.sh", "ready"]
        wait_for(True, lambda: refusal in deployed.execute(POWER, "gpu-1", *ready).stdout)
        gpu.drift(350)
        moved = time.monotonic()
        wait_for(300.0, lambda: gpu.power_limit)
        print(f"held by the old agent: put back after {time.monotonic() - moved:.1f} s")
        assert up.poll() is None
    finally:
        deployed.stop_deploying(up)
    with every_limit_of(gpu) as seen:
        deployed.deploy(stack_file())
    assert seen == [300.0]
