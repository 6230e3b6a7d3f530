"""GPUs offered by NVIDIA's DRA driver: as devices of a ResourceSlice, each with as many shares as it has slices.

Pods ask for them as they always did: the DeviceClass says that `nvidia.com/gpu` is one share of such a device, and the
scheduler writes the claim. The driver has one number of shares for all GPUs of a node.
"""

from collections.abc import Sequence

from gpuctl.desired.part import Part, by_name
from gpuctl.desired.profiles import Profile
from gpuctl.desired.sharing import RESOURCE, Mode, SharedGpus
from gpuctl.settings import GpuNode, Settings

NAME = "nvidia-dra-driver"
"""Of its DaemonSet in the default profile, of its container, and of what it may do in the API."""
DRIVER = "gpu.nvidia.com"
"""By which the driver's slices, and claims for its devices, name it."""


def groups(settings: Settings, node: GpuNode) -> tuple[SharedGpus, ...]:
    """All GPUs of a node, which it shares in one way."""
    if settings.backend_of(node) != "dra":
        return ()
    slices = settings.slices_of(node)
    return (SharedGpus(node.cards, Mode.TIME_SLICING if slices > 1 else Mode.WHOLE, slices, RESOURCE, NAME),)


def parts(settings: Settings, profiles: Sequence[Profile]) -> Sequence[Part]:
    """What the driver may do and how its devices are asked for, once; then a DaemonSet for each profile."""
    from gpuctl.desired.dra.access import access, device_class
    from gpuctl.desired.dra.daemon_set import daemon_set

    served = [profile for profile in profiles if profile.sharing.backend == "dra"]
    if not served:
        return []
    return [
        Part("dra-access", "gpu:index:DraAccess", access(settings.namespace), after=("namespace",)),
        Part("device-class", "gpu:index:DeviceClass", by_name(device_class())),
        Part(
            "dra-driver",
            "gpu:index:DraDriver",
            by_name(*(daemon_set(settings, profile) for profile in served)),
            after=("dra-access", "device-class"),
            outputs={"image": settings.driver_image},
            by_profile=True,
        ),
    ]
