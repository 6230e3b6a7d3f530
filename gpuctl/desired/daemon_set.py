"""What the DaemonSets have in common: how their pods run, what they read, and how little they may do."""

import hashlib
import json
from typing import Any, NamedTuple

from gpuctl.desired.names import (
    CHECKSUM_ANNOTATION,
    PRESENT_LABEL,
    PROFILE_LABEL,
    RUNTIME_CLASS,
    Manifest,
    labels,
    selector,
)
from gpuctl.desired.profiles import DEFAULT, named
from gpuctl.desired.tolerations import tolerations
from gpuctl.settings import Settings

_HASH_DIGITS = 10
BESIDE_THE_OLD_POD: dict[str, Any] = {
    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}
}
"""A change that leaves no gap. Without minReadySeconds: Kubernetes' controller waits for them by the oldest pod of a
node, so nothing tells it when those of the new pod are over, and the update stands still (seen with 1.36)."""
_LABELLED: dict[str, Any] = {"matchExpressions": [{"key": PROFILE_LABEL, "operator": "Exists"}]}
ON_EVERY_NODE: dict[str, Any] = {
    "nodeSelector": {PRESENT_LABEL: "true"},
    "affinity": {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_LABELLED]}}
    },
}
"""Where a DaemonSet of all profiles runs: on the GPU nodes that have any of the stack's."""


class Script(NamedTuple):
    """A script that pods run in the shell of the device plugin's image, by its verbs."""

    path: str
    """In the container."""

    def command(self, verb: str) -> list[str]:
        """What runs it."""
        return ["/busybox/sh", self.path, verb]

    def probe(self, verb: str) -> dict[str, Any]:
        """What asks it."""
        return {"exec": {"command": self.command(verb)}, "timeoutSeconds": 5}


def daemon_set(
    settings: Settings,
    component: str,
    checksum: str,
    container: dict[str, Any],
    volumes: list[dict[str, Any]],
    *,
    placement: dict[str, Any],
    rollout: dict[str, Any],
    profile: str = DEFAULT,
) -> Manifest:
    """A DaemonSet on GPU nodes.

    Args:
        settings: of the cluster.
        component: its name, without the profile.
        checksum: of what its pods read; another one rolls them.
        container: name, env, probes and mounts; image and the rest come from here.
        volumes: of the pod.
        placement: which nodes it runs on, as fields of the pod's specification.
        rollout: how a change comes to the nodes, as fields of the DaemonSet's specification.
        profile: whose nodes these are; its name is part of the DaemonSet's.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": named(component, profile),
            "namespace": settings.namespace,
            "labels": labels(component, profile),
        },
        "spec": {
            "selector": {"matchLabels": selector(component, profile)},
            **rollout,
            "template": {
                "metadata": {
                    "labels": labels(component, profile),
                    "annotations": {CHECKSUM_ANNOTATION: checksum},
                },
                "spec": {
                    "runtimeClassName": RUNTIME_CLASS,
                    **placement,
                    "tolerations": tolerations(settings),
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


def checksum(config_map: Manifest) -> str:
    """Of what is in a ConfigMap."""
    return hashlib.sha256("".join(config_map["data"].values()).encode()).hexdigest()


def unchanging(name: str, namespace: str, component: str, profile: str, data: dict[str, str]) -> Manifest:
    """A ConfigMap that pods read once: with a hash of its content in its name, and the API server refuses to change it.

    A kubelet gives a new pod the content that it last saw under a name, and behind an API server that was away this
    can be the former one: the program would run with that for good, and nobody notice.
    """
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:_HASH_DIGITS]
    metadata = {"name": f"{name}-{digest}", "namespace": namespace, "labels": labels(component, profile)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": data}
