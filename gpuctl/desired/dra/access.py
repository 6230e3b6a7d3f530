"""What the DRA driver may do in the API, and by which class of devices pods ask for its GPUs."""

from typing import Any

from gpuctl.desired.dra import DRIVER, NAME
from gpuctl.desired.names import Manifest, labels
from gpuctl.desired.sharing import RESOURCE

OWN_SLICES = f"{NAME}-own-slices"
"""Of the admission policy, and of its binding."""
_RBAC = "rbac.authorization.k8s.io"
_DRA = "resource.k8s.io"
_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
    {"apiGroups": [_DRA], "resources": ["resourceclaims"], "verbs": ["get"]},
    {"apiGroups": [_DRA], "resources": ["resourceslices"], "verbs": ["list", "watch", "create", "update", "delete"]},
]
"""What the driver v0.5.0 was seen to ask for, by the API server's audit log; upstream grants more."""


def access(namespace: str) -> dict[str, Manifest]:
    """The driver's account with its rights, and what keeps it from the slices of other nodes, by names for Pulumi.

    RBAC knows no owner of a ResourceSlice: whoever gets hold of one node's token could advertise GPUs for all.
    """
    everywhere = {"name": NAME, "labels": labels(NAME)}
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": NAME}
    policy = {"name": OWN_SLICES, "labels": labels(NAME)}
    binding = {"policyName": OWN_SLICES, "validationActions": ["Deny"]}
    own = {"name": NAME, "namespace": namespace, "labels": labels(NAME)}
    return {
        NAME: {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own},
        f"{NAME}-role": {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": everywhere, "rules": _RULES},
        f"{NAME}-role-binding": _binding(everywhere, role, account),
        OWN_SLICES: _admission("ValidatingAdmissionPolicy", policy, _own_slices(namespace)),
        f"{OWN_SLICES}-binding": _admission("ValidatingAdmissionPolicyBinding", policy, binding),
    }


def device_class() -> Manifest:
    """The class of whole GPUs, by which the scheduler turns `nvidia.com/gpu: 1` into a claim for one share."""
    is_gpu = f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'"
    return {
        "apiVersion": f"{_DRA}/v1",
        "kind": "DeviceClass",
        "metadata": {"name": DRIVER, "labels": labels(NAME)},
        "spec": {"extendedResourceName": RESOURCE, "selectors": [{"cel": {"expression": is_gpu}}]},
    }


def _binding(metadata: dict[str, Any], role: dict[str, str], account: dict[str, str]) -> Manifest:
    kind = {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRoleBinding"}
    return kind | {"metadata": metadata, "roleRef": role, "subjects": [account]}


def _admission(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> Manifest:
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _own_slices(namespace: str) -> dict[str, Any]:
    """By the node's name in the token, which the kubelet has for a pod of its own node only.

    It is bound to the account that the DaemonSet runs as: a policy that names another one, as upstream's does in
    v0.5.0, applies to nobody.
    """
    account = f"system:serviceaccount:{namespace}:{NAME}"
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [_DRA],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE", "DELETE"],
                    "resources": ["resourceslices"],
                }
            ]
        },
        "matchConditions": [{"name": "the-driver", "expression": f"request.userInfo.username == '{account}'"}],
        "variables": [
            {
                "name": "mine",
                "expression": "request.userInfo.extra[?'authentication.kubernetes.io/node-name'][0].orValue('')",
            },
            {"name": "slice", "expression": "request.operation == 'DELETE' ? oldObject : object"},
        ],
        "validations": [
            {
                "expression": "variables.mine != '' && variables.slice.spec.?nodeName.orValue('') == variables.mine",
                "messageExpression": "'the driver on node ' + variables.mine + ' may change the ResourceSlices of that "
                "node only'",
            },
            {
                "expression": f"variables.slice.spec.driver == '{DRIVER}'",
                "message": f"the driver may change ResourceSlices of {DRIVER} only",
            },
        ],
    }
