"""Named types of single settings, each with its rule and the words for breaking it."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gpuctl.settings.refusal import Refused, SetValue

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_IMAGE = r"[a-z0-9][-a-z0-9._/]*(:\d+/[-a-z0-9._/]+)?(?=[:@])(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
_PLUGIN_LINES = ((0, 17), (0, 20))
_TALOS_LINES = ((1, 9), (1, 13))
_TALOS_BAD = {"v1.13.1": "its NVIDIA extensions were built for another kernel than its own: the modules do not load"}


def line(version: str) -> tuple[int, int]:
    """The release line of a version: (1, 13) of `v1.13.9`."""
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


def _is_a_node_name(name: str) -> str:
    if len(name) > 253 or not re.fullmatch(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*", name):
        fitting = re.sub(r"[^-a-z0-9.]+", "-", name.lower()).strip("-.") or "gpu-1"
        raise Refused(
            "is not a node name: lower-case letters, digits, hyphens and dots, as in kubectl get nodes",
            SetValue(fitting),
        )
    return name


def _is_a_namespace_of_its_own(name: str) -> str:
    if len(name) > 63 or not re.fullmatch(_DNS_LABEL, name):
        raise Refused(
            "is not a namespace name (lower-case letters, digits and hyphens, at most 63)",
            SetValue("gpu-device-plugin"),
        )
    if name in _SYSTEM_NAMESPACES:
        raise Refused(
            "belongs to Kubernetes; `pulumi destroy` would delete it and all it holds, and its pod security "
            "would become privileged",
            SetValue("gpu-device-plugin"),
        )
    return name


def _is_a_pinned_image(reference: str) -> str:
    if not re.fullmatch(_IMAGE, reference):
        raise Refused(
            "is not an image reference with a tag or a digest; without one, what runs changes by itself",
            SetValue("nvcr.io/nvidia/k8s-device-plugin:v0.18.2"),
        )
    return reference


def _is_a_supported_plugin(version: str) -> str:
    if not re.fullmatch(r"v\d+\.\d+\.\d+", version):
        raise Refused("is not a version of the device plugin such as v0.18.2", SetValue("v0.18.2"))
    if not _PLUGIN_LINES[0] <= line(version) <= _PLUGIN_LINES[1]:
        raise Refused("is outside the supported lines v0.17 to v0.20", SetValue("v0.18.2"))
    return version


def _is_a_supported_talos(version: str) -> str:
    if not re.fullmatch(r"v\d+\.\d+\.\d+(-(alpha|beta|rc)\.\d+)?", version):
        raise Refused("is not a Talos release such as v1.13.9", SetValue("v1.13.9"))
    if not _TALOS_LINES[0] <= line(version) <= _TALOS_LINES[1]:
        raise Refused(
            "is outside the lines v1.9 to v1.13 whose machine configuration the patches are written for",
            SetValue("v1.13.9"),
        )
    if version in _TALOS_BAD:
        raise Refused(_TALOS_BAD[version], SetValue("v1.13.9"))
    return version


def _is_not_empty(text: str) -> str:
    if not text.strip():
        raise Refused("is empty")
    return text


def _is_no_truth_value(value: Any) -> Any:
    """Pydantic takes true for 1: `slices: true` would quietly switch sharing off."""
    if isinstance(value, bool):
        raise Refused("must be a whole number")
    return value


def _unset(value: Any) -> Any:
    """An empty text means not set: Pulumi.yaml can declare no other default for an optional key."""
    return None if value == "" else value


_Number = BeforeValidator(_is_no_truth_value)

Slices = Annotated[int, Field(ge=1, le=64), _Number]
Watts = Annotated[int, Field(ge=1, le=2000), _Number]
IntervalSeconds = Annotated[int, Field(ge=5, le=3600), _Number]
GpuCount = Annotated[int, Field(ge=1, le=16), _Number]
NodeName = Annotated[str, AfterValidator(_is_a_node_name)]
NamespaceName = Annotated[str, AfterValidator(_is_a_namespace_of_its_own)]
Text = Annotated[str, AfterValidator(_is_not_empty)]
PluginVersion = Annotated[str, AfterValidator(_is_a_supported_plugin)]
TalosVersion = Annotated[str, AfterValidator(_is_a_supported_talos)]
OptionalText = Annotated[str | None, BeforeValidator(_unset)]
OptionalImage = Annotated[Annotated[str, AfterValidator(_is_a_pinned_image)] | None, BeforeValidator(_unset)]
OptionalPolicy = Annotated[Literal["distributed", "packed"] | None, BeforeValidator(_unset)]
