"""`gpuctl verify` as a CronJob in the cluster itself, with the least rights that its checks need.

It may read what the checks look at and write its verdict, and nothing else: no secrets, no pods of its own, no
commands in pods, no dry run of a change. Checks that need more are skipped and say so.
"""

from typing import Any

from gpuctl.desired.daemon_set import security_context
from gpuctl.desired.desired import desired_state
from gpuctl.desired.names import PART_OF, RUNTIME_CLASS, Manifest, yaml_text
from gpuctl.desired.tolerations import tolerations
from gpuctl.settings import Settings
from gpuctl.settings.model import SECRET_FIELDS

NAME = "gpu-verify"
"""Of everything here, and of the ConfigMap with the verdict."""
SCHEDULE = "*/15 * * * *"

_STACK_FILE = f"{NAME}-stack"
_FOLDER = "/etc/gpuctl"
_LABELS = {"app.kubernetes.io/name": NAME} | dict([PART_OF])
_RBAC = "rbac.authorization.k8s.io"
_SECONDS = 600
"""A run takes that long at most; a thousand nodes take a tenth of it."""
_ANYBODY = 65532
_OF_A_WORKSTATION = {"kubeconfig", "talos_apply", "talos_apply_mode", "talos_endpoint", *SECRET_FIELDS}
"""Settings that are secrets, or say nothing to who runs inside the cluster."""

Rule = dict[str, list[str]]


def verify_cronjob(settings: Settings, stack: str, image: str, schedule: str = SCHEDULE) -> list[Manifest]:
    """Its objects, in the order in which they must exist; the namespace is the stack's own.

    Args:
        settings: of the stack.
        stack: its name.
        image: one that has gpuctl on its PATH.
        schedule: when it runs, as cron writes it.
    """
    own = {"name": NAME, "namespace": settings.namespace, "labels": _LABELS}
    everywhere = {"name": NAME, "labels": _LABELS}
    file = f"Pulumi.{stack}.yaml"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own, "automountServiceAccountToken": False},
        _role("ClusterRole", everywhere, _cluster_rules(settings)),
        _binding("ClusterRole", everywhere, settings.namespace),
        _role("Role", own, _namespace_rules(settings)),
        _binding("Role", own, settings.namespace),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": own},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": own | {"name": _STACK_FILE},
            "data": {file: _stack_file(settings)},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": own,
            "spec": {
                "schedule": schedule,
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 300,
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 1,
                "jobTemplate": {
                    "spec": {
                        "backoffLimit": 0,
                        "activeDeadlineSeconds": _SECONDS,
                        "template": {"metadata": {"labels": _LABELS}, "spec": _pod(settings, stack, file, image)},
                    }
                },
            },
        },
    ]


def _cluster_rules(settings: Settings) -> list[Rule]:
    """What it may do in all namespaces: which pods use GPUs, and which compete for them, is not told otherwise."""
    by_dra = any(settings.backend_of(node) == "dra" for node in settings.nodes)
    return [
        _rule("", ["nodes", "pods"], ["list"]),
        *([_rule("resource.k8s.io", ["resourceclaims", "resourceslices"], ["list"])] if by_dra else []),
        *([_rule("", ["events"], ["list"])] if by_dra else []),
        _rule("", ["namespaces"], ["get"], [settings.namespace]),
        _rule("node.k8s.io", ["runtimeclasses"], ["get"], [RUNTIME_CLASS]),
        *([_rule("", ["events"], ["get", "create", "patch"])] if settings.memory_budget == "observe" else []),
    ]


def _namespace_rules(settings: Settings) -> list[Rule]:
    """What it may do in the namespace of the stack. Its ConfigMap exists already, so it need not create any."""
    read = [own["metadata"]["name"] for own in desired_state(settings).manifests if own["kind"] == "ConfigMap"]
    return [
        _rule("apps", ["daemonsets"], ["get", "list"]),
        _rule("", ["pods/log"], ["get"]),
        _rule("", ["configmaps"], ["get"], [*read, NAME]),
        _rule("", ["configmaps"], ["patch"], [NAME]),
        _rule("", ["events"], ["list", "create", "patch"]),
    ]


def _pod(settings: Settings, stack: str, file: str, image: str) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": NAME,
        "image": image,
        "command": ["gpuctl", "verify", "--stack", stack, "--in-cluster", "--publish", "--output", "short"],
        "env": [{"name": "PULUMI_OPTION_CONFIG_FILE", "value": f"{_FOLDER}/{file}"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": security_context(),
        "volumeMounts": [{"name": "stack", "mountPath": _FOLDER, "readOnly": True}],
    }
    return {
        "restartPolicy": "Never",
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "tolerations": tolerations(settings),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _ANYBODY,
            "runAsGroup": _ANYBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "stack", "configMap": {"name": _STACK_FILE}}],
    }


def _stack_file(settings: Settings) -> str:
    """The stack file without secrets and without what is of use on a workstation only."""
    said = settings.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=_OF_A_WORKSTATION)
    return yaml_text({"config": {f"gpu:{key}": value for key, value in said.items()}})


def _role(kind: str, metadata: dict[str, Any], rules: list[Rule]) -> Manifest:
    return {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules}


def _binding(kind: str, metadata: dict[str, Any], namespace: str) -> Manifest:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
    }


def _rule(group: str, resources: list[str], verbs: list[str], names: list[str] | None = None) -> Rule:
    rule = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return rule | {"resourceNames": names} if names else rule
