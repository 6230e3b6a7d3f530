"""What hangs on a breaker never draws more than it allows, whatever the GPUs do."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpuctl.desired.capacity import circuit_budgets
from gpuctl.settings import Settings, SettingsError, read_config
from gpuctl.settings.circuits import watts_of
from tests.fixtures import pulumi_config
from tests.fixtures.stack_files import STACK, settings
from tests.fixtures.strategies import clusters

NODES: list[dict[str, Any]] = [
    {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
    {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "circuitWatts": 500, "baseWatts": 100},
    {"name": "gpu-3", "gpu": "rtx-3090", "count": 1, "baseWatts": 80},
]


def _on_a_circuit(cluster: Settings, watts: int) -> Settings:
    return read_config(STACK, cluster.model_dump(mode="json", by_alias=True) | {"circuitWatts": watts})


def test_nodes_share_the_circuit_of_the_stack_unless_they_have_their_own() -> None:
    assert circuit_budgets(settings(nodes=NODES, circuitWatts=1500)) == [
        {"nodes": ["gpu-1", "gpu-3"], "usedWatts": 1130, "allowedWatts": 1500},
        {"nodes": ["gpu-2"], "usedWatts": 400, "allowedWatts": 500},
    ]


def test_a_circuit_that_is_not_told_is_none() -> None:
    assert circuit_budgets(settings()) == []
    assert circuit_budgets(settings(nodes=[NODES[0] | {"circuitWatts": 0}], circuitWatts=100)) == []


def test_a_circuit_of_the_stack_without_nodes_is_none() -> None:
    assert [each["nodes"] for each in circuit_budgets(settings(nodes=[NODES[1]], circuitWatts=100))] == [["gpu-2"]]


def test_a_circuit_whose_cards_nobody_knows_is_shown_as_unknown_and_warned_of() -> None:
    nodes = [{"name": "gpu-1", "gpu": "a-model-of-tomorrow", "count": 1}]
    cluster = settings(nodes=nodes, powerManagement=False, circuitWatts=700)
    assert circuit_budgets(cluster)[0]["usedWatts"] is None
    assert any(warning.startswith("the circuit of gpu-1 is not checked") for warning in cluster.warnings)


def test_a_circuit_that_is_checked_is_not_warned_of() -> None:
    assert not [warning for warning in settings(circuitWatts=750).warnings if "circuit" in warning]


@given(clusters(powerManagement=True))
def test_a_circuit_takes_its_last_watt_and_not_one_more(cluster: Settings) -> None:
    watts = [(cards.count, watts_of(cluster, node, cards)) for node in cluster.nodes for cards in node.cards]
    assume(all(each is not None for _, each in watts))  # else the circuit is not checked
    used = len(cluster.nodes) * cluster.node_base_watts + sum(count * (each or 0) for count, each in watts)
    assert circuit_budgets(_on_a_circuit(cluster, used))[0]["usedWatts"] == used
    with pytest.raises(SettingsError, match=f"= {used} W > {used - 1} W"):
        _on_a_circuit(cluster, used - 1)


@given(gpus=st.integers(1, 16), watts=st.integers(100, 400), missing=st.integers(1, 2000))
def test_the_limit_that_is_proposed_is_the_highest_that_fits(gpus: int, watts: int, missing: int) -> None:
    """All commands of the message are run; no limit that is one watt higher would have done."""
    node = {"name": "gpu-1", "gpu": "rtx-3090", "count": gpus}
    allowed = 150 + gpus * watts - missing
    config: dict[str, Any] = {
        "gpu:context": "lab",
        "gpu:powerLimit": watts,
        "gpu:circuitWatts": allowed,
        "gpu:nodes": [node],
    }
    if allowed < 150 + gpus * 100:  # the least that such a GPU takes
        return
    with pytest.raises(SettingsError) as error:
        read_config(STACK, config)
    for mistake in error.value.mistakes:
        pulumi_config.run(mistake.command, config)
    proposed = read_config(STACK, config).power_limit
    assert 150 + gpus * proposed <= allowed < 150 + gpus * (proposed + 1)


def test_a_limit_by_uuid_counts_as_if_the_card_were_on_every_circuit() -> None:
    limits = {"GPU-aaaaaaaa-0000-0000-0000-000000000001": 350}
    cluster = settings(nodes=NODES, powerLimits=limits, circuitWatts=1500)
    assert [each["usedWatts"] for each in circuit_budgets(cluster)] == [1180, 450]


def test_a_mistake_elsewhere_does_not_hide_behind_the_circuit() -> None:
    """Of watts that are wrong themselves there is no sum."""
    with pytest.raises(SettingsError) as error:
        settings(circuitWatts=700, powerLimit="much")
    assert [mistake.key for mistake in error.value.mistakes] == ["gpu:powerLimit"]
