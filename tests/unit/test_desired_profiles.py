"""Nodes that share their GPUs alike are one profile, under a name that stays."""

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpuctl.desired.profiles import DEFAULT, Profile, profiles
from gpuctl.settings import GpuNode, Settings, SettingsError
from tests.fixtures.stack_files import settings
from tests.fixtures.strategies import clusters

LABEL_VALUE = r"[a-z0-9]([-a-z0-9_.]*[a-z0-9])?"
LONGEST_BASE = "nvidia-device-plugin-config"


def _node(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "gpu": "rtx-3090", "count": 1} | keys


def _names(cluster: Settings) -> dict[str, str]:
    """Node -> its profile."""
    return {node.name: profile.name for profile in profiles(cluster) for node in profile.nodes}


@given(clusters())
def test_every_node_is_in_exactly_one_profile(cluster: Settings) -> None:
    members = [node for profile in profiles(cluster) for node in profile.nodes]
    assert sorted(members, key=_name_of) == sorted(cluster.nodes, key=_name_of)


def _name_of(node: GpuNode) -> str:
    return node.name


@given(clusters())
def test_a_profiles_values_are_those_of_all_its_nodes(cluster: Settings) -> None:
    for profile in profiles(cluster):
        assert {cluster.slices_of(node) for node in profile.nodes} == {profile.slices}


@given(clusters())
def test_no_two_profiles_have_the_same_values_or_the_same_name(cluster: Settings) -> None:
    found = profiles(cluster)
    assert len({profile.slices for profile in found}) == len(found)
    assert len({profile.name for profile in found}) == len(found)


@given(clusters())
def test_a_profiles_name_fits_a_label_and_the_names_of_its_objects(cluster: Settings) -> None:
    """A label value has at most 63 characters, and so has the name of a pod's host."""
    for profile in profiles(cluster):
        assert re.fullmatch(LABEL_VALUE, profile.name)
        assert len(profile.named(LONGEST_BASE)) <= 63


def test_a_name_of_the_stack_file_survives_the_first_node_of_its_profile() -> None:
    first, others = _node("gpu-2", slices=6), [_node("gpu-4", slices=6, profile="gpu-2"), _node("gpu-5", slices=6)]
    usual = _node("gpu-1")
    same = {"gpu-1": "default", "gpu-4": "gpu-2", "gpu-5": "gpu-2"}
    assert _names(settings(nodes=[usual, first, *others])) == same | {"gpu-2": "gpu-2"}
    assert _names(settings(nodes=[usual, *others])) == same
    assert _names(settings(nodes=others)) == {"gpu-4": "gpu-2", "gpu-5": "gpu-2"}


def test_a_name_that_the_stack_file_gives_away_is_no_other_profiles() -> None:
    """The node that gave a profile its name comes back with other slices."""
    names = _names(
        settings(nodes=[_node("gpu-1"), _node("gpu-4", slices=6, profile="gpu-2"), _node("gpu-2", slices=2)])
    )
    assert names["gpu-4"] == "gpu-2"
    assert re.fullmatch("gpu-2-[0-9a-f]{8}", names["gpu-2"])


@pytest.mark.parametrize(
    ("nodes", "mistake"),
    [
        (
            [_node("a", slices=6, profile="x"), _node("b", slices=6, profile="y")],
            "gpu:nodes[1].profile = y: is one profile with the nodes that have 6 slices too, and these are called x",
        ),
        (
            [_node("a", slices=6, profile="x"), _node("b", profile="x")],
            "gpu:nodes[1].profile = x: is the profile of nodes with 6 slices, and b has 4",
        ),
        ([_node("a", profile="default")], "gpu:nodes[0].profile = default: is not the name of a profile"),
        ([_node("a", profile="a" * 36)], "is not the name of a profile"),
    ],
)
def test_a_profile_has_one_name_and_a_name_one_profile(nodes: list[dict[str, Any]], mistake: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(nodes=nodes)
    assert mistake in str(refused.value)


@given(clusters())
def test_the_profile_default_is_the_one_with_the_stacks_values(cluster: Settings) -> None:
    found = profiles(cluster)
    usual = [profile for profile in found if profile.name == DEFAULT]
    if len(found) == 1:
        assert found == tuple(usual)
    else:
        assert all(each.slices == cluster.slices for each in usual)


@given(clusters(min_nodes=2), st.data())
def test_the_names_stay_when_one_profile_gets_other_values(cluster: Settings, data: st.DataObject) -> None:
    """Otherwise a change of one node's slices would replace the DaemonSets of others."""
    before = profiles(cluster)
    assume(len(before) > 1)
    changed = data.draw(st.sampled_from([profile for profile in before if profile.name != DEFAULT]))
    taken = {profile.slices for profile in before} | {cluster.slices}
    fresh = data.draw(st.integers(1, 64).filter(lambda slices: slices not in taken))
    assert _names(_with_slices(cluster, changed, fresh)) == _names(cluster)


def _with_slices(cluster: Settings, profile: Profile, slices: int) -> Settings:
    nodes = [node.model_copy(update={"slices": slices}) if node in profile.nodes else node for node in cluster.nodes]
    return cluster.model_copy(update={"nodes": tuple(nodes)})


def test_names_are_plain_where_there_is_one_profile() -> None:
    """Also when its nodes override something: they all do it alike."""
    (only,) = profiles(settings(nodes=[_node("gpu-1", slices=6), _node("gpu-2", slices=6)]))
    assert (only.name, only.named("nvidia-device-plugin")) == (DEFAULT, "nvidia-device-plugin")


def test_a_profile_is_named_after_its_first_node() -> None:
    nodes = [_node("gpu-1"), _node("gpu-2", slices=6), _node("gpu-3", slices=6)]
    assert _names(settings(nodes=nodes)) == {"gpu-1": DEFAULT, "gpu-2": "gpu-2", "gpu-3": "gpu-2"}


def test_a_power_limit_of_its_own_gives_a_node_no_profile_of_its_own() -> None:
    """Else its device plugin would restart for a matter of watts, and its agent would go and come again."""
    assert _names(settings(nodes=[_node("gpu-1"), _node("gpu-2", powerLimit=250)])) == {
        "gpu-1": DEFAULT,
        "gpu-2": DEFAULT,
    }


def test_a_node_called_default_does_not_lend_its_profile_that_name() -> None:
    nodes = [_node("default", slices=6), _node("gpu-1")]
    assert _names(settings(nodes=nodes)) == {"default": "default-37a8eec1", "gpu-1": DEFAULT}


def test_long_node_names_that_begin_alike_give_different_profiles() -> None:
    first, second = (f"a-very-long-name-of-a-machine-in-the-lab-{number}" for number in (1, 2))
    nodes = [_node("gpu-1"), _node(first, slices=5), _node(second, slices=6)]
    names = _names(settings(nodes=nodes))
    assert names[first] != names[second]
    assert {len(names[first]), len(names[second])} == {35}
