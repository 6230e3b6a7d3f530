"""What is wrong with a stack file is said exactly, all at once, with commands that fix it."""

import copy
from pathlib import Path

import pytest

from gpuctl.settings import SettingsError, read_config
from tests.fixtures import pulumi_config
from tests.fixtures.stack_files import (
    INVALID,
    STACK,
    config_of,
    each_invalid,
    expected_mistakes,
    read_as_stack,
    settings,
)

MOST_ROUNDS = 3
"""A mistake can hide another: what the nodes say is compared with other keys only once the nodes are right."""


BY_HAND = {
    "a-circuit-that-no-limit-fits",
    "a-gpu-that-is-whole-and-shared",
    "a-gpu-that-two-nodes-have",
    "a-whole-gpu-by-half-a-uuid",
    "whole-gpus-by-uuid-without-the-shared-ones",
}
"""What no command can fix without inventing something or switching a check off."""

each_fixable = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in INVALID if path.stem not in BY_HAND]
)


@each_invalid
def test_every_mistake_is_reported_at_once_in_exactly_these_words(path: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        read_as_stack(path, tmp_path)
    assert [str(mistake) for mistake in error.value.mistakes] == expected_mistakes(path)


@pytest.mark.parametrize("stem", sorted(BY_HAND))
def test_what_no_command_can_fix_is_left_to_an_editor(stem: str) -> None:
    (path,) = (path for path in INVALID if path.stem == stem)
    commands = _mistakes(config_of(path))
    assert set(commands) == {"${EDITOR:-vi} config/Pulumi.fixture.yaml"}


@each_fixable
def test_the_commands_in_the_message_fix_the_stack(path: Path) -> None:
    """Run as a user would: all of them in their order, then again for what shows up only then."""
    config = copy.deepcopy(config_of(path))
    rounds = 0
    while (mistakes := _mistakes(config)) and rounds < MOST_ROUNDS:
        rounds += 1
        for mistake in mistakes:
            pulumi_config.run(mistake, config)
    assert (rounds > 0, mistakes) == (True, [])


def _mistakes(config: pulumi_config.Config) -> list[str]:
    try:
        read_config(STACK, config)
    except SettingsError as error:
        return [mistake.command for mistake in error.mistakes]
    return []


def test_the_message_names_the_stack_and_counts_the_mistakes() -> None:
    with pytest.raises(SettingsError) as one:
        settings(slices=0)
    with pytest.raises(SettingsError) as two:
        settings(slices=0, powerInterval=1)
    assert str(one.value).splitlines() == [
        "stack fixture: 1 mistake in its settings, so nothing is done",
        "  gpu:slices = 0: must be at least 1. Fix it: pulumi config set --stack fixture gpu:slices 1",
    ]
    assert str(two.value).splitlines()[0] == "stack fixture: 2 mistakes in its settings, so nothing is done"


def test_the_value_of_a_misspelt_secret_is_not_shown() -> None:
    """Pulumi hands secrets to the program decrypted; a message ends up in the log of a pull request."""
    with pytest.raises(SettingsError) as error:
        settings(talosClientConfigurations="context: homelab\nkey: s3cret\n")
    assert "did you mean talosClientConfiguration?" in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("createRuntimeClass", "no", "gpu:createRuntimeClass false"),
        ("createRuntimeClass", "Off", "gpu:createRuntimeClass false"),
        ("createRuntimeClass", 0, "gpu:createRuntimeClass false"),
        ("monitoring", "yes", "gpu:monitoring true"),
        ("driverChannel", "LTS", "gpu:driverChannel lts"),
        ("kernelModules", "Proprietary", "gpu:kernelModules proprietary"),
        ("talosVersion", 1.12, "gpu:talosVersion v1.12.11"),
        ("talosVersion", 1.10, "gpu:talosVersion v1.10.9"),
        ("talosContract", 1.10, "gpu:talosContract v1.10"),
        ("devicePluginVersion", 0.17, "gpu:devicePluginVersion v0.17.0"),
        ("devicePluginVersion", "v0.19", "gpu:devicePluginVersion v0.19.0"),
        ("devicePluginVersion", "v0.3", "gpu:devicePluginVersion v0.18.2"),
        ("schematic", "A" * 64, f"gpu:schematic {'a' * 64}"),
        ("otherGpuNodes", "gpu-8, gpu-9", "'gpu:otherGpuNodes[1]' gpu-9"),
        ("kernelArguments", "intel_iommu=on iommu=pt", "'gpu:kernelArguments[1]' iommu=pt"),
        ("kernelArguments", ["iommu=pt", "module_blacklist=nouveau,nvidia_uvm"], "'gpu:kernelArguments[1]'"),
    ],
)
def test_the_fix_is_what_was_plainly_meant_and_not_the_default(key: str, value: object, fix: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings(**{key: value})
    (mistake,) = map(str, error.value.mistakes)
    assert mistake.endswith(f" {fix}")


def test_another_driver_may_be_kept_from_loading() -> None:
    assert settings(kernelArguments=["module_blacklist=nouveau"]).kernel_arguments == ("module_blacklist=nouveau",)
