"""A stack for the Pulumi Kubernetes Operator (v2), which applies it again and again instead of a person.

The operator runs `pulumi up` in a pod of its own for each stack. The stack file names a kubeconfig context, there as
everywhere, so the pod gets a kubeconfig with that context, whichever cluster it runs in.

Fields: `StackSpec` and `WorkspaceSpec` in the operator's own Go types.
"""

from typing import Any

from gpuctl.desired.names import PART_OF, Manifest

NAMESPACE = "pulumi-kubernetes-operator"
"""Where the operator's chart is usually installed."""
SECONDS = 600
"""Between two runs: what others changed meanwhile is put back then."""

_KUBECONFIG = "/etc/gpuctl/kubeconfig"
_RBAC = "rbac.authorization.k8s.io"


def operator_stack(stack: str, repository: str, branch: str, namespace: str = NAMESPACE) -> list[Manifest]:
    """Its objects, in the order in which they must exist; all but the two Secrets, which a person makes.

    Secret `gpu-STACK` has the variables that lead Pulumi to its backend, Secret `gpu-STACK-kubeconfig` the kubeconfig.

    Args:
        stack: its name.
        repository: URL that git clones.
        branch: what is applied.
        namespace: where the operator looks for stacks.
    """
    name = f"gpu-{stack}"
    labels = {"app.kubernetes.io/name": name} | dict([PART_OF])
    own = {"name": name, "namespace": namespace, "labels": labels}
    account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own},
        {  # without it the pod cannot tell whether it is the operator that speaks to it
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{namespace}-{name}", "labels": labels},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "system:auth-delegator"},
            "subjects": [account],
        },
        {
            "apiVersion": "pulumi.com/v1",
            "kind": "Stack",
            "metadata": own,
            "spec": {
                "stack": stack,
                "projectRepo": repository,
                "branch": branch,
                "refresh": True,
                "continueResyncOnCommitMatch": True,  # else a commit that was applied once is never looked at again
                "resyncFrequencySeconds": SECONDS,
                "destroyOnFinalize": False,
                "serviceAccountName": name,
                "workspaceTemplate": {"spec": _workspace(name)},
            },
        },
    ]


def _workspace(name: str) -> dict[str, Any]:
    folder, _, file = _KUBECONFIG.rpartition("/")
    return {
        "envFrom": [{"secretRef": {"name": name}}],
        "env": [{"name": "KUBECONFIG", "value": _KUBECONFIG}],
        "podTemplate": {
            "spec": {
                "containers": [
                    {"name": "pulumi", "volumeMounts": [{"name": file, "mountPath": folder, "readOnly": True}]}
                ],
                "volumes": [{"name": file, "secret": {"secretName": f"{name}-kubeconfig"}}],
            }
        },
    }
