"""What the two DaemonSets have in common: where their pods run, and how little they may do there."""

from typing import Any

from gpuctl.desired.names import CHECKSUM_ANNOTATION, RUNTIME_CLASS, Manifest, labels, node_labels, selector
from gpuctl.desired.profiles import Profile
from gpuctl.settings import Settings

_TOLERATIONS = [
    {"key": "nvidia.com/gpu", "operator": "Exists"},
    {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
]


def daemon_set(
    settings: Settings,
    profile: Profile,
    component: str,
    checksum: str,
    container: dict[str, Any],
    volumes: list[dict[str, Any]],
) -> Manifest:
    """A DaemonSet on the GPU nodes of one profile.

    A pod counts as available five seconds after its probes succeed: a configuration on which it exits stops at the
    first node instead of taking every node down, which device plugin v0.18.2 did without both.

    Args:
        settings: of the cluster.
        profile: whose nodes it runs on.
        component: its name, without the profile.
        checksum: of what its pods read; another one rolls them.
        container: name, env, probes and mounts; image and the rest come from here.
        volumes: of the pod.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": profile.named(component),
            "namespace": settings.namespace,
            "labels": labels(component, profile.name),
        },
        "spec": {
            "selector": {"matchLabels": selector(component, profile.name)},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "minReadySeconds": 5,
            "template": {
                "metadata": {
                    "labels": labels(component, profile.name),
                    "annotations": {CHECKSUM_ANNOTATION: checksum},
                },
                "spec": {
                    "runtimeClassName": RUNTIME_CLASS,
                    "nodeSelector": node_labels(profile.name),
                    "tolerations": _TOLERATIONS,
                    "priorityClassName": "system-node-critical",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{"image": settings.image} | container],
                    "volumes": volumes,
                },
            },
        },
    }


def security_context(*capabilities: str) -> dict[str, Any]:
    """Of a container that may do nothing but what these capabilities allow.

    They must be spelt without `CAP_`: with it, the API server refuses allowPrivilegeEscalation: false.
    """
    added = {"add": list(capabilities)} if capabilities else {}
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]} | added,
    }
