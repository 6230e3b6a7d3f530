"""`pulumi destroy` leaves nodes as they were."""

import pytest

from gpuctl.desired.names import PRESENT_LABEL, PROFILE_LABEL
from tests.node.bed import NAMESPACE, NODES, Bed, stack_file, wait_for

pytestmark = pytest.mark.node


def test_destroy_gives_limits_back_and_takes_labels_and_pods_away(deployed: Bed) -> None:
    gpus = [gpu for node in NODES for gpu in deployed.gpus(node.name)]
    wait_for([300.0, 300.0, 250.0, 300.0], lambda: [gpu.power_limit for gpu in gpus])
    deployed.destroy()
    assert [gpu.power_limit for gpu in gpus] == [350.0, 350.0, 450.0, 350.0]
    for node in deployed.cluster.api.nodes().values():
        assert not {PRESENT_LABEL, PROFILE_LABEL} & node["metadata"]["labels"].keys()
    assert deployed.get("pods", "-A")["items"] == []
    assert deployed.run("kubectl", "get", "namespace", NAMESPACE).returncode != 0
    assert deployed.get("runtimeclasses")["items"] == []
    wait_for([0, 0, 0], lambda: [deployed.allocatable(node.name) for node in NODES])


def test_limits_that_protect_a_circuit_outlive_the_stack_until_the_circuit_is_taken_out(bed: Bed) -> None:
    bed.deploy(stack_file(circuitWatts=3000))
    gpus = [gpu for node in NODES for gpu in bed.gpus(node.name)]
    wait_for([300.0, 300.0, 250.0, 300.0], lambda: [gpu.power_limit for gpu in gpus])
    bed.destroy()
    assert bed.get("pods", "-A")["items"] == []
    assert [gpu.power_limit for gpu in gpus] == [300.0, 300.0, 250.0, 300.0]
    bed.deploy(stack_file())
    bed.destroy()
    assert [gpu.power_limit for gpu in gpus] == [350.0, 350.0, 450.0, 350.0]
