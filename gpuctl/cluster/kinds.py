"""The kinds of objects the project handles as plain data, and where the API has them."""

from typing import Any

from lightkube import generic_resource

_lightkube: Any = generic_resource  # its own types are partly unknown
_NAMESPACED = {
    "ConfigMap": ("", "v1", "configmaps"),
    "CronJob": ("batch", "v1", "cronjobs"),
    "DaemonSet": ("apps", "v1", "daemonsets"),
    "Event": ("", "v1", "events"),
    "Pod": ("", "v1", "pods"),
    "PrometheusRule": ("monitoring.coreos.com", "v1", "prometheusrules"),
    "ServiceAccount": ("", "v1", "serviceaccounts"),
}
_GLOBAL = {
    "CustomResourceDefinition": ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    "Namespace": ("", "v1", "namespaces"),
    "Node": ("", "v1", "nodes"),
    "PriorityClass": ("scheduling.k8s.io", "v1", "priorityclasses"),
    "RuntimeClass": ("node.k8s.io", "v1", "runtimeclasses"),
    "SelfSubjectAccessReview": ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
}


def resource_of(kind: str) -> Any:
    """Lightkube's class for a kind whose objects stay plain dictionaries.

    Raises:
        KeyError: the project does not handle the kind.
    """
    return _CLASSES[kind]


def api_of(kind: str) -> tuple[str, str, str]:
    """API group, version and plural of a kind.

    Raises:
        KeyError: the project does not handle the kind.
    """
    return (_NAMESPACED | _GLOBAL)[kind]


def is_namespaced(kind: str) -> bool:
    """Whether objects of the kind live in a namespace."""
    return kind in _NAMESPACED


def _class(kind: str, base: type) -> type:
    group, version, plural = api_of(kind)
    return type(kind, (base,), {"_api_info": _lightkube.create_api_info(group, version, kind, plural)})


_CLASSES = {kind: _class(kind, _lightkube.GenericNamespacedResource) for kind in _NAMESPACED} | {
    kind: _class(kind, _lightkube.GenericGlobalResource) for kind in _GLOBAL
}
