"""What the device plugin's pods read: a configuration, which says how often each GPU is offered, and a supervisor."""

import hashlib
from pathlib import Path
from typing import Any

from gpuctl.desired.daemon_set import unchanging
from gpuctl.desired.device_plugin import NAME
from gpuctl.desired.names import Manifest, yaml_text
from gpuctl.desired.profiles import DEFAULT, Profile
from gpuctl.desired.sharing import RESOURCE
from gpuctl.settings import Settings

CONFIG_KEY = "config.yaml"

SCRIPT = Path(__file__).with_name("supervisor.sh")
"""Runs the plugin, and starts it again."""

SUPERVISOR = "nvidia-device-plugin-supervisor"
"""Of the ConfigMap with the script, without its hash."""

CONFIG = "nvidia-device-plugin-config"
"""Of the ConfigMap, without profile and hash."""


def plugin_config(settings: Settings, profile: Profile) -> dict[str, Any]:
    """The configuration of one profile, in the plugin's format v1.

    The plugin silently ignores a misspelt key, and exits on `replicas: 1`: a whole GPU is no sharing at all.
    """
    config: dict[str, Any] = {"version": "v1"}
    if settings.allocation_policy:
        config["flags"] = {"plugin": {"sharedDevicesAllocationPolicy": settings.allocation_policy}}
    if profile.slices > 1:
        config["sharing"] = {
            "timeSlicing": {
                "renameByDefault": settings.rename_by_default,
                "failRequestsGreaterThanOne": settings.fail_requests_greater_than_one,
                "resources": [{"name": RESOURCE, "replicas": profile.slices}],
            }
        }
    return config


def config_map(settings: Settings, profile: Profile) -> Manifest:
    """The ConfigMap that the plugin of one profile reads when it starts, and never again."""
    data = {CONFIG_KEY: _text(settings, profile)}
    return unchanging(profile.named(CONFIG), settings.namespace, NAME, profile.name, data)


def config_hash(settings: Settings, profile: Profile) -> str:
    """Changes with the content of the ConfigMap: on the pod template it makes a new configuration roll out."""
    return hashlib.sha256(_text(settings, profile).encode()).hexdigest()


def supervisor(settings: Settings) -> Manifest:
    """The ConfigMap with the script that runs the plugin, of whatever profile."""
    return unchanging(SUPERVISOR, settings.namespace, NAME, DEFAULT, {SCRIPT.name: SCRIPT.read_text()})


def _text(settings: Settings, profile: Profile) -> str:
    return yaml_text(plugin_config(settings, profile))
