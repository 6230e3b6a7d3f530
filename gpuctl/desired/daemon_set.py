"""What the DaemonSets have in common: how their pods run, what they read, and how little they may do."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
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
from gpuctl.desired.profiles import DEFAULT, Profile, named
from gpuctl.desired.tolerations import tolerations
from gpuctl.settings import Settings

_HASH_DIGITS = 10
_DRIVER_PARTS = ("bin", "lib64")
NODE_BY_NODE: dict[str, Any] = {
    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
    "minReadySeconds": 5,
}
"""Of what offers GPUs. A pod counts as available five seconds after its probes succeed: a configuration on which it
exits stops at the first node instead of taking every node down, which the device plugin v0.18.2 did without both."""
BESIDE_THE_OLD_POD: dict[str, Any] = {
    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}
}
"""A change that leaves no gap. Without minReadySeconds: Kubernetes' controller waits for them by the oldest pod of a
node, so nothing tells it when those of the new pod are over, and the update stands still (seen with 1.36)."""
_EXISTS: dict[str, Any] = {"key": PROFILE_LABEL, "operator": "Exists"}
_WITHOUT_TOOLKIT = "without-toolkit"
_HOST_DRIVER = "/usr/local/nvidia"
"""Where the scripts look for nvidia-smi, besides PATH."""


class Ground(NamedTuple):
    """GPU nodes on which a DaemonSet of all profiles reaches the GPUs in the same way."""

    name: str
    """What stands for the profile in the name of the DaemonSet."""
    toolkit: bool
    """Whether the nodes have NVIDIA's container toolkit, so that the RuntimeClass gives a container the GPUs."""
    placement: dict[str, Any]
    """Which nodes these are, as fields of a pod's specification."""


def grounds(profiles: Sequence[Profile]) -> Iterator[Ground]:
    """The nodes that have any of the stack's profiles, by the way to their GPUs."""
    bare = [profile.label for profile in profiles if profile.sharing.bare]
    if len(bare) < len(profiles):
        yield Ground(DEFAULT, True, _on(_EXISTS, *([_one_of("NotIn", bare)] if bare else [])))
    if bare:
        yield Ground(_WITHOUT_TOOLKIT, False, _on(_one_of("In", bare)))


def selects(pod: dict[str, Any], node: Mapping[str, str]) -> bool:
    """Whether the pods of one of these DaemonSets run on a node with these labels."""
    affinity = pod.get("affinity", _on()["affinity"])["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = affinity["nodeSelectorTerms"]
    return pod["nodeSelector"].items() <= node.items() and all(_holds(each, node) for each in term["matchExpressions"])


def _holds(expression: dict[str, Any], node: Mapping[str, str]) -> bool:
    value = node.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case _:
            return value is not None


def _on(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = [{"matchExpressions": list(expressions)}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"nodeSelector": {PRESENT_LABEL: "true"}, "affinity": {"nodeAffinity": required}}


def _one_of(operator: str, values: list[str]) -> dict[str, Any]:
    return {"key": PROFILE_LABEL, "operator": operator, "values": values}


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
    checksum: str | None,
    container: dict[str, Any],
    volumes: list[dict[str, Any]],
    *,
    placement: dict[str, Any],
    rollout: dict[str, Any],
    profile: str = DEFAULT,
    toolkit: bool = True,
    account: str | None = None,
) -> Manifest:
    """A DaemonSet on GPU nodes.

    Args:
        settings: of the cluster.
        component: its name, without the profile.
        checksum: of what its pods read; another one rolls them. None of pods that read nothing.
        container: name, env, probes and mounts; image and the rest come from here.
        volumes: of the pod.
        placement: which nodes it runs on, as fields of the pod's specification.
        rollout: how a change comes to the nodes, as fields of the DaemonSet's specification.
        profile: whose nodes these are; its name is part of the DaemonSet's.
        toolkit: whether the nodes have NVIDIA's container toolkit.
        account: its ServiceAccount; without one its pods have no token.
    """
    annotated = {"annotations": {CHECKSUM_ANNOTATION: checksum}} if checksum else {}
    runtime = {"runtimeClassName": RUNTIME_CLASS} if toolkit else {}
    token = {"serviceAccountName": account} if account else {"automountServiceAccountToken": False}
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
                "metadata": {"labels": labels(component, profile)} | annotated,
                "spec": {
                    **runtime,
                    **placement,
                    "tolerations": tolerations(settings),
                    "priorityClassName": "system-node-critical",
                    **token,
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


def privileged() -> dict[str, Any]:
    """Of a container on a node without container toolkit: nothing less opens the device nodes of the GPUs to it."""
    return {"privileged": True, "readOnlyRootFilesystem": True}


def driver_mounts(folder: str) -> list[dict[str, Any]]:
    """The programs and libraries of the node's NVIDIA driver, below a folder of the container."""
    return [{"name": f"driver-{part}", "mountPath": f"{folder}/{part}", "readOnly": True} for part in _DRIVER_PARTS]


def driver_volumes(driver_root: str) -> list[dict[str, Any]]:
    """The same on the node. No type and no subPath: for those a kubelet takes its own files, on Talos others.

    Args:
        driver_root: folder of the node that has them.
    """
    return [{"name": f"driver-{part}", "hostPath": {"path": f"{driver_root}/{part}"}} for part in _DRIVER_PARTS]


def reaching_gpus(
    settings: Settings, ground: Ground, container: dict[str, Any], volumes: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A container and its volumes as they reach the GPUs on some nodes: unchanged where these have the toolkit.

    Without it a container brings its own way: the node's driver, and `privileged` for the device nodes. Who it runs as
    stays, so one that is not root has no capability all the same.
    """
    if ground.toolkit:
        return container, volumes
    user = {key: value for key, value in container["securityContext"].items() if key.startswith("runAs")}
    env = [each for each in container["env"] if not each["name"].startswith("NVIDIA_")]
    changed = {
        "env": [*env, {"name": "LD_LIBRARY_PATH", "value": f"{_HOST_DRIVER}/lib64"}],
        "securityContext": privileged() | user,
        "volumeMounts": [*container["volumeMounts"], *driver_mounts(_HOST_DRIVER)],
    }
    return container | changed, [*volumes, *driver_volumes(settings.driver_root)]


def checksum(config_map: Manifest) -> str:
    """Of what is in a ConfigMap."""
    return hashlib.sha256("".join(config_map["data"].values()).encode()).hexdigest()


def checked(daemon_set: Manifest) -> Manifest:
    """With a checksum of its own pod template, by which the cluster tells a pod that will be replaced."""
    template = daemon_set["spec"]["template"]
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
    template["metadata"]["annotations"] = {CHECKSUM_ANNOTATION: digest}
    return daemon_set


def unchanging(name: str, namespace: str, component: str, profile: str, data: dict[str, str]) -> Manifest:
    """A ConfigMap that pods read once: with a hash of its content in its name, and the API server refuses to change it.

    A kubelet gives a new pod the content that it last saw under a name, and behind an API server that was away this
    can be the former one: the program would run with that for good, and nobody notice.
    """
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:_HASH_DIGITS]
    metadata = {"name": f"{name}-{digest}", "namespace": namespace, "labels": labels(component, profile)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": data}
