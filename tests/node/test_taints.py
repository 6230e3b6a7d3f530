"""A node with a taint of the site's own: refused, and served and held once the stack tolerates it."""

from collections.abc import Iterator

import pytest

from tests.node.bed import Bed, stack_file, wait_for

pytestmark = pytest.mark.node


@pytest.fixture
def tainted(bed: Bed) -> Iterator[Bed]:
    """The stack without gpu-3, which then got a taint."""
    config = stack_file()
    config["nodes"].pop()
    bed.deploy(config)
    bed.output("kubectl", "taint", "node", "gpu-3", "gpu=true:NoSchedule")
    yield bed
    bed.output("kubectl", "taint", "node", "gpu-3", "gpu=true:NoSchedule-")


def test_a_tainted_node_is_refused_and_with_a_toleration_shared_and_held(tainted: Bed) -> None:
    (gpu,) = tainted.gpus("gpu-3")
    gpu.drift(350)
    up = tainted.start_deploying(stack_file())
    said, _ = up.communicate(timeout=300)  # as a deployment may take
    assert up.returncode != 0
    assert "node gpu-3 has the taint gpu=true:NoSchedule, which keeps the stack's pods off it" in said
    assert gpu.power_limit == 350.0
    tainted.deploy(stack_file(tolerations=[{"key": "gpu"}]))
    assert gpu.power_limit == 300.0
    wait_for(4, lambda: tainted.allocatable("gpu-3"))
