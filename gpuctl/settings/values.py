"""Named types of single settings, each with its rule and the words for breaking it."""

import json
import re
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticKnownError

from gpuctl.settings.refusal import EditFile, RemoveKey, SettingRefused, SetValue, StorePlain, printable
from gpuctl.settings.talos_tables import (
    TALOS_MINORS,
    UNUSABLE,
    WITHOUT_TOOLKIT_FROM,
    format_minor,
    minor_of,
    newest_release,
)

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_IMAGE = r"[a-z0-9][-a-z0-9._/]*(:\d+/[-a-z0-9._/]+)?(?=[:@])(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
_PLUGIN_MINORS = ((0, 17), (0, 20))
_LABEL_PART = r"[A-Za-z0-9]([-.\w]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*(:\d+)?"
_GPU_UUID = r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_VERSION = r"\d+\.\d+\.\d+"
_TRUE, _FALSE = ("yes", "on", "y", "1", "true"), ("no", "off", "n", "0", "false")
"""What is no truth value here, and is one elsewhere."""
_USUAL_TALOS = "v1.13.9"
_LONGEST = 1000
"""Characters in any text but a document."""
LONGEST_PROFILE = 35
"""So that `nvidia-device-plugin-config-NAME`, but for its hash, and the label value stay within 63 characters."""
MOST_GPUS = 16
"""Physical GPUs in one node."""
MOST_WATTS = 2000
"""Of one GPU's limit."""
DRIVER_IMAGE = (
    "nvcr.io/nvidia/dra-driver-nvidia-gpu:v0.5.0"
    "@sha256:9b46984c0eb18def60e2b9817b874275f4b5b08d12d491de4f1a7b91b51d706c"
)
"""NVIDIA's DRA driver, as NVIDIA's registry has v0.5.0."""
NO_LIMIT = "none"
"""Instead of watts, for GPUs whose limits are left alone."""


def is_a_gpu_uuid(text: str) -> bool:
    """Whether a text is the UUID of a whole GPU, as `nvidia-smi -L` prints it."""
    return re.fullmatch(_GPU_UUID, text) is not None


def node_name_like(text: str) -> str:
    """The node name that a text was probably meant to be; empty where nothing is left of it."""
    labels = (part.strip("-") for part in re.sub(r"[^-a-z0-9.]+", "-", text[:253].lower()).split("."))
    return ".".join(filter(None, labels))


def _fullmatch(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.ASCII) is not None


def _is_one_line(text: str) -> str:
    if len(text) > _LONGEST:
        raise SettingRefused(f"is longer than {_LONGEST} characters", EditFile())
    if not text.isprintable():
        raise SettingRefused("contains a line break, a control character or another one that does not print")
    return text


