"""The Talos machine configuration of GPU nodes, as one strategic-merge patch per node.

Never JSON6902: Talos refuses such a patch for a configuration of several documents, which it writes from v1.12 on.
"""

from typing import Any

from gpuctl.desired.names import node_labels
from gpuctl.desired.profiles import profiles
from gpuctl.desired.schematic import installer_image
from gpuctl.desired.text import yaml_text
from gpuctl.settings import Settings

_MODULES = ("nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset")
"""The extensions blacklist all four, so that they load only where the configuration names them."""
_BEFORE_CDI = (1, 12)
"""Up to this line a container gets its GPUs from nvidia-container-cli, which loads BPF programs."""
_DEFAULT_RUNTIME = """\
[plugins]
  [plugins."io.containerd.cri.v1.runtime"]
    [plugins."io.containerd.cri.v1.runtime".containerd]
      default_runtime_name = "nvidia"
"""


def talos_patches(settings: Settings) -> dict[str, str]:
    """Node -> its patch, ready for `talosctl apply-config --config-patch @FILE`.

    A changed installer image alone changes nothing on an installed node: that takes `talosctl upgrade`.
    """
    return {
        node.name: yaml_text({"machine": _machine(settings, profile.name)})
        for profile in profiles(settings)
        for node in profile.nodes
    }


def _machine(settings: Settings, profile: str) -> dict[str, Any]:
    machine: dict[str, Any] = {
        "install": {"image": installer_image(settings)},
        "kernel": {"modules": [{"name": name} for name in _MODULES]},
        "nodeLabels": node_labels(profile),
    }
    if settings.talos_line <= _BEFORE_CDI:
        machine["sysctls"] = {"net.core.bpf_jit_harden": "1"}
    if settings.default_runtime:
        machine["files"] = [_default_runtime()]
    return machine


def _default_runtime() -> dict[str, Any]:
    """The one file below /etc that Talos lets a configuration create."""
    return {
        "op": "create",
        "path": "/etc/cri/conf.d/20-customization.part",
        "permissions": 0o600,
        "content": _DEFAULT_RUNTIME,
    }
