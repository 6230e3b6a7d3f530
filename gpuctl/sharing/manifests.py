"""The objects of the coexistence proof: a namespace of its own, and pods that may do nothing but look."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpuctl.desired.daemon_set import security_context
from gpuctl.desired.names import PART_OF, RUNTIME_CLASS, Manifest
from gpuctl.desired.tolerations import tolerations
from gpuctl.settings import Settings

NAME = "gpu-sharing-proof"
LABELS = {"app.kubernetes.io/name": NAME} | dict([PART_OF]) | {"app.kubernetes.io/managed-by": "gpuctl"}
"""By which leftovers are found."""
BEAT = f"{NAME}/beat"
"""Annotation of the namespace that changes for as long as its run lives."""
RELEASE = f"{NAME}/release"
"""Annotation of a pod that lets it come to its end."""

_SCRIPT = Path(__file__).with_name("pod.sh").read_text()
_PRIORITY = -1000
"""Below all workloads: the scheduler takes the proof's slices for them, and no autoscaler makes a node for its pods."""
_LIFE_SECONDS = 1800
"""After which the kubelet ends a pod that everyone has forgotten."""
_NOBODY = 65534


def namespace(name: str) -> Manifest:
    """The namespace, which holds its pods to the strictest Pod Security Standard."""
    modes = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    metadata = {"name": name, "labels": LABELS | modes, "annotations": {BEAT: "0"}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def priority_class(name: str) -> Manifest:
    """The priority, by which the pods take nothing away from anyone."""
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name, "labels": LABELS},
        "value": _PRIORITY,
        "preemptionPolicy": "Never",
        "description": "Pods that prove GPU sharing and give way to everything else.",
    }


def service_account(namespace: str) -> Manifest:
    """The account of the pods: it may do nothing, and the namespace's own one is not there yet."""
    metadata = {"name": NAME, "namespace": namespace, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}


def annotation(kind: str, name: str, namespace: str | None, key: str, value: str) -> Manifest:
    """What sets an annotation when it is applied."""
    metadata: dict[str, Any] = {"name": name, "annotations": {key: value}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}


def holding_pod(settings: Settings, name: str, namespace: str, resource: str, nodes: Sequence[str]) -> Manifest:
    """A pod that takes one slice and keeps it until it is released."""
    container = {
        **_looking(settings.image, "hold"),
        "resources": _resources(resource),
        "volumeMounts": [{"name": "barrier", "mountPath": "/barrier", "readOnly": True}],
    }
    item = {"path": "release", "fieldRef": {"fieldPath": f"metadata.annotations['{RELEASE}']"}}
    volumes = [{"name": "barrier", "downwardAPI": {"items": [item]}}]
    return _pod(settings, name, namespace, nodes, container, volumes)


def looking_pod(settings: Settings, name: str, namespace: str, node: str) -> Manifest:
    """A pod that asks for no GPU.

    The device plugin's image sets NVIDIA_VISIBLE_DEVICES to `all`, by which it would see every GPU. Empty is what the
    container runtime finds with an image that does not name any.
    """
    env = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": ""}]
    container = _looking(settings.image, "look") | {"env": env, "resources": _resources()}
    return _pod(settings, name, namespace, [node], container, [])


def cuda_pod(settings: Settings, name: str, namespace: str, image: str, resource: str, node: str) -> Manifest:
    """A pod that runs the program of an image with one slice."""
    context = security_context() | {"readOnlyRootFilesystem": False}  # a program of others may write beside itself
    container = {"image": image, "resources": _resources(resource), "securityContext": context}
    return _pod(settings, name, namespace, [node], container, [])


def _looking(image: str, verb: str) -> dict[str, Any]:
    command = ["/busybox/sh", "-c", _SCRIPT, "pod.sh", verb]
    return {"image": image, "command": command, "securityContext": security_context()}


def _resources(resource: str = "") -> dict[str, Any]:
    """So little that a node with a free slice has it; a CUDA program's memory on the host is left to itself."""
    return {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {resource: "1"} if resource else {}}


def _pod(
    settings: Settings,
    name: str,
    namespace: str,
    nodes: Sequence[str],
    container: dict[str, Any],
    volumes: list[dict[str, Any]],
) -> Manifest:
    """A pod that the scheduler may give to these nodes only."""
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]} for node in nodes]
    bare = {node.name for node in settings.nodes if settings.sharing_of(node).bare}
    runtime = {} if bare & {*nodes} else {"runtimeClassName": RUNTIME_CLASS}  # without toolkit it has no handler
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
        "spec": {
            "restartPolicy": "Never",
            **runtime,
            "priorityClassName": namespace,  # both belong to one run
            "serviceAccountName": NAME,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "activeDeadlineSeconds": _LIFE_SECONDS,
            "terminationGracePeriodSeconds": 1,
            "affinity": affinity,
            "tolerations": tolerations(settings),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _NOBODY,
                "runAsGroup": _NOBODY,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{"name": "main"} | container],
            "volumes": volumes,
        },
    }
