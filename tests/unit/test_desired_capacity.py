"""How many slices, watts and MiB a cluster must show."""

import pytest
from hypothesis import given

from gpuctl.desired.capacity import capacity, memory_per_slice, power_budget
from gpuctl.settings import Settings, read_stack
from tests.fixtures.stack_files import settings
from tests.fixtures.strategies import clusters


@given(clusters())
def test_capacity_is_gpus_times_slices_on_every_node(cluster: Settings) -> None:
    offered = capacity(cluster)
    assert offered.by_node == {node.name: node.count * (node.slices or cluster.slices) for node in cluster.nodes}


@given(clusters())
def test_nodes_and_models_add_up_to_the_same_total(cluster: Settings) -> None:
    offered = capacity(cluster)
    assert offered.total == sum(offered.by_node.values()) == sum(offered.by_model.values())
    assert set(offered.by_model) == {node.gpu for node in cluster.nodes}


@pytest.mark.parametrize(("stack", "total"), [("demo", 8), ("homelab", 8), ("lab", 22)])
def test_a_shipped_stack_offers_what_its_file_announces(stack: str, total: int) -> None:
    assert capacity(read_stack(stack)).total == total


def test_two_nodes_of_one_model_are_counted_together() -> None:
    nodes = [{"name": f"gpu-{number}", "gpu": "t4", "count": number, "powerLimit": 70} for number in (1, 2)]
    assert capacity(settings(nodes=nodes, slices=3)).by_model == {"t4": 9}


@pytest.mark.parametrize(("renamed", "resource"), [(False, "nvidia.com/gpu"), (True, "nvidia.com/gpu.shared")])
def test_renamed_slices_have_a_resource_of_their_own(renamed: bool, resource: str) -> None:
    assert capacity(settings(renameByDefault=renamed)).resource == resource


@given(clusters(powerManagement=True))
def test_the_power_budget_is_the_sum_of_the_limits(cluster: Settings) -> None:
    budget = power_budget(cluster)
    assert budget.by_node == {node.name: node.count * cluster.limit_of(node) for node in cluster.nodes}
    assert budget.total == sum(node.count * cluster.limit_of(node) for node in cluster.nodes)


def test_without_power_management_the_cards_defaults_count() -> None:
    """Nobody sets a limit then, so whatever the stack file says about it is not what the cards may draw."""
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "powerLimit": 200},
        {"name": "gpu-2", "gpu": "l4", "count": 3},
    ]
    budget = power_budget(settings(powerManagement=False, nodes=nodes))
    assert (budget.by_node, budget.total) == ({"gpu-1": 700, "gpu-2": 216}, 916)


def test_without_power_management_an_unknown_model_makes_the_total_unknown() -> None:
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
        {"name": "gpu-2", "gpu": "a-model-of-tomorrow", "count": 1},
    ]
    budget = power_budget(settings(powerManagement=False, nodes=nodes))
    assert (budget.by_node, budget.total) == ({"gpu-1": 700, "gpu-2": None}, None)


def test_memory_per_slice_is_a_share_of_the_cards_memory() -> None:
    """In whole MiB, rounded down: no pod gets more than its share."""
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
        {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "slices": 5},
        {"name": "gpu-3", "gpu": "a-model-of-tomorrow", "count": 1},
    ]
    assert memory_per_slice(settings(slices=4, nodes=nodes)) == {"gpu-1": 6144, "gpu-2": 4912, "gpu-3": None}
