"""What else sets up GPUs, by the images of pods: another name of the pod does not hide it."""

import re
from collections.abc import Mapping

from gpuctl.cluster import Pod

PLUGINS = {
    r"/k8s-device-plugin\b": "another NVIDIA device plugin",
    r"\bnvidia-gpu-device-plugin\b": "Google's device plugin",
    r"\bhami\b|vgpu-device-plugin": "the device plugin of HAMi",
    r"dra-driver-gpu|dra-driver-nvidia-gpu": "NVIDIA's DRA driver",
}
"""Image -> what it is. Each registers GPUs with the kubelet, or cannot stand beside what does."""
SETUPS = {
    r"/gpu-operator\b": "NVIDIA's GPU Operator",
    r"/gpu-feature-discovery\b": "GPU Feature Discovery",
    r"/container-toolkit\b": "the GPU Operator's container toolkit",
    r"/k8s-mig-manager\b": "NVIDIA's MIG manager",
    r"nvidia/driver\b": "the GPU Operator's driver",
}
DRIVERS = ("the GPU Operator's container toolkit", "the GPU Operator's driver")
"""Those without which no GPU pod of their node runs."""
_POWER_WRITERS = re.compile(r"power-?limit|gpu-power-(agent|manager)|nvidia[-_]oc\b")
_DYNAMO = "dynamo.nvidia.com/gpu-power-limit"
"""The annotation by which the power agent of NVIDIA Dynamo is given a limit."""
_OTHER_DUTIES = {"gpu-feature-discovery", "mps-control-daemon-ctr", "config-manager"}
"""Containers of NVIDIA's Helm chart that run the device plugin's image and are none."""


def gpu_software(pod: Pod, known: Mapping[str, str]) -> str:
    """What a pod is, of some that are known; empty where it is none of them."""
    for container in pod.spec.containers:
        image = f"/{container.name}" if container.name in _OTHER_DUTIES else f"/{container.image}"
        for pattern, what in known.items():
            if re.search(pattern, image):
                return what
    return ""


def sets_power_limits(pod: Pod) -> bool:
    """Whether it is known to write power limits: by name, image or the annotation of NVIDIA Dynamo."""
    texts = [pod.name, *(container.image for container in pod.spec.containers)]
    return _DYNAMO in pod.metadata.annotations or any(map(_POWER_WRITERS.search, texts))
