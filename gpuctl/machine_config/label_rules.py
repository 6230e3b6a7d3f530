"""Rules about the labels that a configuration gives its node."""

import re
from collections.abc import Iterator
from typing import Any

from gpuctl.machine_config.document import mapping
from gpuctl.machine_config.finding import Finding, Rule, Subject

_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_KEY = re.compile(rf"((?=.{{1,253}}/){_DNS_LABEL}(\.{_DNS_LABEL})*/)?{_NAME}")
_VALUE = re.compile(rf"({_NAME})?")
_RESERVED = ("node-restriction.kubernetes.io/", "node-role.kubernetes.io/")
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


def _labels_are_labels(subject: Subject) -> Iterator[Finding]:
    for where, labels in _places(subject):
        for key, value in labels.items():
            if value is None:
                yield Finding(
                    "label-value",
                    where,
                    f"{key} has no value and becomes empty",
                    "write a value in quotes, or remove it",
                )
            elif not _KEY.fullmatch(key) or not _VALUE.fullmatch(_text(value)):
                problem = f"{key}: {_text(value)} is no label of Kubernetes; the node cannot have it"
                yield Finding("label-value", where, problem, "63 letters, digits, dots and hyphens at most")
            if key.startswith(_RESERVED) and key != _CONTROL_PLANE:
                problem = f"{key} is one that a node may not give itself: Kubernetes refuses it"
                yield Finding("label-reserved", where, problem, "set it with kubectl label node")


def _one_place(subject: Subject) -> Iterator[Finding]:
    if len(list(_places(subject))) > 1:
        problem = "stands beside KubeNodeConfig, which excludes it"
        yield Finding("labels-twice", "machine.nodeLabels", problem, "move its labels into KubeNodeConfig.labels")


def _labels_are_those_of_the_node(subject: Subject) -> Iterator[Finding]:
    found = {key: _text(value) for _, labels in _places(subject) for key, value in labels.items()}
    for key, value in (subject.labels or {}).items():
        if subject.config.is_whole and found.get(key) != value:
            problem = f"{key} is {found.get(key, 'missing')} and should be {value}"
            yield Finding("label-differs", "node labels", problem, "gpuctl talos patch sets it")


def _places(subject: Subject) -> Iterator[tuple[str, dict[str, Any]]]:
    labels = subject.config.below("nodeLabels")
    if labels:
        yield "machine.nodeLabels", mapping(labels)
    for document in subject.config.of_kind("KubeNodeConfig"):
        yield "KubeNodeConfig.labels", mapping(document.get("labels"))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


RULES: tuple[Rule, ...] = (_labels_are_labels, _one_place, _labels_are_those_of_the_node)
