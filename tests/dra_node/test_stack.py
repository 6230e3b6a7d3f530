"""The stack with backend `dra` on a real kubelet: what nodes offer, who gets it, and what the product says of it."""

from collections import Counter

import pytest

from tests.dra_node.bed import DraBed, share_pod, stack_file
from tests.node.bed import GPU, gpu_pod, wait_for

pytestmark = pytest.mark.node

NINE = [f"share-{number}" for number in range(9)]


def test_the_nodes_slice_has_each_gpu_and_its_status_has_none(deployed: DraBed) -> None:
    assert GPU not in deployed.get("node", "gpu-1")["status"]["capacity"]
    [found] = deployed.slices()
    models = {device["attributes"]["productName"]["string"] for device in found["spec"]["devices"]}
    assert (found["spec"]["nodeName"], models) == ("gpu-1", {"NVIDIA GeForce RTX 3090"})


def test_pods_as_with_the_device_plugin_share_two_gpus_and_the_ninth_gets_a_share_that_is_added(
    deployed: DraBed,
) -> None:
    first, second = (gpu.uuid for gpu in deployed.gpus("gpu-1"))
    deployed.create(*map(share_pod, NINE[:5]), *map(gpu_pod, NINE[5:]))  # without and with the RuntimeClass
    wait_for({"Running": 8, "Pending": 1}, lambda: dict(Counter(deployed.phases().values())))
    assert deployed.held() == {first: 4, second: 4}
    running = [name for name, phase in deployed.phases().items() if phase == "Running"]
    assert Counter(uuid for name in running for uuid in deployed.seen(name)) == {first: 4, second: 4}
    (waiting,) = deployed.phases().keys() - running
    assert "1 cannot allocate all claims" in deployed.why_pending(waiting)

    deployed.deploy(stack_file(slices=6))
    wait_for("Running", lambda: deployed.phases()[waiting])
    assert deployed.shares() == {first: 6, second: 6}
    assert deployed.restarts() == dict.fromkeys(NINE, 0)
