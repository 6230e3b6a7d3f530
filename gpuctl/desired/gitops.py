"""A stack as a folder for Flux or Argo CD, which apply its parts in their own order.

Argo CD reads the whole folder and goes by the waves in the annotations; Flux has a Kustomization for each folder in it,
which waits for those before it. Nodes are in none of it: whoever prunes would delete them.
"""

from collections.abc import Mapping, Sequence

from gpuctl.desired.desired import Desired
from gpuctl.desired.names import Manifest, yaml_text
from gpuctl.desired.part import Part

FLUX = "flux.yaml"
_NAMESPACE = "flux-system"
"""In which `flux bootstrap` puts the repository, which it calls by the same name."""
_WAVE = "argocd.argoproj.io/sync-wave"
_PRUNE_LAST = {"argocd.argoproj.io/sync-options": "PruneLast=true"}
"""For what has another name with other content: pods mount the former one until they are replaced."""


def gitops_folder(desired: Desired, stack: str, path: str) -> dict[str, str]:
    """Path in the folder -> content.

    Args:
        desired: what the stack asks for.
        stack: its name.
        path: of the folder in the repository that Flux reads.
    """
    parts = {part.name: part for part in desired.parts if part.objects and not part.is_patch}
    folders = _folders(parts)
    files = {
        "kustomization.yaml": yaml_text(_kustomization([*folders])),
        FLUX: yaml_text(*(_flux(name, folders, stack, path) for name in folders)),
    }
    for name, together in folders.items():
        objects = [_annotated(each, _wave(part, parts)) for part in together for each in part.objects.values()]
        files[f"{name}/kustomization.yaml"] = yaml_text(_kustomization(["objects.yaml"]))
        files[f"{name}/objects.yaml"] = yaml_text(*objects)
    return files


def _folders(parts: Mapping[str, Part]) -> dict[str, list[Part]]:
    """Folder -> its parts. ConfigMaps are with what mounts them: Flux would prune former ones before that changes."""
    folders: dict[str, list[Part]] = {}
    mounted: list[Part] = []
    for part in parts.values():
        if all(manifest["kind"] == "ConfigMap" for manifest in part.objects.values()):
            mounted.append(part)
        else:
            own = [each for each in mounted if each.name in part.after]
            folders[part.name] = [*own, part]
    return folders


def _kustomization(resources: list[str]) -> Manifest:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}


def _wave(part: Part, parts: Mapping[str, Part]) -> int:
    """How many parts must be complete one after the other before it."""
    return max((1 + _wave(parts[name], parts) for name in part.after if name in parts), default=0)


def _annotated(manifest: Manifest, wave: int) -> Manifest:
    metadata = manifest["metadata"]
    added = {_WAVE: str(wave)} | (_PRUNE_LAST if manifest["kind"] == "ConfigMap" else {})
    return manifest | {"metadata": metadata | {"annotations": metadata.get("annotations", {}) | added}}


def _flux(name: str, folders: Mapping[str, Sequence[Part]], stack: str, path: str) -> Manifest:
    earlier = {after for part in folders[name] for after in part.after}
    after = [{"name": f"gpu-{stack}-{each}"} for each in folders if each in earlier]
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": f"gpu-{stack}-{name}", "namespace": _NAMESPACE},
        "spec": {
            **({"dependsOn": after} if after else {}),
            "interval": "10m",
            "path": f"./{path}/{name}",
            "prune": True,
            "sourceRef": {"kind": "GitRepository", "name": _NAMESPACE},
            "timeout": "10m",
            "wait": True,
        },
    }
