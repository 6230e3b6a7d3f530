"""What the device plugin's pods read: a configuration, which says how often each GPU is offered, and a supervisor."""

import hashlib
from pathlib import Path
from typing import Any

from gpuctl.desired.daemon_set import unchanging
from gpuctl.desired.device_plugin import NAME
from gpuctl.desired.device_plugin.mps import ROOT as MPS_ROOT
from gpuctl.desired.names import Manifest, yaml_text
from gpuctl.desired.profiles import DEFAULT, Profile
from gpuctl.desired.sharing import RENAMED_RESOURCE, RESOURCE, Mode, SharedGpus
from gpuctl.settings import Settings

CONFIG_KEY = "config.yaml"

SCRIPT = Path(__file__).with_name("supervisor.sh")
"""Runs the plugin, and starts it again."""

SUPERVISOR = "nvidia-device-plugin-supervisor"
"""Of the ConfigMap with the script, without its hash."""


def plugin_config(settings: Settings, group: SharedGpus) -> dict[str, Any]:
    """The configuration by which a plugin offers GPUs, in the plugin's format v1.

    The plugin silently ignores a misspelt key, and exits on `replicas: 1`: a whole GPU is no sharing at all.
    """
    config: dict[str, Any] = {"version": "v1"}
    if settings.allocation_policy:
        config["flags"] = {"plugin": {"sharedDevicesAllocationPolicy": settings.allocation_policy}}
    if group.mode is Mode.MPS:
        config.setdefault("flags", {})["mpsRoot"] = MPS_ROOT
    if group.mode is not Mode.WHOLE:
        config["sharing"] = {
            "mps" if group.mode is Mode.MPS else "timeSlicing": {
                "renameByDefault": group.resource == RENAMED_RESOURCE,
                "failRequestsGreaterThanOne": settings.fail_requests_greater_than_one,
                "resources": [{"name": RESOURCE, "replicas": group.slices}],
            }
        }
    return config


def config_name(profile: Profile, group: SharedGpus) -> str:
    """The name of that ConfigMap, without its hash."""
    return profile.named(f"{group.component}-config")


def config_map(settings: Settings, profile: Profile, group: SharedGpus) -> Manifest:
    """The ConfigMap that the plugin of one profile's GPUs reads when it starts, and never again."""
    data = {CONFIG_KEY: _text(settings, group)}
    return unchanging(config_name(profile, group), settings.namespace, group.component, profile.name, data)


def config_hash(settings: Settings, group: SharedGpus) -> str:
    """Changes with the content of the ConfigMap: on the pod template it makes a new configuration roll out."""
    return hashlib.sha256(_text(settings, group).encode()).hexdigest()


def supervisor(settings: Settings) -> Manifest:
    """The ConfigMap with the script that runs the plugin, of whatever profile."""
    return unchanging(SUPERVISOR, settings.namespace, NAME, DEFAULT, {SCRIPT.name: SCRIPT.read_text()})


def _text(settings: Settings, group: SharedGpus) -> str:
    return yaml_text(plugin_config(settings, group))
