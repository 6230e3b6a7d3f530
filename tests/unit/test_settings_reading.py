"""Settings are read alike from a stack file and from what Pulumi hands to its program."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from inline_snapshot import snapshot
from pydantic import ValidationError

from gpuctl.settings import Settings, SettingsError, read_config, read_stack, stack_names
from tests.fixtures.stack_files import VALID, config_of, each_shipped, each_valid, read_as_stack, settings

NODE = {"name": "gpu-1", "gpu": "rtx-3090", "count": 2}


def _refusal(stack: str, folder: Path) -> str:
    with pytest.raises(SettingsError) as error:
        read_stack(stack, folder)
    return str(error.value).splitlines()[1].strip()


@each_valid
def test_a_valid_stack_file_is_read(path: Path, tmp_path: Path) -> None:
    assert read_as_stack(path, tmp_path).context == "admin@lab"


@each_shipped
def test_a_shipped_stack_is_right_and_raises_no_doubt(stack: str) -> None:
    assert read_stack(stack).warnings == []


def test_the_stacks_are_those_that_have_a_file() -> None:
    assert stack_names() == ["demo", "homelab", "lab"]


def test_the_least_stack_file_means_the_declared_defaults() -> None:
    least, spelt_out = (
        read_config("fixture", config_of(path))
        for path in VALID
        if path.stem in ("the-least-that-a-stack-file-says", "every-key-at-its-default")
    )
    assert least == spelt_out


def test_a_stack_that_is_nearly_another_is_told_which(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.homelab.yaml").touch()
    assert "does not exist (did you mean homelab?); there are: homelab." in _refusal("homlab", tmp_path)


def test_a_stack_without_a_file_is_told_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.lab.yaml").touch()
    assert _refusal("elsewhere", tmp_path) == snapshot(
        "config/Pulumi.elsewhere.yaml = stack file: does not exist; there are: lab. Fix it: pulumi stack init elsewhere"
    )


def test_a_stack_file_that_is_not_yaml_is_told_where(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.odd.yaml").write_text("config:\n  gpu:slices: [4\n")
    refusal = _refusal("odd", tmp_path)
    assert "config/Pulumi.odd.yaml = stack file: is not YAML: " in refusal
    assert refusal.endswith("Fix it: ${EDITOR:-vi} config/Pulumi.odd.yaml")
    assert "line 3, column 1" in _refusal("odd", tmp_path)


@pytest.mark.parametrize("text", ["- config\n", "config: [4]\n", "config\n"])
def test_a_stack_file_of_another_shape_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.odd.yaml").write_text(text)
    assert "is not a mapping with a mapping `config:` in it" in _refusal("odd", tmp_path)


@pytest.mark.parametrize("text", ["", "config:\n", "config: {}\n", "encryptionsalt: v1:abc\n"])
def test_a_stack_without_configuration_is_told_what_it_must_say(text: str, tmp_path: Path) -> None:
    """`pulumi stack init` leaves a file with nothing but the stack's own salt."""
    (tmp_path / "Pulumi.new.yaml").write_text(text)
    with pytest.raises(SettingsError) as error:
        read_stack("new", tmp_path)
    assert [mistake.key for mistake in error.value.mistakes] == ["gpu:context", "gpu:nodes"]


@each_valid
def test_what_pulumi_hands_to_the_program_means_the_same_as_the_file(path: Path) -> None:
    """It passes every value as a text, and lists and mappings as JSON."""
    config = config_of(path)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    assert read_config("fixture", texts) == read_config("fixture", config)


def test_a_mistake_within_a_json_text_is_found_at_its_place() -> None:
    with pytest.raises(SettingsError) as error:
        settings(nodes=json.dumps([NODE, NODE | {"name": "gpu-2", "count": 0}]))
    assert [mistake.key for mistake in error.value.mistakes] == ["gpu:nodes[1].count"]


