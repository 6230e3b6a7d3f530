"""Who keeps an object as it is, by the marks that tools leave on what they made, and would make again or delete.

Objects that others own in the cluster (`ownerReferences`) lead to the one that nobody owns there: a pod of the GPU
Operator to its DaemonSet, that to the ClusterPolicy, and that to a Helm release.
"""

from enum import StrEnum
from typing import Any, NamedTuple

from gpuctl.cluster import Manifest
from gpuctl.cluster.kinds import is_known, is_namespaced
from gpuctl.desired.names import FIELD_MANAGER, OWNER, PART_OF
from gpuctl.preflight.ownership import Find

_FLUX = {"helm.toolkit.fluxcd.io": "HelmRelease", "kustomize.toolkit.fluxcd.io": "Kustomization"}
_ARGO_ANNOTATION, _ARGO_LABEL = "argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"
_HELM = "meta.helm.sh/release"
_KUBERNETES = ("kube-", "kubelet", "cloud-controller-manager")
"""What the field managers begin with that Kubernetes itself is."""
_OWN = ("gpuctl", FIELD_MANAGER)
_DEEPEST = 5
"""Steps from a pod to what nobody owns: ReplicaSet, Deployment, and what made that."""


class Tool(StrEnum):
    """What kind of keeper it is."""

    HAND = "hand"
    """A person with kubectl: nothing makes it again."""
    STACK = "stack"
    """A stack of this project; without a name one of a version that did not write it down."""
    OBJECT = "object"
    """An object of the cluster that cannot be asked for more."""
    HELM = "helm"
    FLUX = "flux"
    ARGO = "argo"
    OTHER = "other"
    """Something that writes to the API under a name of its own."""


class Keeper(NamedTuple):
    """What keeps an object."""

    tool: Tool
    name: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        place = f" in {self.namespace}" if self.namespace else ""
        match self.tool:
            case Tool.HAND:
                return "made by hand"
            case Tool.STACK:
                return f"stack {self.name}" if self.name else "an older version"
            case Tool.HELM:
                return f"Helm release {self.name}{place}"
            case Tool.FLUX:
                return f"Flux, {self.name}{place}"
            case Tool.ARGO:
                return f"Argo CD, application {self.name}"
            case Tool.OBJECT:
                return self.name
            case Tool.OTHER:
                return f"field manager {self.name}" if self.name else "unknown"


class Root(NamedTuple):
    """What must go so that an object goes, and stays away."""

    object: Manifest
    """The last one on the way up."""
    keeper: Keeper
    """Of that one."""


def root_of(manifest: Manifest, find: Find) -> Root:
    """What an object goes back to.

    Args:
        manifest: the object.
        find: looks up an object.
    """
    for _ in range(_DEEPEST):
        above = _owner(manifest, find)
        if above is None:
            break
        manifest = above
    return Root(manifest, keeper_of(manifest))


def keeper_of(manifest: Manifest) -> Keeper:
    """Who keeps an object, by its own marks."""
    metadata = manifest["metadata"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    if labels.get(PART_OF[0]) == PART_OF[1]:
        return Keeper(Tool.STACK, annotations.get(OWNER, ""))
    if owner := _reference(manifest):
        return Keeper(Tool.OBJECT, f"{owner.get('kind')} {owner.get('name')}")
    for group, kind in _FLUX.items():
        if name := labels.get(f"{group}/name"):
            return Keeper(Tool.FLUX, f"{kind} {name}", labels.get(f"{group}/namespace", ""))
    if application := annotations.get(_ARGO_ANNOTATION, "").partition(":")[0] or labels.get(_ARGO_LABEL):
        return Keeper(Tool.ARGO, application)
    if release := annotations.get(f"{_HELM}-name"):
        return Keeper(Tool.HELM, release, annotations.get(f"{_HELM}-namespace", ""))
    writers = [each for each in managers(manifest) if not each.startswith(_KUBERNETES) and each not in _OWN]
    strangers = [each for each in writers if not each.startswith("kubectl")]
    return Keeper(Tool.HAND) if writers and not strangers else Keeper(Tool.OTHER, ", ".join(strangers))


def managers(manifest: Manifest, label: str = "") -> list[str]:
    """Who wrote an object's fields but for its status, or one of its labels; none where the server does not say."""
    found: list[str] = []
    for entry in manifest["metadata"].get("managedFields", ()):
        fields: Any = entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:labels", {})
        if "subresource" not in entry and (not label or f"f:{label}" in fields):
            found.append(str(entry.get("manager", "")))
    return list(dict.fromkeys(filter(None, found)))


def _owner(manifest: Manifest, find: Find) -> Manifest | None:
    reference = _reference(manifest)
    if reference is None or not is_known(kind := str(reference.get("kind"))):
        return None
    place = manifest["metadata"].get("namespace") if is_namespaced(kind) else None
    return find(kind, str(reference.get("name")), place)


def _reference(manifest: Manifest) -> dict[str, Any] | None:
    return next(iter(manifest["metadata"].get("ownerReferences", ())), None)
