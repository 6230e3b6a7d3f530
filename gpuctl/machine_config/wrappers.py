"""Machine configurations inside the files of other tools: talhelper, Omni, Cluster API and Sidero.

What these tools make of their files is theirs; here the parts are found that become machine configuration.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from gpuctl.machine_config.document import (
    Document,
    MachineConfig,
    MachineConfigError,
    config_of,
    inside,
    mapping,
    parse,
    sequence,
    yaml_documents,
)

_WITH_PATCHES = ("TalosConfig", "TalosConfigTemplate", "TalosControlPlane", "Server", "ServerClass")
"""Kinds of Cluster API's Talos providers and of Sidero that have patches."""


@dataclass(frozen=True)
class Part:
    """A machine configuration, or a patch for one, inside a file."""

    config: MachineConfig
    where: str = ""
    """Such as `nodes[0] (gpu-1)`; empty where the whole file is one."""
    talos_version: str | None = None
    """As the file says it."""

    @property
    def is_about_gpus(self) -> bool:
        """Whether it has anything of NVIDIA's; nodes without a GPU are in such files as well."""
        config = self.config
        return "nvidia" in str((config.documents, config.extensions, config.kernel_arguments)).lower()


def parts_of(text: str) -> list[Part]:
    """What of a file becomes machine configuration; the file itself where no other tool wraps it.

    Raises:
        MachineConfigError: nothing of it does, or a part cannot be read.
    """
    documents = yaml_documents(text)
    for wrapper in (_talhelper, _omni_template, _resources):
        if found := list(wrapper(documents)):
            return found
    return [Part(config_of(documents))]


def _talhelper(documents: list[Any]) -> Iterator[Part]:
    """talconfig.yaml: what a node says comes after what its role and the cluster say."""
    for document in documents:
        if "clusterName" not in mapping(document) or "nodes" not in document:
            continue
        for index, entry in enumerate(sequence(document["nodes"])):
            node = mapping(entry)
            role = "controlPlane" if _is_true(node.get("controlPlane")) else "worker"
            common = mapping(document.get(role))
            where = f"nodes[{index}] ({node.get('hostname')})"
            levels = [document, node] if _is_true(node.get("overridePatches")) else [document, common, node]
            patches = [patch for level in levels for patch in sequence(level.get("patches"))]
            version = _version(document.get("talosVersion"))
            fields = _node_fields(common | node, version)
            if not any(map(_is_elsewhere, patches)):  # else what seems to be missing may stand there
                fields["type"] = role.lower()
            config = _joined([MachineConfig(({"machine": fields},)), *_patches(where, patches)])
            schematic = node.get("schematic") or common.get("schematic")
            yield Part(_with_schematic(config, inside(schematic, "customization")), where, version)


def _node_fields(node: Document, version: str | None) -> Document:
    """The fields of talhelper's own that become fields of `machine`."""
    machine: Document = {"nodeLabels": mapping(node.get("nodeLabels"))}
    if node.get("kernelModules"):
        machine["kernel"] = {"modules": node["kernelModules"]}
    if node.get("machineFiles"):
        machine["files"] = node["machineFiles"]
    if image := node.get("talosImageURL"):
        machine["install"] = {"image": f"{image}:{version}"}
    return machine


def _omni_template(documents: list[Any]) -> Iterator[Part]:
    """A cluster template of Omni: every document may have patches and extensions."""
    kinds = ("Cluster", "ControlPlane", "Workers", "Machine")  # no set: a kind may be of any type
    found = [document for document in map(mapping, documents) if document.get("kind") in kinds]
    of_omni = [document for document in found if "apiVersion" not in document]
    version = next((_version(inside(each, "talos", "version")) for each in of_omni if inside(each, "talos")), None)
    for document in of_omni:
        where = " ".join(str(document[key]) for key in ("kind", "name") if key in document)
        patches = [mapping(patch).get("inline") for patch in sequence(document.get("patches"))]
        config = _joined(_patches(where, [patch for patch in patches if patch]))
        extensions, arguments = document.get("systemExtensions"), document.get("kernelArgs")
        yield Part(_with_image(config, extensions, arguments), where, version)


