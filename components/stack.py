"""Everything of one cluster, declared."""

from typing import Any

import pulumi

from components.talos_apply import apply_patches
from gpuctl.desired.desired import Desired
from gpuctl.desired.names import FIELD_MANAGER, OWNER, Manifest
from gpuctl.desired.part import Part


class GpuStack(pulumi.ComponentResource):
    """The GPU sharing of one cluster, in the order in which a node needs it.

    The power limit comes before the device plugin, so that no pod gets a GPU whose limit is not set. It does not
    wait for capacity: `pulumi up` is done when the DaemonSets are ready. It asks the cluster nothing: call
    `consult_cluster` before. The project that declares it must have the option `refresh: always` (Pulumi.yaml): taking
    labels from a node that is gone would else make a Node of that name.
    """

    def __init__(self, name: str, desired: Desired, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:GpuStack", name, None, opts)
        declared: dict[str, StackPart] = {}
        for part in desired.parts:
            after: list[pulumi.Resource] = [declared[earlier] for earlier in part.after]
            declared[part.name] = StackPart(part, pulumi.ResourceOptions(parent=self, depends_on=after))
        self.objects = [each for part in declared.values() for each in part.objects]
        if desired.settings.talos_apply:
            apply_patches(desired.settings, parent=declared["talos-patches"])
        self.outputs = desired.outputs
        self.register_outputs(self.outputs)


class StackPart(pulumi.ComponentResource):
    """One part of a stack: its objects, each after the one before unless they are one for each node or profile.

    It must be deployed by a provider with `enable_config_map_mutable`, else a changed ConfigMap is replaced and takes
    the DaemonSet that mounts it along, on all nodes at once.
    """

    def __init__(self, part: Part, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(part.type_token, part.name, None, opts)
        self.objects: list[pulumi.CustomResource] = []
        earlier: list[pulumi.Resource] = []
        for name, manifest in part.objects.items():
            opts = pulumi.ResourceOptions(parent=self, depends_on=list(earlier))
            kubernetes_object = _declared(name, manifest, opts, is_patch=part.is_patch)
            self.objects.append(kubernetes_object)
            if not (part.is_patch or part.by_profile):
                earlier.append(kubernetes_object)
        self.register_outputs(dict(part.outputs))


def _declared(name: str, manifest: Manifest, opts: pulumi.ResourceOptions, *, is_patch: bool) -> pulumi.CustomResource:
    """One Kubernetes object, or the fields of one that exists already.

    Pulumi knows it by its own name, hash and all, and finds under the alias what an earlier version deployed. Under one
    name for all contents, an update that failed would leave the former ConfigMap to be deleted, and going back to that
    content would make it anew and delete it in the same update: Pulumi deletes what it has on record last.

    By its type token and not by its class: the classes' modules alone take longer to import than all else that the
    program does, and take a manifest's keys and nothing more.
    """
    group = manifest["apiVersion"] if "/" in manifest["apiVersion"] else f"core/{manifest['apiVersion']}"
    token = f"kubernetes:{group}:{manifest['kind']}{'Patch' if is_patch else ''}"
    own = manifest["metadata"]["name"]
    if own != name:
        opts.aliases = [pulumi.Alias(name=name)]
    return pulumi.CustomResource(token, own, _annotated(manifest, is_patch=is_patch), opts)


def _annotated(manifest: Manifest, *, is_patch: bool) -> dict[str, Any]:
    """The object with what says whose it is.

    The stack overwrites what others changed in its own objects, never in a node of which it has only labels. Without
    that a change by kubectl ends every later `pulumi up` with a field conflict, and so does the object that an
    interrupted `pulumi up` left behind.
    """
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations", {}) | {OWNER: owner(), "pulumi.com/patchFieldManager": FIELD_MANAGER}
    if not is_patch:
        annotations |= {"pulumi.com/patchForce": "true"}
    return manifest | {"metadata": metadata | {"annotations": annotations}}


def owner() -> str:
    """By which objects say of which stack they are."""
    return f"{pulumi.get_project()}/{pulumi.get_stack()}"