@pytest.mark.parametrize("text", ["[{", "{]"])
def test_a_text_that_is_almost_json_is_a_text(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings(nodes=text)
    assert [str(mistake).split(". Fix")[0] for mistake in error.value.mistakes] == [
        f"gpu:nodes = {text}: must be a list of nodes"
    ]


def test_a_key_means_the_same_with_and_without_the_projects_name() -> None:
    short = {"context": "admin@lab", "nodes": [NODE], "slices": 8}
    assert read_config("fixture", short) == read_config("fixture", {f"gpu:{key}": part for key, part in short.items()})


def test_keys_of_other_projects_are_not_looked_at() -> None:
    assert settings(**{"kubernetes:slices": 0, "pulumi:tags": {}, "aws:gpu": 1}) == settings()


@pytest.mark.parametrize("key", ["kubeconfig", "devicePluginImage", "allocationPolicy"])
def test_an_empty_text_leaves_an_optional_key_unset(key: str) -> None:
    """Pulumi.yaml can declare no other default for it."""
    assert settings(**{key: ""}) == settings()


def test_a_model_that_is_not_in_the_catalogue_is_accepted_with_a_warning() -> None:
    near = settings(nodes=[NODE | {"gpu": "RTX 3090 TI SUPER"}]).warnings
    far = settings(nodes=[NODE, NODE | {"name": "gpu-2", "gpu": "matrox-millennium"}]).warnings
    assert near == snapshot(
        [
            "node gpu-1: GPU 'RTX 3090 TI SUPER' is not in the catalogue (did you mean rtx-3090-ti?); its driver "
            "and kernel modules, its power limit, the memory of its slices and whether the node has this model are "
            "not checked: only the GPU itself will say. Describe it in gpu:gpuModels to have them checked"
        ]
    )
    assert far == snapshot(
        [
            "node gpu-2: GPU 'matrox-millennium' is not in the catalogue; its driver and kernel modules, its power "
            "limit, the memory of its slices and whether the node has this model are not checked: only the GPU "
            "itself will say. Describe it in gpu:gpuModels to have them checked"
        ]
    )


def test_settings_cannot_be_changed_once_they_are_read() -> None:
    """What was checked is what is deployed."""
    read = settings()
    with pytest.raises(ValidationError):
        read.slices = 8  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError):
        read.nodes[0].count = 8  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(read.nodes, tuple)


def test_a_nodes_own_value_counts_before_the_stacks() -> None:
    read = settings(slices=4, powerLimit=300, nodes=[NODE, NODE | {"name": "gpu-2", "slices": 6, "powerLimit": 280}])
    assert [read.slices_of(node) for node in read.nodes] == [4, 6]
    assert _limits(read) == {"gpu-1": {"rtx-3090": 300}, "gpu-2": {"rtx-3090": 280}}


def _limits(read: Settings) -> Mapping[str, Mapping[str, int | None]]:
    """Node -> model -> watts."""
    return {node.name: {cards.gpu: read.limit_of(node, cards) for cards in node.cards} for node in read.nodes}


def test_a_limit_counts_the_more_the_fewer_cards_it_names() -> None:
    """All GPUs, one model, one node, one GPU: the GPU's own comes from the agent, which alone knows where it is."""
    mixed = {"name": "gpu-2", "gpus": {"rtx-3090": 1, "rtx-4090": 2}}
    nodes = [NODE, mixed, mixed | {"name": "gpu-3", "powerLimit": 260}]
    uuid = "GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd"
    read = settings(powerLimit=300, powerLimits={"rtx-4090": 320, uuid: 200}, nodes=nodes)
    assert _limits(read) == {
        "gpu-1": {"rtx-3090": 300},
        "gpu-2": {"rtx-3090": 300, "rtx-4090": 320},
        "gpu-3": {"rtx-3090": 260, "rtx-4090": 260},
    }
    assert read.limits_by_uuid == {uuid: 200}


def test_a_node_with_mixed_cards_says_how_many_there_are_of_each() -> None:
    (node,) = settings(nodes=[{"name": "gpu-1", "gpus": {"rtx-3090": 1, "matrox-millennium": 2}}]).nodes
    assert [(cards.gpu, cards.count, cards.model is None) for cards in node.cards] == [
        ("rtx-3090", 1, False),
        ("matrox-millennium", 2, True),
    ]
    assert node.count == 3


def test_a_node_whose_cards_are_alike_may_say_so_in_either_way() -> None:
    other = settings(nodes=[{"name": "gpu-1", "gpus": {"rtx-3090": 2}}])
    assert settings(nodes=[NODE]).nodes[0].cards == other.nodes[0].cards


def test_a_limit_for_one_gpu_may_be_any_where_a_model_is_unknown() -> None:
    """The UUID may be that of the GPU nobody knows."""
    nodes = [NODE, {"name": "gpu-2", "gpu": "matrox-millennium", "count": 1}]
    uuid = "GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd"
    assert settings(nodes=nodes, powerLimits={uuid: 30}).limits_by_uuid == {uuid: 30}


def test_the_image_is_the_published_one_unless_another_is_named() -> None:
    mirror = "mirror.lan/plugin:v0.17.4"
    assert settings(devicePluginVersion="v0.17.4").image == "nvcr.io/nvidia/k8s-device-plugin:v0.17.4"
    assert settings(devicePluginImage=mirror).image == mirror
