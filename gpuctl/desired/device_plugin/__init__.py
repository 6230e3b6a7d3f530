"""GPUs offered by NVIDIA's device plugin: whole, or each as often as it has slices, or some so and some so.

The plugin has one way of sharing for all GPUs that it sees, and the kubelet knows one plugin per resource. So a node
with whole GPUs beside shared ones has two, each of which sees its own GPUs only and offers them by another name.
"""

from collections.abc import Sequence
from dataclasses import replace

from gpuctl.desired.names import Manifest
from gpuctl.desired.part import Part, by_name
from gpuctl.desired.profiles import Profile
from gpuctl.desired.sharing import RENAMED_RESOURCE, RESOURCE, Mode, SharedGpus
from gpuctl.settings import GpuNode, Settings

NAME = "nvidia-device-plugin"
"""Of its DaemonSet in the default profile, and of its container."""
WHOLE = "nvidia-whole-gpu-plugin"
"""The same of the one that offers whole GPUs beside shared ones; no profile makes this name of the other."""
MPS = "nvidia-mps-control-daemon"
"""The same of the daemon that gives slices their limits."""


def groups(settings: Settings, node: GpuNode) -> tuple[SharedGpus, ...]:
    """All GPUs of a node, which it shares in one way; or whole ones, and shared ones under a name of their own."""
    slices, whole, shared, backend, _, mps = settings.sharing_of(node)
    if backend != "device-plugin":
        return ()
    mode = Mode.MPS if mps else Mode.TIME_SLICING if slices > 1 else Mode.WHOLE
    if not whole:
        resource = RENAMED_RESOURCE if settings.rename_by_default else RESOURCE
        return (SharedGpus(node.cards, mode, slices, resource, NAME, mps=mps),)
    (cards,) = node.cards
    return (
        SharedGpus((replace(cards, count=len(whole)),), Mode.WHOLE, 1, RESOURCE, WHOLE, whole),
        SharedGpus((replace(cards, count=len(shared)),), mode, slices, RENAMED_RESOURCE, NAME, shared, mps),
    )


def parts(settings: Settings, profiles: Sequence[Profile]) -> Sequence[Part]:
    """A supervisor for all; for each profile a configuration and a DaemonSet, which rolls when either changes.

    The MPS daemon comes before the plugin, which offers nothing while none serves.
    Those of whole GPUs come last: where all GPUs were shared, the plugin that has served them all must have left the
    resource that is theirs from then on.
    """
    from gpuctl.desired.device_plugin.config import SUPERVISOR, config_hash, config_map, config_name, supervisor
    from gpuctl.desired.device_plugin.daemon_set import daemon_set
    from gpuctl.desired.device_plugin.mps import SCRIPTS, scripts
    from gpuctl.desired.device_plugin.mps import daemon_set as mps_daemon_set

    served = [(profile, group) for profile in profiles for group in groups(settings, profile.nodes[0])]
    if not served:
        return []
    shared, whole = ([each for each in served if each[1].component == name] for name in (NAME, WHOLE))
    objects: dict[str, Manifest] = {}
    daemons = [mps_daemon_set(settings, profile, group) for profile, group in shared if group.mode is Mode.MPS]
    for profile, group in whole:
        objects[config_name(profile, group)] = config_map(settings, profile, group)
        objects |= by_name(daemon_set(settings, profile, group))
    return [
        Part("device-plugin-supervisor", "gpu:index:Supervisor", {SUPERVISOR: supervisor(settings)}),
        Part(
            "time-slicing",
            "gpu:index:TimeSlicing",
            {config_name(profile, group): config_map(settings, profile, group) for profile, group in shared},
            outputs={"hashes": {profile.name: config_hash(settings, group) for profile, group in shared}},
            by_profile=True,
        ),
        *([Part("mps", "gpu:index:Mps", {SCRIPTS: scripts(settings)} | by_name(*daemons))] if daemons else []),
        Part(
            "device-plugin",
            "gpu:index:DevicePlugin",
            by_name(*(daemon_set(settings, profile, group) for profile, group in shared)),
            after=("device-plugin-supervisor", "time-slicing", "mps"),
            outputs={"image": settings.image},
            by_profile=True,
        ),
        *([Part("whole-gpus", "gpu:index:WholeGpus", objects, after=("device-plugin",))] if whole else []),
    ]
