"""The kinds of objects the project handles, and where the API has them."""

from urllib.parse import quote

_NAMESPACED = {
    "ConfigMap": ("", "v1", "configmaps"),
    "CronJob": ("batch", "v1", "cronjobs"),
    "DaemonSet": ("apps", "v1", "daemonsets"),
    "Deployment": ("apps", "v1", "deployments"),
    "Event": ("", "v1", "events"),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies"),
    "Pod": ("", "v1", "pods"),
    "PrometheusRule": ("monitoring.coreos.com", "v1", "prometheusrules"),
    "ResourceClaim": ("resource.k8s.io", "v1", "resourceclaims"),
    "ReplicaSet": ("apps", "v1", "replicasets"),
    "ServiceAccount": ("", "v1", "serviceaccounts"),
}
_GLOBAL = {
    "ClusterPolicy": ("nvidia.com", "v1", "clusterpolicies"),
    "ClusterRole": ("rbac.authorization.k8s.io", "v1", "clusterroles"),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io", "v1", "clusterrolebindings"),
    "CustomResourceDefinition": ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    "DeviceClass": ("resource.k8s.io", "v1", "deviceclasses"),
    "Namespace": ("", "v1", "namespaces"),
    "Node": ("", "v1", "nodes"),
    "PriorityClass": ("scheduling.k8s.io", "v1", "priorityclasses"),
    "ResourceSlice": ("resource.k8s.io", "v1", "resourceslices"),
    "RuntimeClass": ("node.k8s.io", "v1", "runtimeclasses"),
    "SelfSubjectAccessReview": ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    "ValidatingAdmissionPolicy": ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"),
}


def is_known(kind: str) -> bool:
    """Whether the project handles a kind."""
    return kind in _NAMESPACED or kind in _GLOBAL


def is_namespaced(kind: str) -> bool:
    """Whether the objects of a kind are each in a namespace."""
    return kind in _NAMESPACED


def api_of(kind: str) -> tuple[str, str, str]:
    """API group, version and plural of a kind.

    Raises:
        KeyError: the project does not handle the kind.
    """
    return (_NAMESPACED | _GLOBAL)[kind]


def api_version(kind: str) -> str:
    """What an object of the kind has as its `apiVersion`."""
    group, version, _ = api_of(kind)
    return f"{group}/{version}" if group else version


def path_of(kind: str, namespace: str | None = None, *names: str) -> str:
    """The path of a kind's objects, of one that is named, or of its subresource; a namespace counts where it can."""
    _, _, plural = api_of(kind)
    root = "apis" if "/" in (version := api_version(kind)) else "api"
    place = ["namespaces", namespace] if namespace and is_namespaced(kind) else []
    return "/".join(["", root, version, *(quote(part, safe="") for part in (*place, plural, *names))])
