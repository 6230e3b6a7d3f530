"""Whatever is in a stack file: settings, or mistakes with commands that repair it and do no harm."""

import copy
import random
from typing import Any, cast

import pytest
import yaml
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings

from gpuctl.settings import Settings, SettingsError
from gpuctl.settings.stack_file import parse_stack
from tests.fixtures import pulumi_config
from tests.fixtures.broken_stacks import configurations, mutated
from tests.fixtures.fuzzing import SECONDS, fuzz
from tests.fixtures.stack_files import STACK, VALID

MOST_ROUNDS = 8
LONGEST_MESSAGE = 200_000


def _read(text: str) -> Settings | SettingsError:
    try:
        return parse_stack(STACK, text, f"config/Pulumi.{STACK}.yaml")
    except SettingsError as error:
        return error


def test_a_mutated_stack_file_ends_in_settings_or_in_mistakes() -> None:
    def attempt(chance: random.Random) -> str:
        text = mutated(chance, chance.choice(VALID).read_text())
        outcome = _read(text)
        assert len(str(outcome)) < LONGEST_MESSAGE, text
        assert all(line.isprintable() for line in str(outcome).splitlines()), text
        return type(outcome).__name__

    assert set(fuzz("stack files", attempt)) == {"Settings", "SettingsError"}


class Surviving:
    """What the commands of a broken file must leave as it is: the keys that have no mistake."""

    def __init__(self, config: dict[str, Any], error: SettingsError) -> None:
        touched = " ".join(f"{mistake.key} {mistake.command}" for mistake in error.mistakes)
        self._keys = {key: copy.deepcopy(value) for key, value in config.items() if key not in touched}

    def check(self, config: dict[str, Any]) -> None:
        """What is neither blamed nor named by a command is as it was."""
        assert {key: config.get(key) for key in self._keys} == self._keys


@hypothesis_settings(
    deadline=None,
    max_examples=int(30 * max(1.0, SECONDS)),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(configurations())
@example({"gpu:context": "lab", "gpu:nodes": [{"name": {"secure": "v1:x"}, "gpu": "rtx-3090", "count": 2}]})
def test_the_commands_of_a_broken_file_repair_it_in_a_few_rounds_and_harm_nothing(config: dict[str, Any]) -> None:
    outcome: Settings | SettingsError | None = None
    for _ in range(MOST_ROUNDS):
        outcome = _read(yaml.safe_dump({"config": config}, allow_unicode=True, sort_keys=False))
        if isinstance(outcome, Settings):
            return
        if any(mistake.value == "stack file" for mistake in outcome.mistakes):
            return
        before = copy.deepcopy(config)
        surviving = Surviving(config, outcome)
        by_hand = False
        for mistake in outcome.mistakes:
            try:
                pulumi_config.run(mistake.command, config)
            except pulumi_config.ByHandError:
                by_hand = True
            except pulumi_config.PulumiError as error:
                pytest.fail(f"{error}\n{mistake}\n{before}")
        surviving.check(config)
        _check_names(before, config, outcome)
        _check_no_limit_is_lost(before, config)
        if by_hand and config == before:
            return
    pytest.fail(f"not repaired in {MOST_ROUNDS} rounds: {outcome}\n{config}")


def _check_names(before: dict[str, Any], after: dict[str, Any], error: SettingsError) -> None:
    """No node with a sound name of its own is removed."""
    was, blamed = before.get("gpu:nodes"), {mistake.key for mistake in error.mistakes}
    if not isinstance(was, list) or "gpu:nodes" in blamed:
        return
    kept = [cast(dict[str, Any], node).get("name") for node in after["gpu:nodes"] if isinstance(node, dict)]
    for index, node in enumerate(cast(list[Any], was)):
        if isinstance(node, dict) and f"gpu:nodes[{index}].name" not in blamed and "name" in node:
            assert node["name"] in kept, (node, error)


def _check_no_limit_is_lost(before: dict[str, Any], after: dict[str, Any]) -> None:
    """No check is switched off: a circuit that was declared is still declared, unless it was no number of watts."""
    watts = before.get("gpu:circuitWatts")
    if isinstance(watts, int) and not isinstance(watts, bool) and 0 < watts <= 100_000:
        assert after.get("gpu:circuitWatts") == watts
