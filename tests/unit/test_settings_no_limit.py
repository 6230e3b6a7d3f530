"""A limit of 0 means none: the fix says so, and invents no watts."""

from typing import Any

import pytest

from gpuctl.settings import SettingsError
from tests.fixtures.stack_files import settings

NODE = {"name": "gpu-1", "gpu": "l4", "count": 1}
SET = "pulumi config set --stack fixture"
RM = "pulumi config rm --stack fixture"


@pytest.mark.parametrize("value", [0, "0", False, "false", "none"])
def test_a_node_whose_limit_is_none_leaves_its_gpus_alone(value: object) -> None:
    assert _commands(nodes=[NODE | {"powerLimit": value}], powerLimit=70) == [
        f"{SET} --path 'gpu:nodes[0].powerManagement' false && {RM} --path 'gpu:nodes[0].powerLimit'"
    ]


@pytest.mark.parametrize("value", [0, False])
def test_a_model_whose_limit_is_none_is_left_alone(value: object) -> None:
    assert _commands(nodes=[NODE], powerLimits={"l4": value}) == [f"{SET} --path gpu:powerLimits.l4 none"]


@pytest.mark.parametrize("value", [0, "0", False, "none"])
def test_limits_of_models_that_are_no_mapping_are_taken_out(value: object) -> None:
    assert _commands(nodes=[NODE], powerLimits=value) == [f"{RM} gpu:powerLimits"]


@pytest.mark.parametrize("value", [0, False, "none"])
def test_a_stack_whose_limit_is_none_manages_none(value: object) -> None:
    assert _commands(nodes=[NODE], powerLimit=value)[-1] == (f"{SET} gpu:powerManagement false && {RM} gpu:powerLimit")


def test_a_number_below_the_least_is_no_way_to_say_none() -> None:
    assert _commands(nodes=[NODE | {"powerLimit": -1}], powerLimit=70)[0].endswith("'gpu:nodes[0].powerLimit' 1")


def _commands(**keys: Any) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        settings(**keys)
    return [mistake.command for mistake in refused.value.mistakes]
