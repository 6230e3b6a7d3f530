"""GPUs offered by NVIDIA's device plugin: whole, or each as often as it has time slices."""

from collections.abc import Sequence

from gpuctl.desired.part import Part, by_name
from gpuctl.desired.profiles import Profile
from gpuctl.desired.sharing import Mode, SharedGpus, resource_name
from gpuctl.settings import GpuNode, Settings

NAME = "nvidia-device-plugin"
"""Of its DaemonSet in the default profile, and of its container."""


def groups(settings: Settings, node: GpuNode) -> tuple[SharedGpus, ...]:
    """All GPUs of a node, which it shares in one way."""
    slices = settings.slices_of(node)
    mode = Mode.TIME_SLICING if slices > 1 else Mode.WHOLE
    return (SharedGpus(node.cards, mode, slices, resource_name(settings)),)


def parts(settings: Settings, profiles: Sequence[Profile]) -> Sequence[Part]:
    """A supervisor for all; for each profile a configuration and a DaemonSet, which rolls when either changes."""
    from gpuctl.desired.device_plugin.config import CONFIG, SUPERVISOR, config_hash, config_map, supervisor
    from gpuctl.desired.device_plugin.daemon_set import daemon_set

    return [
        Part("device-plugin-supervisor", "gpu:index:Supervisor", {SUPERVISOR: supervisor(settings)}),
        Part(
            "time-slicing",
            "gpu:index:TimeSlicing",
            {profile.named(CONFIG): config_map(settings, profile) for profile in profiles},
            outputs={"hashes": {profile.name: config_hash(settings, profile) for profile in profiles}},
            by_profile=True,
        ),
        Part(
            "device-plugin",
            "gpu:index:DevicePlugin",
            by_name(*(daemon_set(settings, profile) for profile in profiles)),
            after=("device-plugin-supervisor", "time-slicing"),
            outputs={"image": settings.image},
            by_profile=True,
        ),
    ]
