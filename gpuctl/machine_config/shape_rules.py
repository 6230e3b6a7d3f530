"""Rules about the documents as such."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from gpuctl.machine_config.finding import Finding, Rule, Subject
from gpuctl.settings.talos_rules import DOCUMENTS_FROM

_KINDS_FROM_V1_14 = frozenset(
    {
        "CRICustomizationConfig",
        "EtcFileConfig",
        "KernelModuleConfig",
        "KubeNodeConfig",
        "SysctlConfig",
        "UnattendedInstallConfig",
    }
)
"""Those that say what a GPU node needs; for Talos v1.13 they are an error."""


def _no_operations(subject: Subject) -> Iterator[Finding]:
    if subject.config.operations:
        yield Finding(
            "operations",
            "the file",
            "is a JSON6902 patch, which Talos refuses for a configuration of several documents, so from v1.12 on",
            "write it as the configuration it should become",
        )


def _not_empty(subject: Subject) -> Iterator[Finding]:
    if not subject.config.documents and not subject.config.operations:
        problem = "holds nothing; Talos takes an empty patch for a JSON6902 patch"
        yield Finding("empty", "the file", problem, "do not apply it")


def _known_kinds(subject: Subject) -> Iterator[Finding]:
    for document in subject.config.documents:
        kind = str(document.get("kind"))
        if kind in _KINDS_FROM_V1_14 and subject.minor < DOCUMENTS_FROM:
            problem = f"is a document of Talos v1.14; {subject.talos_version} refuses the whole configuration"
            yield Finding("kind", kind, problem, "use the field of `machine`: gpuctl talos patch")


def _documents_once(subject: Subject) -> Iterator[Finding]:
    names = Counter((document.get("kind"), document.get("name")) for document in subject.config.documents)
    for (kind, name), times in names.items():
        if times > 1:
            where = "/".join(str(part) for part in (kind or "machine", name) if part)
            yield Finding("document-twice", where, "stands there twice, an error up to Talos v1.13", "join the two")


def _no_deletions(subject: Subject) -> Iterator[Finding]:
    for document in subject.config.documents:
        if _deletes(document) and (subject.minor < DOCUMENTS_FROM or "$patch" not in document):
            kind = str(document.get("kind", "machine"))
            problem = "deletes something; where that is absent Talos fails, and up to v1.13 it panics"
            yield Finding("deletion", kind, problem, "make sure that it is there, or remove it by hand")


def _deletes(value: Any) -> bool:
    if isinstance(value, dict):
        entries = cast(dict[str, Any], value)
        return "$patch" in entries or any(_deletes(entry) for entry in entries.values())
    return isinstance(value, list) and any(_deletes(entry) for entry in cast(list[Any], value))


RULES: tuple[Rule, ...] = (_no_operations, _not_empty, _known_kinds, _documents_once, _no_deletions)
