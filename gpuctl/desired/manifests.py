"""All Kubernetes objects of a cluster, in the order in which they must exist."""

from collections.abc import Iterator

from gpuctl.desired import device_plugin, monitoring, power_limit, time_slicing
from gpuctl.desired.names import Manifest
from gpuctl.desired.namespace import namespace
from gpuctl.desired.profiles import profiles
from gpuctl.desired.runtime_class import runtime_class
from gpuctl.settings import Settings


def manifests(settings: Settings) -> list[Manifest]:
    """Everything but the node labels, which are parts of objects that exist already."""
    return list(_manifests(settings))


def _manifests(settings: Settings) -> Iterator[Manifest]:
    yield namespace(settings)
    yield runtime_class()
    if settings.power_management:
        yield power_limit.config_map(settings)
        yield power_limit.daemon_set(settings)
    for profile in profiles(settings):
        yield time_slicing.config_map(settings, profile)
        yield device_plugin.daemon_set(settings, profile)
    if settings.monitoring:
        yield monitoring.prometheus_rule(settings)
        yield monitoring.dashboard(settings)
