"""Limits can be off for a node, a model or one GPU while all others keep theirs."""

from typing import Any

import pytest

from gpuctl.desired.daemon_set import grounds
from gpuctl.desired.desired import desired_state
from gpuctl.desired.limits import Limit, limits
from gpuctl.desired.power_limit import daemon_set
from gpuctl.settings import Settings, SettingsError, read_config
from tests.fixtures.stack_files import settings

UUID = "GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd"
BIG = {"name": "gpu-1", "gpu": "rtx-3090", "count": 2}
SPARK = {"name": "spark-1", "gpu": "gb10", "count": 1}
MIXED = {"name": "gpu-2", "gpus": {"rtx-3090": 1, "rtx-4090": 1}}


def _lines(cluster: Settings) -> str:
    (ground,) = grounds(desired_state(cluster).profiles)
    (container,) = daemon_set(cluster, ground)["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value") for each in container["env"]}.get("POWER_LIMITS", "")


def test_a_model_that_takes_no_limit_needs_no_key() -> None:
    cluster = settings(nodes=[BIG, SPARK])
    assert _lines(cluster) == "spark-1 none"
    assert cluster.warnings == ["node spark-1: GPU 'gb10' is not known to take a power limit; it is left alone"]


def test_a_model_that_takes_no_limit_can_be_given_one() -> None:
    """Then what its firmware enforces is compared with it."""
    assert _lines(settings(nodes=[BIG, SPARK], powerLimits={"gb10": 140})) == "spark-1 140"


def test_a_node_can_be_left_alone() -> None:
    nodes = [BIG, {**BIG, "name": "gpu-3", "powerManagement": False}]
    assert _lines(settings(nodes=nodes)) == "gpu-3 none"


def test_a_model_can_be_left_alone_beside_another_in_its_node() -> None:
    cluster = settings(nodes=[MIXED], powerLimits={"rtx-4090": "none"})
    assert list(limits(cluster)) == [
        Limit(300, node="gpu-2"),
        Limit(300, node="gpu-2", model="NVIDIA GeForce RTX 3090"),
        Limit(None, node="gpu-2", model="NVIDIA GeForce RTX 4090"),
    ]
    assert _lines(cluster) == "gpu-2 300 NVIDIA GeForce RTX 3090\ngpu-2 none NVIDIA GeForce RTX 4090"
    assert desired_state(cluster).nodes["gpu-2"].limits == (300,)


def test_one_gpu_can_be_left_alone() -> None:
    assert _lines(settings(nodes=[BIG], powerLimits={UUID: "none"})) == f"{UUID} none"


@pytest.mark.parametrize(
    ("keys", "watts"),
    [
        ({"nodes": [{**BIG, "powerManagement": False}]}, 700),
        ({"nodes": [MIXED], "powerLimits": {"rtx-4090": "none"}}, 750),
        ({"nodes": [BIG], "powerLimits": {UUID: "none"}}, 650),
        ({"nodes": [BIG, SPARK]}, None),
    ],
    ids=["a node", "a model", "one GPU", "a GPU whose default is not known"],
)
def test_a_circuit_counts_what_is_left_alone_at_its_default(keys: dict[str, Any], watts: int | None) -> None:
    cluster = settings(**keys, circuitWatts=5000)
    assert cluster.circuits[0].gpu_watts == watts
    assert any("is not checked" in warning for warning in cluster.warnings) == (watts is None)


def test_only_what_is_held_is_lowered_to_fit_a_circuit() -> None:
    nodes = [BIG, {"name": "gpu-3", "gpu": "rtx-4090", "count": 1, "powerManagement": False}]
    stack = {"gpu:context": "admin@lab", "gpu:nodes": nodes, "gpu:circuitWatts": 1250}
    with pytest.raises(SettingsError, match=r"450 W .* = 1350 W > 1250 W.*gpu:powerLimit 250"):
        read_config("lab", stack)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"gpu:powerLimits": {"rtx-3090": None}}, "must be a whole number, or none where no limit is to be held"),
        ({"gpu:powerLimits": {"rtx-4090": "none"}}, "names rtx-4090, a model that no node has"),
        (
            {"gpu:nodes": [{**BIG, "powerManagement": False, "powerLimit": 200}]},
            "stands beside powerManagement: false, which leaves the node's GPUs alone",
        ),
    ],
)
def test_a_slip_is_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_config("lab", {"gpu:context": "admin@lab", "gpu:nodes": [BIG]} | keys)
