"""The Talos machine configuration of GPU nodes, as one strategic-merge patch per node.

Never JSON6902: Talos refuses such a patch for a configuration of several documents, which it writes from v1.12 on.
Which form a line takes was found by running its own configuration library; see docs/talos.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gpuctl.desired.cri_fragment import cri_fragment
from gpuctl.desired.names import contested, node_labels, yaml_text
from gpuctl.desired.profiles import Profile, profile_of, profiles
from gpuctl.desired.schematic import image_is_chosen, installer_image
from gpuctl.settings import GpuNode, Settings
from gpuctl.settings.talos_rules import CDI_FROM, DOCUMENTS_FROM
from gpuctl.settings.talos_tables import minor_of

Document = dict[str, Any]

MODULES = ("nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset")
"""The extensions blacklist all four, so that they load only where the configuration names them."""
SYSCTL = ("net.core.bpf_jit_harden", "1")
"""Up to v1.12 containers get their GPUs from nvidia-container-cli, whose BPF programs Talos' own value 2 forbids."""
CRI_FILE = "/etc/cri/conf.d/20-customization.part"
"""The one file below /etc that Talos lets a configuration create, and that it may have only once."""
CRI_DOCUMENT = "nvidia-default-runtime"


class Form(Enum):
    """How a node's configuration says what a GPU node needs."""

    FIELDS = "fields of `machine`"
    """Every configuration before Talos v1.14."""
    MIXED = "fields and documents"
    """Talos v1.14 with a configuration that an older line wrote. Its labels stay a field, which excludes a document."""
    DOCUMENTS = "documents"
    """A configuration that Talos v1.14 wrote; the fields are errors beside its documents."""


@dataclass(frozen=True)
class Present:
    """What a node's configuration says already, as far as a patch depends on it: patches append to lists."""

    form: Form
    modules: frozenset[str] = frozenset()
    """Kernel modules that it loads."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """The labels that it gives its node."""
    cri_fragment: str | None = None
    """Content of its entry for the one file of containerd's configuration."""
    own_image: str | None = None
    """Installer image whose content is not known here, for the node's Talos release: kept unless the stack says what
    its image contains."""
    disk_selector: str | None = None
    """Expression that selects its install disk; a patch that does not repeat it erases it."""


def form_of(settings: Settings, node: GpuNode) -> Form:
    """The form that a node's configuration has, going by what the settings say."""
    if minor_of(settings.talos_version_of(node)) < DOCUMENTS_FROM:
        return Form.FIELDS
    return Form.MIXED if settings.contract_of(node) < DOCUMENTS_FROM else Form.DOCUMENTS


def talos_patches(settings: Settings) -> dict[str, str]:
    """Node -> its patch, ready for `talosctl patch machineconfig --patch @FILE`.

    A changed installer image alone changes nothing on an installed node: that takes `talosctl upgrade`.
    """
    return _patches(settings, None)


def provider_patches(settings: Settings) -> dict[str, str]:
    """Node -> its patch for pulumiverse_talos, whose library is that of Talos v1.13 and knows only fields.

    It merges with the configuration it is given and never with the node's own, so nothing is there already.
    """
    return _patches(settings, Present(Form.FIELDS))


def talos_patch(settings: Settings, node: GpuNode, present: Present | None = None) -> str:
    """The patch of one node.

    Args:
        settings: of the cluster.
        node: one of its nodes.
        present: what the node's configuration says already; without it, the patch is one for a configuration that has
            no NVIDIA parts, and must not be applied twice to the same one where it has lists.
    """
    return _patch(settings, node, profile_of(settings, node), present)


def image_of(settings: Settings, present: Present | None) -> str:
    """The installer image for a node: its own where nobody but its owner knows what is in it, else the stack's.

    Args:
        settings: as they hold on the node.
        present: what its configuration says already.
    """
    own = present.own_image if present and not image_is_chosen(settings) else None
    return own or installer_image(settings)


def _patches(settings: Settings, present: Present | None) -> dict[str, str]:
    """The profiles are found once for all nodes."""
    profile_by_node = {node.name: profile for profile in profiles(settings) for node in profile.nodes}
    return {node.name: _patch(settings, node, profile_by_node[node.name], present) for node in settings.nodes}


def _patch(settings: Settings, node: GpuNode, profile: Profile, present: Present | None) -> str:
    known = present or Present(form_of(settings, node), disk_selector=settings.disk_selector_of(node))
    return yaml_text(*_documents(settings.on(node), _labels(settings, profile, known), known))


def _labels(settings: Settings, profile: Profile, present: Present) -> Document:
    """A label has one owner. Where that is the stack, what an older patch left in the configuration is taken out."""
    wanted = node_labels(profile.label)
    if not settings.label_nodes:
        return dict(wanted)
    return {name: {"$patch": "delete"} for name in contested(present.labels, wanted)}


def _documents(settings: Settings, labels: Document, present: Present) -> list[Document]:
    modules = [name for name in MODULES if name not in present.modules]
    image = image_of(settings, present)
    match present.form:
        case Form.FIELDS:
            machine: Document = {"install": {"image": image}, **_loaded(modules), **_labelled(labels)}
            return [{"machine": machine | _sysctl(settings) | _files(settings, present.cri_fragment)}]
        case Form.MIXED:
            fields: Document = {"machine": {"install": {"image": image}, **_labelled(labels)}}
            return [fields, *_modules(modules), *_cri_customization(settings)]
        case Form.DOCUMENTS:
            label = [_document("KubeNodeConfig", labels=labels)] if labels else []
            install = _install(image, present.disk_selector)
            return [*install, *_modules(modules), *label, *_cri_customization(settings)]


def _loaded(modules: list[str]) -> Document:
    return {"kernel": {"modules": [{"name": name} for name in modules]}} if modules else {}


def _labelled(labels: Document) -> Document:
    return {"nodeLabels": labels} if labels else {}


def _sysctl(settings: Settings) -> Document:
    return {"sysctls": dict([SYSCTL])} if settings.talos_minor < CDI_FROM else {}


def _files(settings: Settings, existing: str | None) -> Document:
    """The one entry for containerd's configuration. What is there is replaced; what is not there cannot be deleted."""
    fragment = cri_fragment(settings, existing)
    if fragment is None or fragment == existing:
        return {}
    deleted = [] if existing is None else [{"path": CRI_FILE, "$patch": "delete"}]
    return {"files": [*deleted, {"op": "create", "path": CRI_FILE, "permissions": 0o600, "content": fragment}]}


def _modules(names: list[str]) -> list[Document]:
    return [_document("KernelModuleConfig", name=name) for name in names]


def _install(image: str, disk_selector: str | None) -> list[Document]:
    """The image for the next installation; left out where the disk is not known, which it must repeat."""
    if disk_selector is None:
        return []
    disk = {"diskSelector": {"match": disk_selector}}
    return [_document("UnattendedInstallConfig", installer={"image": image}, provisioning=disk)]


def _cri_customization(settings: Settings) -> list[Document]:
    """A file of its own, so there is nothing to merge: containerd merges them."""
    fragment = cri_fragment(settings)
    return [] if fragment is None else [_document("CRICustomizationConfig", name=CRI_DOCUMENT, content=fragment)]


def _document(kind: str, **content: object) -> Document:
    return {"apiVersion": "v1alpha1", "kind": kind, **content}
