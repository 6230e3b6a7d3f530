"""The configuration is what the device plugin understands, and a change of it reaches the pods."""

import itertools
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gpuctl.desired.backends import groups
from gpuctl.desired.device_plugin.config import config_hash, config_map
from gpuctl.desired.device_plugin.daemon_set import daemon_set
from gpuctl.desired.names import CHECKSUM_ANNOTATION
from gpuctl.desired.profiles import Profile, profiles
from gpuctl.desired.sharing import SharedGpus
from gpuctl.settings import Settings
from tests.fixtures.plugin_config import PluginConfig
from tests.fixtures.stack_files import settings

_EVERY_WAY = [
    {"slices": slices, "failRequestsGreaterThanOne": fail, "renameByDefault": rename and slices > 1} | policy
    for slices, fail, rename, policy in itertools.product(
        (1, 2, 4, 64),
        (True, False),
        (True, False),
        ({}, *({"devicePluginVersion": "v0.20.0", "allocationPolicy": name} for name in ("distributed", "packed"))),
    )
]
every_way = pytest.mark.parametrize("keys", _EVERY_WAY, ids=lambda keys: ",".join(map(str, keys.values())))


def _only_profile(**keys: Any) -> tuple[Settings, Profile]:
    cluster = settings(**keys)
    (profile,) = profiles(cluster)
    return cluster, profile


def _only_group(cluster: Settings, profile: Profile) -> SharedGpus:
    (group,) = groups(cluster, profile.nodes[0])
    return group


def _text(**keys: Any) -> str:
    cluster, profile = _only_profile(**keys)
    return config_map(cluster, profile, _only_group(cluster, profile))["data"]["config.yaml"]


def _hash(**keys: Any) -> str:
    cluster, profile = _only_profile(**keys)
    return config_hash(cluster, _only_group(cluster, profile))


def _read(**keys: Any) -> PluginConfig:
    return PluginConfig.model_validate(yaml.safe_load(_text(**keys)))


@every_way
def test_the_plugin_knows_every_key_and_reads_what_the_settings_say(keys: dict[str, Any]) -> None:
    config = _read(**keys)
    assert config.flags.plugin.shared_devices_allocation_policy == keys.get("allocationPolicy")
    if keys["slices"] == 1:
        assert config.sharing is None
        return
    assert config.sharing is not None
    assert config.sharing.time_slicing is not None
    assert config.sharing.time_slicing.model_dump(by_alias=True) == {
        "renameByDefault": keys["renameByDefault"],
        "failRequestsGreaterThanOne": keys["failRequestsGreaterThanOne"],
        "resources": [{"name": "nvidia.com/gpu", "replicas": keys["slices"]}],
    }


def test_one_slice_leaves_the_sharing_block_out() -> None:
    """The plugin exits on `replicas: 1`: a whole GPU means no sharing at all."""
    assert yaml.safe_load(_text(slices=1)) == {"version": "v1"}


def test_a_policy_does_not_bring_the_sharing_block_back() -> None:
    assert list(yaml.safe_load(_text(slices=1, devicePluginVersion="v0.20.0", allocationPolicy="packed"))) == [
        "version",
        "flags",
    ]


@pytest.mark.parametrize(
    "config",
    [
        {"version": "v1", "renameByDefault": True},
        {"version": "v1", "sharing": {"timeslicing": {"resources": []}}},
        {"version": "v1", "sharing": {"timeSlicing": {"resources": [{"name": "nvidia.com/gpu", "replicas": 1}]}}},
        {"version": "v1", "flags": {"plugin": {"sharedDeviceAllocationPolicy": "packed"}}},
    ],
)
def test_the_closed_format_finds_what_the_plugin_would_ignore_or_die_of(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PluginConfig.model_validate(config)


def test_the_hash_changes_exactly_when_the_text_changes() -> None:
    """Too seldom, and a change never reaches the pods; too often, and every node's GPUs go away for nothing."""
    pairs = {(_text(**keys), _hash(**keys)) for keys in _EVERY_WAY}
    texts, hashes = {text for text, _ in pairs}, {digest for _, digest in pairs}
    assert len(texts) == len(hashes) == len(pairs) > 20


@pytest.mark.parametrize("change", [{"powerLimit": 250}, {"namespace": "gpus"}, {"labelNodes": False}])
def test_what_the_plugin_does_not_read_does_not_change_the_hash(change: dict[str, Any]) -> None:
    assert _hash(**change) == _hash()


@every_way
def test_the_plugins_pods_carry_the_hash_and_read_the_file(keys: dict[str, Any]) -> None:
    """A running plugin never looks at its file again, so its pods must be replaced."""
    cluster, profile = _only_profile(**keys)
    group = _only_group(cluster, profile)
    template = daemon_set(cluster, profile, group)["spec"]["template"]
    mounted = {volume["name"]: volume.get("configMap") for volume in template["spec"]["volumes"]}
    assert template["metadata"]["annotations"] == {CHECKSUM_ANNOTATION: config_hash(cluster, group)}
    assert mounted["config"] == {"name": config_map(cluster, profile, group)["metadata"]["name"]}
    assert {"name": "CONFIG_FILE", "value": "/config/config.yaml"} in template["spec"]["containers"][0]["env"]
