"""Rules about the documents as such."""

from collections import Counter
from collections.abc import Iterator

from gpuctl.machine_config.document import PATCH, directives
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

_IN_EVERY_CONTROL_PLANE = frozenset(
    {
        ("machine", "nodeLabels", "node.kubernetes.io/exclude-from-external-load-balancers"),
        ("cluster", "apiServer", "admissionControl"),
        ("cluster", "apiServer", "auditPolicy"),
    }
)
"""What Talos' own library writes into the configuration of every control-plane node, and people delete."""


def _no_operations(subject: Subject) -> Iterator[Finding]:
    if subject.config.operations:
        yield Finding(
            "operations",
            "the file",
            "is a JSON6902 patch, which Talos refuses for a configuration of several documents, so from v1.12 on",
            "write it as the configuration it should become",
        )


def _not_empty(subject: Subject) -> Iterator[Finding]:
    config = subject.config
    if not (config.documents or config.operations or config.extensions or config.kernel_arguments):
        problem = "holds nothing; Talos takes an empty patch for a JSON6902 patch"
        yield Finding("empty", "the file", problem, "do not apply it")


def _known_kinds(subject: Subject) -> Iterator[Finding]:
    for document in subject.config.documents:
        kind = str(document.get("kind"))
        if kind in _KINDS_FROM_V1_14 and subject.minor < DOCUMENTS_FROM:
            problem = f"is a document of Talos v1.14; {subject.talos_version} refuses the whole configuration"
            yield Finding("kind", kind, problem, "use the field of `machine`: gpuctl talos patch")


def _documents_once(subject: Subject) -> Iterator[Finding]:
    names = Counter(
        (str(document.get("kind", "machine")), str(document.get("name", ""))) for document in subject.config.documents
    )
    for parts, times in names.items():
        if times > 1:
            where = "/".join(filter(None, parts))
            yield Finding("document-twice", where, "appears twice, an error up to Talos v1.13", "join the two")


def _deletions_find_what_they_delete(subject: Subject) -> Iterator[Finding]:
    """Talos fails where that is absent, and up to v1.13 it panics."""
    for document in subject.config.documents:
        kind = str(document.get("kind", "machine"))
        for path, directive in directives(document):
            if directive != "delete":
                problem = f"{PATCH}: {directive} is no directive of Talos, which knows delete alone"
                yield Finding(
                    "directive", ".".join(path) or kind, problem, "delete it in one patch, set it in the next"
                )
            elif not _is_there(path, kind) and (subject.minor < DOCUMENTS_FROM or path):
                problem = "deletes something; where that is absent Talos fails, and up to v1.13 it panics"
                where = ".".join((kind, *path)) if "kind" in document else ".".join(path)
                yield Finding("deletion", where, problem, "make sure that it is there, or remove it by hand")


def _is_there(path: tuple[str, ...], kind: str) -> bool:
    return path in _IN_EVERY_CONTROL_PLANE or (kind == "HostnameConfig" and not path)


RULES: tuple[Rule, ...] = (
    _no_operations,
    _not_empty,
    _known_kinds,
    _documents_once,
    _deletions_find_what_they_delete,
)
