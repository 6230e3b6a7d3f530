"""Rules about the labels that a configuration gives its node."""

import re
from collections.abc import Iterator

from gpuctl.desired.names import contested
from gpuctl.machine_config.finding import Finding, Rule, Subject
from gpuctl.machine_config.presence import label_text, node_labels

_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_KEY = re.compile(rf"((?=.{{1,253}}/){_DNS_LABEL}(\.{_DNS_LABEL})*/)?{_NAME}")
_VALUE = re.compile(rf"({_NAME})?")
_RESERVED = ("node-restriction.kubernetes.io/", "node-role.kubernetes.io/")
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


def _labels_are_labels(subject: Subject) -> Iterator[Finding]:
    for where, labels in node_labels(subject.config):
        for key, value in labels.items():
            if value is None:
                yield Finding(
                    "label-value",
                    where,
                    f"{key} has no value and becomes empty",
                    "write a value in quotes, or remove it",
                )
            elif not _KEY.fullmatch(key) or not _VALUE.fullmatch(label_text(value)):
                problem = f"{key}: {label_text(value)} is no label of Kubernetes; the node cannot have it"
                yield Finding("label-value", where, problem, "63 letters, digits, dots and hyphens at most")
            if key.startswith(_RESERVED) and key != _CONTROL_PLANE:
                problem = f"{key} is one that a node may not give itself: Kubernetes refuses it"
                yield Finding("label-reserved", where, problem, "set it with kubectl label node")


def _one_place(subject: Subject) -> Iterator[Finding]:
    if len(node_labels(subject.config)) > 1:
        problem = "stands beside KubeNodeConfig, which excludes it"
        yield Finding("labels-twice", "machine.nodeLabels", problem, "move its labels into KubeNodeConfig.labels")


def _labels_are_those_of_the_node(subject: Subject) -> Iterator[Finding]:
    found = {key: label_text(value) for _, labels in node_labels(subject.config) for key, value in labels.items()}
    for key, value in (subject.labels or {}).items():
        if subject.config.is_whole and found.get(key) != value:
            problem = f"{key} is {found.get(key, 'missing')} and should be {value}"
            yield Finding("label-differs", "node labels", problem, "gpuctl talos patch sets it")


def _the_stacks_labels_are_its_own(subject: Subject) -> Iterator[Finding]:
    """Two owners of a label agree only until one of them changes it."""
    for where, labels in node_labels(subject.config):
        found = {key: label_text(value) for key, value in labels.items()}
        for key in contested(found, subject.labels_of_the_stack):
            problem = f"{key} is set by the stack as well: Talos holds it against other slices and after a destroy"
            yield Finding("label-owner", where, problem, "gpuctl talos patch --config takes it out")


RULES: tuple[Rule, ...] = (
    _labels_are_labels,
    _one_place,
    _labels_are_those_of_the_node,
    _the_stacks_labels_are_its_own,
)
