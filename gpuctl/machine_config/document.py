"""The documents of a machine configuration, read as Talos reads them.

Talos' YAML is 1.2: `0o600` and `0600` are numbers, `yes` is a text, and so is what looks like a date.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

Document = dict[str, Any]


class MachineConfigError(Exception):
    """A text is not YAML, or not a list of mappings."""


@dataclass(frozen=True)
class MachineConfig:
    """The documents of a configuration or of a patch; read with care, because any value may be of any type."""

    documents: tuple[Document, ...]
    operations: bool = False
    """Whether the text is a JSON6902 patch, a list of operations."""

    @property
    def is_whole(self) -> bool:
        """Whether it is the configuration of a machine, and not a patch for one."""
        return "type" in self.machine

    @property
    def machine(self) -> Document:
        """The fields of `machine`; empty where there are none."""
        for document in self.documents:
            if "kind" not in document:
                return mapping(document.get("machine"))
        return {}

    def of_kind(self, kind: str) -> list[Document]:
        """The documents of one kind, without those of a patch that delete one."""
        return [each for each in self.documents if each.get("kind") == kind and "$patch" not in each]

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


def parse(text: str) -> MachineConfig:
    """Reads a configuration or a patch.

    Raises:
        MachineConfigError: it is neither.
    """
    try:
        documents = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.YAMLError as error:
        raise MachineConfigError(f"is not YAML: {' '.join(str(error).split())}") from error
    if any(isinstance(document, list) for document in documents):
        return MachineConfig((), operations=True)
    if not all(isinstance(document, Mapping) for document in documents):
        raise MachineConfigError("is no Talos machine configuration: it holds something else than mappings")
    resources = [document["spec"] for document in documents if _is_resource(document)]
    return parse(resources[0]) if resources else MachineConfig(tuple(documents))


def _is_resource(document: Document) -> bool:
    """Whether it is what `talosctl get machineconfig -o yaml` prints, with the configuration as a text in it."""
    kind = str(inside(document, "metadata", "type"))
    return kind.startswith("MachineConfigs.") and isinstance(document.get("spec"), str)


_TAG = "tag:yaml.org,2002:"
_TRUTH_VALUE = re.compile(r"true|True|TRUE|false|False|FALSE")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0[0-7]+|0o[0-7]+|0x[0-9a-fA-F]+")
_LEGACY_OCTAL = re.compile(r"0[0-7]+")


class _Loader(yaml.SafeLoader):
    """PyYAML's rules for plain texts, but those in which YAML 1.1 differs."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            if _TRUTH_VALUE.fullmatch(value):
                return f"{_TAG}bool"
            if _NUMBER.fullmatch(value):
                return f"{_TAG}int"
        base: Any = super()  # its types are unknown
        resolved: str = base.resolve(kind, value, implicit)
        return f"{_TAG}str" if resolved.removeprefix(_TAG) in ("bool", "int", "timestamp") else resolved


def _number(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = str(node.value)
    return int(digits, 8 if _LEGACY_OCTAL.fullmatch(digits) else 0)


_Loader.add_constructor(f"{_TAG}int", _number)