def _resources(documents: list[Any]) -> Iterator[Part]:
    """Objects of Omni, of Cluster API's Talos providers and of Sidero, also in a list as kubectl prints them."""
    for document in (each for one in map(mapping, documents) for each in _listed(one)):
        kind = str(inside(document, "metadata", "type")).partition(".")[0]
        if kind == "ConfigPatches":
            name = f"ConfigPatch {inside(document, 'metadata', 'id')}"
            yield from (Part(config, name) for config in _patches(name, [inside(document, "spec", "data")]))
        if kind == "ExtensionsConfigurations":
            name = f"ExtensionsConfiguration {inside(document, 'metadata', 'id')}"
            yield Part(_with_image(MachineConfig(()), inside(document, "spec", "extensions"), None), name)
        if str(document.get("kind")) in _WITH_PATCHES:
            name = f"{document['kind']} {inside(document, 'metadata', 'name')}"
            for path, spec in _specs(document.get("spec"), "spec"):
                data = [spec["data"]] if spec.get("data") else []
                patches = [*sequence(spec.get("strategicPatches")), *data]
                where, version = f"{name}, {path}", _version(spec.get("talosVersion"))
                for config in (*_patches(where, patches), *_written_out(spec.get("configPatches"))):
                    yield Part(config, where, version)


def _listed(document: Document) -> list[Document]:
    """The object, or those of a list of Kubernetes."""
    return [mapping(each) for each in sequence(document.get("items"))] if document.get("kind") == "List" else [document]


def _specs(value: Any, path: str) -> Iterator[tuple[str, Document]]:
    """The bootstrap configurations in an object of Cluster API, wherever its kind has them."""
    fields = mapping(value)
    if "generateType" in fields or "strategicPatches" in fields or "configPatches" in fields:
        yield path, fields
        return
    for key, part in fields.items():
        yield from _specs(part, f"{path}.{key}")


def _patches(where: str, patches: list[Any]) -> Iterator[MachineConfig]:
    """Patches as a text or as YAML in the file; one in a file of its own (`@path`) is left to a check of that file."""
    for index, patch in enumerate(patches):
        try:
            if not _is_elsewhere(patch):
                yield parse(patch) if isinstance(patch, str) else config_of([patch])
        except MachineConfigError as error:
            raise MachineConfigError(f"has a patch that cannot be read: {where}, patch {index}: {error}") from error


def _is_elsewhere(patch: Any) -> bool:
    return isinstance(patch, str) and patch.startswith("@")


def _written_out(operations: Any) -> Iterator[MachineConfig]:
    """JSON6902 as Cluster API takes it, as the fields that it adds."""
    fields: Document = {}
    for operation in map(mapping, sequence(operations)):
        if operation.get("op") in ("add", "replace"):
            value = operation.get("value")
            for key in reversed(str(operation.get("path")).strip("/").split("/")):
                name = key.replace("~1", "/").replace("~0", "~")
                value = [value] if name == "-" or name.isdigit() else {name: value}
            _merge(fields, mapping(value))
    if fields:
        yield config_of([fields])


def _joined(configs: list[MachineConfig] | Iterator[MachineConfig]) -> MachineConfig:
    """One after the other, as far as they are strategic merges: mappings merge and lists append."""
    every = list(configs)
    fields: Document = {}
    others: list[Document] = []
    for document in (document for config in every for document in config.kept):
        if "kind" in document:
            others.append(document)
        else:
            _merge(fields, document)
    whole = [fields] if fields else []
    return MachineConfig((*whole, *others), operations=any(config.operations for config in every))


def _merge(fields: Document, other: Document) -> None:
    for key, value in other.items():
        present = fields.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            _merge(mapping(present), mapping(value))
        elif isinstance(value, list) and isinstance(present, list):
            fields[key] = [*sequence(present), *sequence(value)]
        else:
            fields[key] = value


def _with_schematic(config: MachineConfig, customization: Any) -> MachineConfig:
    extensions = inside(customization, "systemExtensions", "officialExtensions")
    return _with_image(config, extensions, inside(customization, "extraKernelArgs"))


def _with_image(config: MachineConfig, extensions: Any, arguments: Any) -> MachineConfig:
    """With what the file says of the boot image."""
    names, words = (tuple(map(str, sequence(values))) for values in (extensions, arguments))
    return replace(config, extensions=names, kernel_arguments=words)


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def _version(value: Any) -> str | None:
    """With the leading v, which these tools may leave out."""
    return f"v{str(value).removeprefix('v')}" if value else None
