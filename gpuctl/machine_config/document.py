"""The documents of a machine configuration, or of a patch for one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from gpuctl.machine_config.yaml_text import documents_in

Document = dict[str, Any]

PATCH = "$patch"
"""The key of a strategic merge's directive; Talos knows one, `delete`."""
_FIELDS = frozenset({"version", "debug", "persist", "machine", "cluster", PATCH})
"""What the document without a kind may have."""
_API_VERSION = "v1alpha1"


class MachineConfigError(Exception):
    """A text is no machine configuration; says what it seems to be."""


@dataclass(frozen=True)
class MachineConfig:
    """The documents of a configuration or of a patch; read with care, because any value may be of any type."""

    documents: tuple[Document, ...]
    """As they are written, with the directives of a strategic merge."""
    operations: bool = False
    """Whether the text is a JSON6902 patch, a list of operations."""
    extensions: tuple[str, ...] = ()
    """The official extensions of a schematic that stands in the same file."""
    kernel_arguments: tuple[str, ...] = ()
    """The kernel arguments of such a schematic."""

    @property
    def is_whole(self) -> bool:
        """Whether it is the configuration of a machine, and not a patch for one."""
        return "type" in self.machine

    @cached_property
    def kept(self) -> tuple[Document, ...]:
        """The documents without what a directive deletes, and without the directives."""
        return tuple(_kept(document) for document in self.documents if not _is_deleted(document))

    @property
    def machine(self) -> Document:
        """The fields of `machine`; empty where there are none."""
        for document in self.kept:
            if "kind" not in document:
                return mapping(document.get("machine"))
        return {}

    def of_kind(self, kind: str) -> list[Document]:
        """The documents of one kind, without those of a patch that delete one."""
        return [each for each in self.kept if each.get("kind") == kind]

    def entries(self, *path: str) -> list[Document]:
        """The mappings in a list below `machine`."""
        return [mapping(entry) for entry in sequence(self.below(*path))]

    def below(self, *path: str) -> Any:
        """A value below `machine`; None where there is none."""
        return inside(self.machine, *path)


def inside(value: Any, *path: str) -> Any:
    """A value inside nested mappings; None where there is none."""
    for key in path:
        value = mapping(value).get(key)
    return value


def mapping(value: Any) -> Document:
    """The value if it is a mapping, else an empty one."""
    return cast(Document, value) if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return cast(list[Any], value) if isinstance(value, list) else []


def directives(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every directive of a strategic merge with the path to what it is about, the keys and indices."""
    if PATCH in mapping(value):
        yield path, value[PATCH]
    parts = mapping(value).items() if isinstance(value, dict) else enumerate(sequence(value))
    for key, part in parts:
        yield from directives(part, (*path, str(key)))


def parse(text: str) -> MachineConfig:
    """Reads a configuration or a patch.

    Raises:
        MachineConfigError: it is neither.
    """
    return config_of(yaml_documents(text))


def yaml_documents(text: str) -> list[Any]:
    """The documents of a text, out of what `talosctl get machineconfig -o yaml` prints around them.

    Raises:
        MachineConfigError: it is not YAML, or has the configurations of several nodes.
    """
    try:
        documents = documents_in(text)
    except ValueError as error:
        raise MachineConfigError(str(error)) from error
    resources = [document for document in documents if _is_resource(document)]
    nodes = dict.fromkeys(str(document.get("node")) for document in resources)
    if len(nodes) > 1:
        raise MachineConfigError(f"has the configurations of several nodes, {', '.join(nodes)}: write one into a file")
    return yaml_documents(resources[0]["spec"]) if resources else documents


def config_of(documents: list[Any]) -> MachineConfig:
    """The configuration or patch of these documents.

    Raises:
        MachineConfigError: one of them is none of Talos'.
    """
    if any(isinstance(document, list) for document in documents):
        return _operations(documents)
    for document in documents:
        if not _is_of_talos(document):
            raise MachineConfigError(f"is no Talos machine configuration, nor a patch for one: {_described(document)}")
    return MachineConfig(tuple(documents))


def _operations(documents: list[Any]) -> MachineConfig:
    entries = [entry for document in documents for entry in sequence(document)]
    if not all({"op", "path"} <= mapping(entry).keys() for entry in entries):
        raise MachineConfigError("is no Talos machine configuration, nor a patch for one: it is a list")
    return MachineConfig((), operations=True)


def _is_of_talos(document: Any) -> bool:
    """Whether it is a document of the configuration: of a kind in Talos' own API, or the one without a kind."""
    fields = mapping(document)
    if "kind" in fields:
        return fields.get("apiVersion") == _API_VERSION
    return bool(fields) and fields.keys() <= _FIELDS and bool(fields.keys() & {"machine", "cluster", "version"})


def _described(document: Any) -> str:
    """What a document seems to be that is none of Talos'."""
    fields = mapping(document)
    if not isinstance(document, Mapping):
        return "it holds something else than mappings"
    for keys, meaning in _OTHER_FILES.items():
        if set(keys) <= fields.keys():
            return f"it seems to be {meaning}"
    known, unknown = fields.keys() & _FIELDS, sorted(fields.keys() - _FIELDS)
    if known & {"machine", "cluster"}:
        return f"beside machine and cluster it has {', '.join(unknown)}"
    return f"it has none of machine, cluster and a kind of Talos, but {', '.join(unknown[:5]) or 'nothing'}"


_OTHER_FILES = {
    ("clusterName", "nodes"): "a talconfig.yaml of talhelper",
    ("contexts", "context"): "a talosconfig, the file of talosctl",
    ("contexts", "clusters"): "a kubeconfig",
    ("customization",): "a schematic of the Image Factory",
    ("overlay",): "a schematic of the Image Factory",
    ("config",): "a stack file of Pulumi",
    ("apiVersion", "kind", "metadata"): "an object of Kubernetes or Omni",
    ("secrets", "trustdinfo"): "the secrets of a cluster",
    ("kind",): "a document of another API than Talos' v1alpha1",
}
"""Keys that a file of another kind has -> what it is; the first that fits."""


def _is_deleted(value: Any) -> bool:
    return mapping(value).get(PATCH) == "delete"


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        parts = cast(Document, value).items()
        return {key: _kept(part) for key, part in parts if key != PATCH and not _is_deleted(part)}
    if isinstance(value, list):
        return [_kept(part) for part in cast(list[Any], value) if not _is_deleted(part)]
    return value


def _is_resource(document: Any) -> bool:
    """Whether it is what `talosctl get machineconfig -o yaml` prints, with the configuration as a text in it."""
    kind = str(inside(document, "metadata", "type"))
    return kind.startswith("MachineConfigs.") and isinstance(document.get("spec"), str)
