"""How many slices, watts and MiB a cluster must show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuctl.desired.capacity import capacity, memory_per_slice, power_budget
from gpuctl.desired.desired import desired_state
from gpuctl.desired.sharing import Mode
from gpuctl.settings import Settings, read_stack
from tests.fixtures.stack_files import settings
from tests.fixtures.strategies import clusters


@given(clusters())
def test_nodes_and_models_add_up_to_the_same_total(cluster: Settings) -> None:
    offered = capacity(cluster)
    assert offered.total == sum(offered.by_node.values()) == sum(offered.by_model.values())
    assert set(offered.by_model) == {cards.gpu for node in cluster.nodes for cards in node.cards}


@pytest.mark.parametrize(
    ("stack", "by_node", "by_model"),
    [
        ("demo", {"gpu-1": 8}, {"rtx-3090": 8}),
        ("homelab", {"gpu-1": 8}, {"rtx-3090": 8}),
        ("lab", {"gpu-1": 8, "gpu-2": 6, "gpu-3": 8}, {"rtx-3090": 8, "rtx-4090": 6, "l4": 8}),
    ],
)
def test_a_shipped_stack_offers_what_its_file_announces(
    stack: str, by_node: dict[str, int], by_model: dict[str, int]
) -> None:
    desired = desired_state(read_stack(stack))
    assert (desired.capacity.by_node, desired.capacity.by_model) == (by_node, by_model)
    assert {name: node.offers for name, node in desired.nodes.items()} == {
        name: {"nvidia.com/gpu": offered} for name, offered in by_node.items()
    }


@pytest.mark.parametrize(
    ("slices", "offered", "mode"), [(1, 2, Mode.WHOLE), (4, 8, Mode.TIME_SLICING), (6, 12, Mode.TIME_SLICING)]
)
def test_a_node_offers_each_gpu_as_often_as_it_has_slices(slices: int, offered: int, mode: Mode) -> None:
    node = desired_state(settings(slices=slices)).nodes["gpu-1"]
    (group,) = node.groups
    assert (group.mode, group.slices, group.resource, group.offered) == (mode, slices, "nvidia.com/gpu", offered)
    assert (node.gpus, node.slices, node.offered("nvidia.com/gpu"), node.offered("amd.com/gpu")) == (
        2,
        slices,
        offered,
        0,
    )


def test_two_nodes_of_one_model_are_counted_together() -> None:
    nodes = [{"name": f"gpu-{number}", "gpu": "t4", "count": number, "powerLimit": 70} for number in (1, 2)]
    assert capacity(settings(nodes=nodes, slices=3)).by_model == {"t4": 9}


@pytest.mark.parametrize(("renamed", "resource"), [(False, "nvidia.com/gpu"), (True, "nvidia.com/gpu.shared")])
def test_renamed_slices_have_a_resource_of_their_own(renamed: bool, resource: str) -> None:
    assert capacity(settings(renameByDefault=renamed)).resource == resource


MIXED = {"name": "gpu-1", "gpus": {"rtx-3090": 1, "rtx-4090": 2}}


def test_a_node_with_mixed_cards_counts_each_by_its_own_model() -> None:
    cluster = settings(slices=4, powerLimit=300, powerLimits={"rtx-4090": 320}, nodes=[MIXED])
    assert capacity(cluster).by_node == {"gpu-1": 12}
    assert capacity(cluster).by_model == {"rtx-3090": 4, "rtx-4090": 8}
    assert power_budget(cluster).by_node == {"gpu-1": 940}
    assert power_budget(settings(powerManagement=False, nodes=[MIXED])).total == 1250


def test_a_node_has_the_watts_of_its_gpus_together_and_each_different_limit_once() -> None:
    l4 = {"name": "gpu-2", "gpu": "l4", "count": 4, "powerLimit": 72}
    nodes = desired_state(settings(powerLimit=300, powerLimits={"rtx-4090": 320}, nodes=[MIXED, l4])).nodes
    assert {name: (node.watts, node.limits) for name, node in nodes.items()} == {
        "gpu-1": (940, (300, 320)),
        "gpu-2": (288, (72,)),
    }
    (unmanaged,) = desired_state(settings(powerManagement=False, nodes=[MIXED])).nodes.values()
    assert (unmanaged.watts, unmanaged.limits) == (1250, ())


def test_a_circuit_has_what_its_breaker_allows_and_what_its_nodes_use_at_most() -> None:
    desired = desired_state(settings(powerLimit=300, circuitWatts=2000, nodeBaseWatts=150, nodes=[MIXED]))
    assert desired.circuits == [{"nodes": ["gpu-1"], "usedWatts": 1050, "allowedWatts": 2000}]


def test_memory_per_slice_is_that_of_the_smallest_gpu_of_the_node() -> None:
    nodes = [MIXED, {"name": "gpu-2", "gpus": {"l4": 1, "a-model-of-tomorrow": 1}, "powerLimit": 72}]
    assert memory_per_slice(settings(slices=4, nodes=nodes)) == {"gpu-1": 6141, "gpu-2": None}


UUIDS = [f"GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64c{digit}" for digit in range(3)]


def test_a_higher_limit_of_a_single_gpu_counts_on_every_node_where_it_may_be_and_once_in_all() -> None:
    """Nobody knows here which node it is in. A budget that is too low would blow the fuse."""
    nodes = [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
        {"name": "gpu-2", "gpu": "rtx-3090", "count": 1, "powerLimit": 250},
        {"name": "gpu-3", "gpu": "l4", "count": 1, "powerLimit": 72},
    ]
    budget = power_budget(settings(powerLimit=300, powerLimits={UUIDS[0]: 350}, nodes=nodes))
    assert budget.by_node == {"gpu-1": 650, "gpu-2": 350, "gpu-3": 72}
    assert budget.total == 600 + 250 + 72 + 100


def test_a_lower_limit_of_a_single_gpu_lowers_no_budget() -> None:
    """It may be of a GPU that is not there any more."""
    nodes = [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2}]
    assert power_budget(settings(powerLimits={UUIDS[0]: 200, UUIDS[1]: 250}, nodes=nodes)).total == 600


@given(st.dictionaries(st.sampled_from(UUIDS), st.integers(150, 375)), st.permutations([300, 250, 320]))
def test_the_budget_is_never_less_than_what_the_cards_may_draw(by_uuid: dict[str, int], plain: list[int]) -> None:
    nodes = [{"name": f"gpu-{watts}", "gpu": "rtx-4090", "count": 1, "powerLimit": watts} for watts in plain]
    allowed = sum(by_uuid.get(uuid, watts) for uuid, watts in zip(UUIDS, plain, strict=True))
    total = power_budget(settings(powerLimits=by_uuid, nodes=nodes)).total
    assert total is not None
    assert total >= allowed


def test_without_power_management_the_cards_defaults_count() -> None:
    """Nobody sets a limit then, so whatever the stack file says about it is not what the GPUs may draw."""
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
