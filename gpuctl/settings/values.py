"""Named types of single settings, each with its rule and the words for breaking it."""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from gpuctl.settings.minor_version import format_minor, minor_of
from gpuctl.settings.refusal import RemoveKey, SettingRefused, SetValue
from gpuctl.settings.talos_tables import TALOS_MINORS, UNUSABLE, newest_release

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_IMAGE = r"[a-z0-9][-a-z0-9._/]*(:\d+/[-a-z0-9._/]+)?(?=[:@])(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
_PLUGIN_MINORS = ((0, 17), (0, 20))
_LABEL_PART = r"[A-Za-z0-9]([-.\w]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*(:\d+)?"
_USUAL_TALOS = "v1.13.9"
MOST_GPUS = 16
"""Physical GPUs in one node."""
MOST_WATTS = 2000
"""Of one GPU's limit."""


def is_a_gpu_uuid(text: str) -> bool:
    """Whether a text is the UUID of a whole GPU, as `nvidia-smi -L` prints it."""
    return re.fullmatch(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


def _is_a_node_name(name: str) -> str:
    if len(name) > 253 or not re.fullmatch(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*", name):
        fitting = re.sub(r"[^-a-z0-9.]+", "-", name.lower()).strip("-.") or "gpu-1"
        raise SettingRefused(
            "is not a node name: lower-case letters, digits, hyphens and dots, as in kubectl get nodes",
            SetValue(fitting),
        )
    return name


def _is_a_namespace_of_its_own(name: str) -> str:
    if len(name) > 63 or not re.fullmatch(_DNS_LABEL, name):
        raise SettingRefused(
            "is not a namespace name (lower-case letters, digits and hyphens, at most 63)",
            SetValue("gpu-device-plugin"),
        )
    if name in _SYSTEM_NAMESPACES:
        raise SettingRefused(
            "belongs to Kubernetes; `pulumi destroy` would delete it and all it holds, and its pod security "
            "would become privileged",
            SetValue("gpu-device-plugin"),
        )
    return name


def _is_a_pinned_image(reference: str) -> str:
    if not re.fullmatch(_IMAGE, reference):
        raise SettingRefused(
            "is not an image reference with a tag or a digest; without one, what runs changes by itself",
            SetValue("nvcr.io/nvidia/k8s-device-plugin:v0.18.2"),
        )
    return reference


def _is_a_supported_plugin(version: str) -> str:
    if not re.fullmatch(r"v\d+\.\d+\.\d+", version):
        raise SettingRefused("is not a version of the device plugin such as v0.18.2", SetValue("v0.18.2"))
    if not _PLUGIN_MINORS[0] <= minor_of(version) <= _PLUGIN_MINORS[1]:
        raise SettingRefused("is outside the supported lines v0.17 to v0.20", SetValue("v0.18.2"))
    return version


def _is_a_supported_talos(version: str) -> str:
    if not re.fullmatch(r"v\d+\.\d+\.\d+(-(alpha|beta|rc)\.\d+)?", version):
        raise SettingRefused(f"is not a Talos release such as {_USUAL_TALOS}", SetValue(_USUAL_TALOS))
    first, last = TALOS_MINORS[0], TALOS_MINORS[-1]
    if minor_of(version) < first:
        raise SettingRefused(
            f"is older than {format_minor(first)}, the first minor version the patches were tried on: before it, "
            "extensions and containerd's plugins had other names",
            SetValue(newest_release(first)),
        )
    if minor_of(version) > last:
        raise SettingRefused(
            f"is newer than {format_minor(last)}, the last minor version the patches were tried on; "
            "what it takes is not known here",
            SetValue(newest_release(last)),
        )
    if version in UNUSABLE:
        raise SettingRefused(UNUSABLE[version], SetValue(newest_release(minor_of(version))))
    return version


def _is_a_talos_line(contract: str) -> str:
    if not re.fullmatch(r"v1\.\d+", contract):
        raise SettingRefused("is not a line of Talos such as v1.13", SetValue("v1.13"))
    return contract


def _is_a_kubernetes_version(version: str) -> str:
    if not re.fullmatch(r"v\d+\.\d+\.\d+", version):
        raise SettingRefused("is not a version of Kubernetes such as v1.33.0, as in kubectl get nodes", RemoveKey())
    return version


def _is_a_host(host: str) -> str:
    if not re.fullmatch(_HOST, host):
        raise SettingRefused(
            "is not the name of an Image Factory's host, without https:// and path", SetValue("factory.talos.dev")
        )
    return host


def _is_an_address(address: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z][-0-9A-Za-z.]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:]+", address):
        raise SettingRefused("is not an IP address or a host name", RemoveKey())
    return address


def _is_a_label(label: str) -> str:
    if not re.fullmatch(rf"({_DNS_LABEL}(\.{_DNS_LABEL})*/)?{_LABEL_PART}=({_LABEL_PART})?", label):
        raise SettingRefused("is not a label such as release=kube-prometheus-stack", RemoveKey())
    return label


def _is_not_empty(text: str) -> str:
    if not text.strip():
        raise SettingRefused("is empty")
    return text


def _is_no_truth_value(value: Any) -> Any:
    """Pydantic takes true for 1: `slices: true` would quietly switch sharing off."""
    if isinstance(value, bool):
        raise SettingRefused("must be a whole number")
    return value


def _decrypted(value: Any) -> Any:
    """A secret as a stack file holds it, {secure: ...}, is taken as it is: only Pulumi can tell what it says."""
    match value:
        case {"secure": str()}:
            return json.dumps(value)
        case _:
            return value


def _unset(value: Any) -> Any:
    """An empty text means not set: Pulumi.yaml can declare no other default for an optional key."""
    return None if value == "" else value


_Number = BeforeValidator(_is_no_truth_value)

Slices = Annotated[int, Field(ge=1, le=64), _Number]
Watts = Annotated[int, Field(ge=1, le=MOST_WATTS), _Number]
BaseWatts = Annotated[int, Field(ge=0, le=10_000), _Number]
CircuitWatts = Annotated[int, Field(ge=0, le=100_000), _Number]
IntervalSeconds = Annotated[int, Field(ge=5, le=3600), _Number]
GpuCount = Annotated[int, Field(ge=1, le=MOST_GPUS), _Number]
NodeName = Annotated[str, AfterValidator(_is_a_node_name)]
NamespaceName = Annotated[str, AfterValidator(_is_a_namespace_of_its_own)]
Text = Annotated[str, AfterValidator(_is_not_empty)]
OptionalAddress = Annotated[Annotated[str, AfterValidator(_is_an_address)] | None, BeforeValidator(_unset)]
PluginVersion = Annotated[str, AfterValidator(_is_a_supported_plugin)]
TalosVersion = Annotated[str, AfterValidator(_is_a_supported_talos)]
OptionalTalosMinor = Annotated[Annotated[str, AfterValidator(_is_a_talos_line)] | None, BeforeValidator(_unset)]
OptionalKubernetes = Annotated[Annotated[str, AfterValidator(_is_a_kubernetes_version)] | None, BeforeValidator(_unset)]
FactoryHost = Annotated[str, AfterValidator(_is_a_host)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_decrypted), BeforeValidator(_unset)]
OptionalText = Annotated[str | None, BeforeValidator(_unset)]
OptionalImage = Annotated[Annotated[str, AfterValidator(_is_a_pinned_image)] | None, BeforeValidator(_unset)]
OptionalLabel = Annotated[Annotated[str, AfterValidator(_is_a_label)] | None, BeforeValidator(_unset)]
OptionalPolicy = Annotated[Literal["distributed", "packed"] | None, BeforeValidator(_unset)]