def _is_a_node_name(name: str) -> str:
    if len(name) > 253 or not _fullmatch(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*", name):
        raise SettingRefused(
            "is not a node name: lower-case letters, digits, hyphens and dots, as in kubectl get nodes",
            SetValue(node_name_like(name) or "gpu-1"),
        )
    return name


def _is_a_profile_name(name: str) -> str:
    if len(name) > LONGEST_PROFILE or name == "default" or not _fullmatch(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*", name):
        raise SettingRefused(
            f"is not the name of a profile: lower-case letters, digits, hyphens and dots, at most {LONGEST_PROFILE}, "
            "and not `default`, which is the name of nodes with gpu:slices",
            RemoveKey(),
        )
    return name


def _is_a_namespace_of_its_own(name: str) -> str:
    if len(name) > 63 or not _fullmatch(_DNS_LABEL, name):
        meant = node_name_like(name).replace(".", "-")
        usable = 0 < len(meant) <= 63 and meant not in _SYSTEM_NAMESPACES
        raise SettingRefused(
            "is not a namespace name (lower-case letters, digits and hyphens, at most 63)",
            SetValue(meant if usable else "gpu-device-plugin"),
        )
    if name in _SYSTEM_NAMESPACES:
        raise SettingRefused(
            "belongs to Kubernetes; `pulumi destroy` would delete it and all it holds, and its pod security "
            "would become privileged",
            SetValue("gpu-device-plugin"),
        )
    return name


def _is_a_pinned_image(reference: str) -> str:
    return _pinned(reference, "v0.18.2", "nvcr.io/nvidia/k8s-device-plugin:v0.18.2")


def _is_a_pinned_driver(reference: str) -> str:
    return _pinned(reference, "v0.5.0", DRIVER_IMAGE)


def _pinned(reference: str, tag: str, usual: str) -> str:
    if not _fullmatch(_IMAGE, reference):
        repository = reference.partition("@")[0]
        tagged = f"{repository}:{tag}"
        raise SettingRefused(
            "is not an image reference with a tag or a digest; without one, what runs changes by itself",
            SetValue(tagged if _fullmatch(_IMAGE, tagged) else usual),
        )
    return reference


def _is_a_folder_of_a_node(path: str) -> str:
    if not _fullmatch(r"(/[\w.-]+)+", path) or {".", ".."} & set(path.split("/")):
        raise SettingRefused("is not the absolute path of a folder such as /usr/local", SetValue("/usr/local"))
    return path


def _is_a_supported_plugin(version: str) -> str:
    if not _fullmatch(rf"v{_VERSION}", version):
        raise SettingRefused("is not a version of the device plugin such as v0.18.2", SetValue(_plugin_meant(version)))
    if not _PLUGIN_MINORS[0] <= minor_of(version) <= _PLUGIN_MINORS[1]:
        raise SettingRefused("is outside the supported lines v0.17 to v0.20", SetValue("v0.18.2"))
    return version


def _plugin_meant(version: str) -> str:
    """The version that a text names, a `v` before it or not; of a line its first."""
    named = f"v{version.removeprefix('v')}"
    if _fullmatch(rf"v{_VERSION}", named):
        return named
    is_line = _fullmatch(r"v0\.\d{1,2}", named) and _PLUGIN_MINORS[0] <= minor_of(named) <= _PLUGIN_MINORS[1]
    return f"{named}.0" if is_line else "v0.18.2"


def _is_a_supported_talos(version: str) -> str:
    if not _fullmatch(rf"v{_VERSION}(-(alpha|beta|rc)\.\d+)?", version):
        raise SettingRefused(f"is not a Talos release such as {_USUAL_TALOS}", SetValue(_release_meant(version)))
    first, last = TALOS_MINORS[0], TALOS_MINORS[-1]
    if minor_of(version) < first:
        raise SettingRefused(
            f"is older than {format_minor(first)}, the first minor version the patches were tried on: before it, "
            "extensions and containerd's plugins had other names",
            SetValue(newest_release(first)),
        )
    if minor_of(version) > WITHOUT_TOOLKIT_FROM:
        raise SettingRefused(
            f"is newer than {format_minor(WITHOUT_TOOLKIT_FROM)}, and what its nodes need is not known here",
            SetValue(newest_release(last)),
        )
    if version in UNUSABLE:
        raise SettingRefused(UNUSABLE[version], SetValue(newest_release(minor_of(version))))
    return version


def _release_meant(version: str) -> str:
    """The release that a text names, a `v` before it or not; of a line its newest."""
    named = version if version.startswith("v") else f"v{version}"
    if _fullmatch(rf"v{_VERSION}(-(alpha|beta|rc)\.\d+)?", named):
        return named
    return newest_release(minor_of(_with_its_zero(named))) if _fullmatch(r"v1\.\d{1,2}", named) else _USUAL_TALOS


def _with_its_zero(line: str) -> str:
    """To YAML 1.10 is a number and the same as 1.1, which is no line of Talos that can be meant."""
    return "v1.10" if line == "v1.1" else line


def _is_a_talos_line(contract: str) -> str:
    if not _fullmatch(r"v1\.\d{1,3}", contract):
        line = re.match(r"v?1\.\d{1,2}(?!\d)", contract, re.ASCII)
        meant = _with_its_zero(format_minor(minor_of(line[0]))) if line else "v1.13"
        raise SettingRefused("is not a line of Talos such as v1.13", SetValue(meant))
    return contract


def _is_a_kubernetes_version(version: str) -> str:
    if not _fullmatch(rf"v{_VERSION}", version):
        raise SettingRefused(
            "is not a version of Kubernetes such as v1.33.0, as in kubectl get nodes",
            SetValue(f"v{version}") if _fullmatch(_VERSION, version) else RemoveKey(),
        )
    return version


def _is_a_host(host: str) -> str:
    if not _fullmatch(_HOST, host):
        meant = re.sub(r"^https?://", "", host.lower()).partition("/")[0]
        raise SettingRefused(
            "is not the name of an Image Factory's host, without https:// and path",
            SetValue(meant if _fullmatch(_HOST, meant) else "factory.talos.dev"),
        )
    return host


def _is_an_address(address: str) -> str:
    if not _fullmatch(r"[0-9A-Za-z][-0-9A-Za-z.]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:]+", address):
        raise SettingRefused("is not an IP address or a host name", RemoveKey())
    return address


def _is_a_label(label: str) -> str:
    if not _fullmatch(rf"({_DNS_LABEL}(\.{_DNS_LABEL})*/)?{_LABEL_PART}=({_LABEL_PART})?", label):
        raise SettingRefused("is not a label such as release=kube-prometheus-stack", RemoveKey())
    return label


def _written(value: Any) -> Any:
    """What YAML takes for a number as the version that was written, as Pulumi hands it to the program."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _is_not_empty(text: str) -> str:
    if not text.strip():
        raise SettingRefused("is empty")
    return text


def _whole_number(value: Any) -> Any:
    """As Pulumi's engine takes it: a number, or a text of digits, which `pulumi config set` stores.

    Pydantic alone takes true for 1, so that `slices: true` would quietly switch sharing off.
    """
    _plain_text(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and _fullmatch(r"[-+]?[0-9]{1,19}", value)):
        return value
    raise SettingRefused("must be a whole number")


def _watts_or_none(value: Any, watts: ValidatorFunctionWrapHandler) -> int | None:
    """The word `none` says that no limit is meant; a value that was forgotten says nothing."""
    if value == NO_LIMIT:
        return None
    if value is None:
        raise SettingRefused(f"must be a whole number, or {NO_LIMIT} where no limit is to be held", SetValue(NO_LIMIT))
    return watts(value)


def _count_or_uuids(value: Any) -> int | tuple[str, ...]:
    """How many GPUs, or which."""
    if not isinstance(value, list | tuple):
        count = _whole_number(value)
        if (isinstance(count, float) and not count.is_integer()) or not 0 <= int(count) <= MOST_GPUS:
            raise SettingRefused(f"must be a number of GPUs, 0 to {MOST_GPUS}, or a list of UUIDs", RemoveKey())
        return int(count)
    return tuple(_uuid(each) for each in cast(list[Any], value))


def _count_or_list(value: int | tuple[str, ...]) -> Any:
    """As JSON has it; of a union pydantic would warn."""
    return list(value) if isinstance(value, tuple) else value


def _uuid(value: Any) -> str:
    _plain_text(value)
    if isinstance(value, str) and is_a_gpu_uuid(value):
        return value
    raise SettingRefused(f"names {printable(str(value))!r}, no UUID of a GPU as nvidia-smi -L prints it", EditFile())


def _truth_value(value: Any) -> Any:
    """As Pulumi's engine takes it: true and false, also as texts, and nothing like yes, on or 1."""
    _plain_text(value)
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    said = str(value).strip().lower()
    meant = "true" if said in _TRUE else "false" if said in _FALSE else ""
    raise SettingRefused("must be true or false", *([SetValue(meant)] if meant else []))


def _plain_text(value: Any) -> Any:
    if is_encrypted(value):
        raise SettingRefused("is encrypted although it is no secret, and only Pulumi can read it", StorePlain())
    return value


def _structure(value: Any) -> Any:
    """To Pulumi a secret is a text wherever it is: no command sets or removes a key in one."""
    if is_encrypted(value):
        raise SettingRefused("is encrypted although it is no secret, and only Pulumi can read it", RemoveKey())
    return value


def is_encrypted(value: object) -> bool:
    """Whether a value is a secret as a stack file holds it: {secure: ...}."""
    if not isinstance(value, dict) or len(cast(dict[str, object], value)) != 1:
        return False
    return isinstance(cast(dict[str, object], value).get("secure"), str)


def _decrypted(value: Any) -> Any:
    """A secret as a stack file holds it is taken as it is: only Pulumi can tell what it says."""
    return json.dumps(value) if is_encrypted(value) else value


def _secret_text(value: Any) -> Any:
    """Pulumi decrypts before it hands a secret to the program; what is no text there is not shown."""
    if value is not None and not isinstance(value, str):
        raise PydanticKnownError("string_type")
    return value


def _unset(value: Any) -> Any:
    """An empty text means not set: Pulumi.yaml can declare no other default for an optional key."""
    return None if value == "" else value


_Number = BeforeValidator(_whole_number)
_Line = Annotated[str, AfterValidator(_is_one_line)]
Structure = BeforeValidator(_structure)
"""Of a list or mapping, or of one in it."""
_Unset, _Plain = BeforeValidator(_unset), BeforeValidator(_plain_text)
_Written = BeforeValidator(_written)

Slices = Annotated[int, Field(ge=1, le=64), _Number]
Watts = Annotated[int, Field(ge=1, le=MOST_WATTS), _Number]
WattsOrNone = Annotated[
    Watts | None,
    WrapValidator(_watts_or_none),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_WATTS}, {"const": NO_LIMIT}]}),
]
"""A power limit of some GPUs; None where theirs are left alone."""
BaseWatts = Annotated[int, Field(ge=0, le=10_000), _Number]
CircuitWatts = Annotated[int, Field(ge=0, le=100_000), _Number]
Mebibytes = Annotated[int, Field(ge=1, le=10_000_000), _Number]
SliceMebibytes = Annotated[int, Field(ge=0, le=10_000_000), _Number]
"""Memory of one slice; 0: its share of the GPU's."""
SlicePercent = Annotated[int, Field(ge=0, le=100), _Number]
"""Part of a GPU's multiprocessors that one slice may use; 0: its share of them."""
IntervalSeconds = Annotated[int, Field(ge=5, le=3600), _Number]
GpuCount = Annotated[int, Field(ge=1, le=MOST_GPUS), _Number]
_UUIDS: dict[str, Any] = {"type": "array", "items": {"type": "string", "pattern": f"^{_GPU_UUID}$"}}
WholeGpus = Annotated[
    int | tuple[str, ...],
    PlainValidator(_count_or_uuids),
    PlainSerializer(_count_or_list, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": MOST_GPUS}, _UUIDS]}),
]
"""GPUs of a node that are left whole: how many, or which by UUID."""
GpuUuid = Annotated[str, BeforeValidator(_uuid), WithJsonSchema(_UUIDS["items"])]
Switch = Annotated[bool, BeforeValidator(_truth_value)]
NodeName = Annotated[str, AfterValidator(_is_a_node_name), _Plain]
OptionalProfile = Annotated[Annotated[str, AfterValidator(_is_a_profile_name)] | None, _Unset, _Plain]
NamespaceName = Annotated[str, AfterValidator(_is_a_namespace_of_its_own), _Plain]
Text = Annotated[_Line, AfterValidator(_is_not_empty), _Plain]
OptionalAddress = Annotated[Annotated[_Line, AfterValidator(_is_an_address)] | None, _Unset, _Plain]
PluginVersion = Annotated[_Line, AfterValidator(_is_a_supported_plugin), _Written, _Plain]
TalosVersion = Annotated[_Line, AfterValidator(_is_a_supported_talos), _Written, _Plain]
OptionalTalosMinor = Annotated[Annotated[_Line, AfterValidator(_is_a_talos_line)] | None, _Unset, _Written, _Plain]
OptionalKubernetes = Annotated[
    Annotated[_Line, AfterValidator(_is_a_kubernetes_version)] | None, _Unset, _Written, _Plain
]
FactoryHost = Annotated[_Line, AfterValidator(_is_a_host), _Plain]
OptionalSecret = Annotated[
    SecretStr | None, BeforeValidator(_secret_text), BeforeValidator(_decrypted), BeforeValidator(_unset)
]
OptionalText = Annotated[_Line | None, _Unset, _Plain]
OptionalDocument = Annotated[str | None, _Unset, _Plain]
OptionalImage = Annotated[Annotated[_Line, AfterValidator(_is_a_pinned_image)] | None, _Unset, _Plain]
OptionalLabel = Annotated[Annotated[_Line, AfterValidator(_is_a_label)] | None, _Unset, _Plain]
OptionalPolicy = Annotated[Literal["distributed", "packed"] | None, _Unset, _Plain]
Backend = Literal["device-plugin", "dra"]
DriverImage = Annotated[_Line, AfterValidator(_is_a_pinned_driver), _Plain]
HostFolder = Annotated[_Line, AfterValidator(_is_a_folder_of_a_node), _Plain]
SharingMode = Literal["time-slicing", "mps"]
DriverChannel = Literal["production", "lts"]
KernelModules = Literal["open", "proprietary"]
