"""Everything of one cluster, declared."""

from typing import Any

import pulumi

from components.talos_apply import apply_patches
from gpuctl.desired.desired import Desired
from gpuctl.desired.names import Manifest
from gpuctl.desired.part import Part


class GpuStack(pulumi.ComponentResource):
    """The GPU sharing of one cluster, in the order in which a node needs it.

    The power limit comes before the device plugin, so that no pod gets a GPU whose limit is not set. It does not
    wait for capacity: `pulumi up` is done when the DaemonSets are ready. It asks the cluster nothing: call
    `consult_cluster` before.
    """

    def __init__(self, name: str, desired: Desired, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:GpuStack", name, None, opts)
        declared: dict[str, StackPart] = {}
        for part in desired.parts:
            after: list[pulumi.Resource] = [declared[earlier] for earlier in part.after]
            declared[part.name] = StackPart(part, pulumi.ResourceOptions(parent=self, depends_on=after))
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
        earlier: list[pulumi.Resource] = []
        for name, manifest in part.objects.items():
            opts = pulumi.ResourceOptions(parent=self, depends_on=list(earlier))
            kubernetes_object = _declared(name, manifest, opts, is_patch=part.is_patch)
            if not (part.is_patch or part.by_profile):
                earlier.append(kubernetes_object)
        self.register_outputs(dict(part.outputs))


def _declared(name: str, manifest: Manifest, opts: pulumi.ResourceOptions, *, is_patch: bool) -> pulumi.Resource:
    """One Kubernetes object, or the fields of one that exists already.

    By its type token and not by its class: the classes' modules alone take longer to import than all else that the
    program does, and take a manifest's keys and nothing more.
    """
    group = manifest["apiVersion"] if "/" in manifest["apiVersion"] else f"core/{manifest['apiVersion']}"
    token = f"kubernetes:{group}:{manifest['kind']}"
    if is_patch:
        return pulumi.CustomResource(f"{token}Patch", name, manifest, opts)
    return pulumi.CustomResource(token, name, _taken_back(manifest), opts)


def _taken_back(manifest: Manifest) -> dict[str, Any]:
    """Lets the stack overwrite what others changed in its own objects, never in a node of which it has only labels.

    Without it a change by kubectl ends every later `pulumi up --refresh` with a field conflict, and so does the
    object that an interrupted `pulumi up` left behind.
    """
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations", {}) | {"pulumi.com/patchForce": "true"}
    return manifest | {"metadata": metadata | {"annotations": annotations}}
