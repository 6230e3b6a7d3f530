"""The files that say what a stack file may contain, written from the model."""

import json
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from gpuctl.settings.catalogue import CATALOGUE
from gpuctl.settings.explaining import meanings
from gpuctl.settings.gpu_models import DescribedGpu
from gpuctl.settings.model import Settings
from gpuctl.settings.nodes import GpuNode

_GENERATED = "Generated from gpuctl/settings by `make generate`."
_FROM_TEXT = {"integer": r"^\d+$", "boolean": "^(true|false)$"}
"""`pulumi config set` stores numbers and truth values as texts."""
_SECRET = {"type": "object", "required": ["secure"]}
"""How `pulumi config set --secret` stores a value."""


def files() -> dict[str, str]:
    """Path in the repository -> content."""
    return {
        "Pulumi.yaml": _project(),
        "config/schema.json": json.dumps(_stack_file_schema(), indent=2) + "\n",
        "docs/configuration.md": _documentation(),
    }


def _schema() -> dict[str, Any]:
    """JSON Schema of the model, with what each key means."""
    schema = Settings.model_json_schema()
    entries = ((model, schema["$defs"][model.__name__]) for model in (GpuNode, DescribedGpu))
    for model, part in ((Settings, schema), *entries):
        texts = meanings(model)
        for name, field in model.model_fields.items():
            rule = part["properties"][field.alias]
            part["properties"][field.alias] = dict(sorted((rule | {"description": texts[name]}).items()))
    return schema


def _project() -> str:
    """Pulumi's project file. The project's name is the namespace of its keys: `gpu:slices` is `slices` of `gpu`."""
    schema = _schema()
    document = {
        "name": "gpu",
        "description": "Shares the NVIDIA GPUs of a Talos cluster between pods, at a power limit",
        "runtime": {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}},
        "stackConfigDir": "config",
        # else labels are taken from a node that is gone, which makes a Node of that name
        "options": {"refresh": "always"},
        "config": {f"gpu:{key}": _declared(rule) for key, rule in schema["properties"].items()},
    }
    return f"# {_GENERATED}\n" + yaml.safe_dump(document, sort_keys=False, width=1000, allow_unicode=True)


def _declared(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A key as Pulumi declares it.

    Pulumi demands a value for a key without a default, in words of its own; an empty one leaves that to the model,
    which reports it together with all other mistakes. For the same reason secrets are not declared `secret: true`: the
    engine then demands that also a default is encrypted, so no optional key can be one.
    """
    kind = next(option["type"] for option in rule.get("anyOf", [rule]) if option.get("type") != "null")
    items = {"items": {"type": rule["items"].get("type", "object")}} if kind == "array" else {}
    default: Any = rule.get("default")
    if default is None:
        default = [] if kind == "array" else ""
    required = "" if "default" in rule else "Required. "
    return {"type": kind, **items, "default": default, "description": required + rule["description"]}


def _stack_file_schema() -> dict[str, Any]:
    """JSON Schema of a stack file, for editors; the draft is the one their YAML language server knows."""
    schema = _schema()
    keys = {f"gpu:{key}": _also_from_text(rule) for key, rule in schema["properties"].items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": _GENERATED,
        "type": "object",
        "required": ["config"],
        "properties": {
            "config": {
                "type": "object",
                "required": [f"gpu:{key}" for key in schema["required"]],
                "properties": keys,
                "patternProperties": {"^(?!gpu:)[^:]+:": {}},
                "additionalProperties": False,
            }
        },
        "$defs": schema["$defs"],
    }


def _also_from_text(rule: Mapping[str, Any]) -> dict[str, Any]:
    options = rule.get("anyOf", [])
    if any(option.get("writeOnly") for option in options):
        return {**rule, "anyOf": [*options, _SECRET]}
    pattern = _FROM_TEXT.get(rule.get("type", ""))
    if pattern is None:
        return dict(rule)
    described = {key: rule[key] for key in ("default", "description") if key in rule}
    bounded = {key: value for key, value in rule.items() if key not in described and key != "title"}
    return described | {"anyOf": [bounded, {"type": "string", "pattern": pattern}]}


def _documentation() -> str:
    stack = _schema()
    node, gpu = stack["$defs"][GpuNode.__name__], stack["$defs"][DescribedGpu.__name__]
    return f"""\
# Stack file reference

<!-- {_GENERATED} -->

A stack file is `config/Pulumi.STACK.yaml`; every key stands under `config:`. `pulumi config set gpu:slices 8` and
`pulumi config set slices 8` write the same key. A mistake ends `pulumi preview` and `pulumi up` before anything is
changed, with one line per mistake and the command that fixes it.

| key | type | default | meaning |
|---|---|---|---|
{_rows(stack, Settings, "gpu:")}

Each entry of `gpu:nodes`:

| key | type | default | meaning |
|---|---|---|---|
{_rows(node, GpuNode, "")}

Each entry of `gpu:gpuModels`, by a key of your choice, which `gpu`, `gpus` and `gpu:powerLimits` then know:

| key | type | default | meaning |
|---|---|---|---|
{_rows(gpu, DescribedGpu, "")}

Rules that compare keys:

- A node has either `gpu` and `count` or `gpus`.
- The power limit of a GPU is what `gpu:powerLimits` says about its UUID, else the `powerLimit` of its node, else what
  `gpu:powerLimits` says about its model, else `gpu:powerLimit`. With `none`, or in a node of `powerManagement: false`,
  a GPU is left alone; so is a model of the catalogue that takes no limit, unless a key gives it one.
- A node with `powerManagement: false` has no `powerLimit`.
- A model is named by its key, or as nvidia-smi prints it. An entry of `gpu:gpuModels` counts instead of the catalogue's
  of that key, as a whole; in it `minWatts` is at most `defaultWatts`, and that at most `maxWatts`.
- A power limit must lie within the range of every known GPU it applies to; `gpu:powerLimit` and `gpu:powerLimits`
  are not compared while `gpu:powerManagement` is false.
- A model in `gpu:powerLimits` must be one that a node has and the catalogue or `gpu:gpuModels` names: by that name its
  GPUs are known.
- What a circuit feeds must fit it with every GPU at its limit: the limits of its nodes and what each node draws besides
  add up to at most `gpu:circuitWatts`, or the `circuitWatts` of a node that has a circuit of its own. A GPU left
  alone counts with its default limit; where the catalogue has none, its circuit is not checked.
- Nodes that share their GPUs in the same way have the same `profile`, and others another.
- `wholeGpus` is less than the node's GPUs, of a node with at least two slices and GPUs of one model. With UUIDs,
  `wholeGpus` and `sharedGpus` name all GPUs of the node, each UUID once in the stack; see [sharing.md](sharing.md).
- `backend: dra` needs Talos v1.13 and Kubernetes v1.36 or newer; `device-plugin` needs Talos v1.14 or older.
  `wholeGpus` and `gpu:renameByDefault` do not go with dra, nor, where every node has it, `gpu:allocationPolicy` and
  `gpu:failRequestsGreaterThanOne: false`; see [dra.md](dra.md).
- `gpu:allocationPolicy` needs device plugin v0.20 or newer: older ones silently ignore it.
- `gpu:renameByDefault` needs at least two slices on every node: a GPU that is not shared keeps its name.
  Beside whole GPUs slices are nvidia.com/gpu.shared whatever it says.
- A name in `gpu:otherGpuNodes` is not one of `gpu:nodes`.
- `gpu:talosContract`, also of a node, is never newer than `gpu:talosVersion`.
- `gpu:kubernetesVersion` must be of a line that `gpu:talosVersion` runs.
- `gpu:driverChannel` must be a driver that still, or already, knows every known GPU.
- `gpu:kernelModules` must be `proprietary` for GPUs older than Turing and `open` from Blackwell on; with a driver older
  than 545 also for GeForce and workstation GPUs, which its open modules refuse.
- `gpu:schematic` and `gpu:installerImage` exclude the keys that say what an image contains, and each other.
- They are for all nodes: none may have a driver channel or kernel modules of its own beside them, nor, beside
  `gpu:installerImage`, a Talos release.
- `gpu:installerImage` must be of `gpu:talosVersion` where its tag is a release.
- A toleration in `gpu:tolerations` is one of Kubernetes. Without `operator` it is `Equal` where there is a `value`,
  else `Exists`: `{{key: gpu}}` tolerates every taint with that key.
- `gpu:defaultRuntime` needs Talos v1.14 or older on every node: later ones have no handler nvidia.
- `gpu:criCustomization` must be TOML that containerd 2 understands, without another default runtime.
- `gpu:talosApply` needs the other three `gpu:talos...` keys beside it, and nodes whose configuration is of Talos v1.13
  or older.

## GPU catalogue

`gpuctl/data/gpus.yaml`. A model that is neither in it nor in `gpu:gpuModels` is accepted with a warning that names the
checks it loses: the range that the GPU reports decides.

| gpu | name | product line | generation | memory (MiB) | power limit (W) | default (W) | confidence |
|---|---|---|---|--:|---|--:|---|
{_catalogue()}
"""


def _rows(schema: Mapping[str, Any], model: type[BaseModel], prefix: str) -> str:
    required = {field.alias for field in model.model_fields.values() if field.is_required()}
    return "\n".join(
        f"| `{prefix}{key}` | {_allowed(rule)} | {_default(rule, required=key in required)} "
        f"| {' '.join(rule['description'].split())} |"
        for key, rule in schema["properties"].items()
    )


def _allowed(rule: Mapping[str, Any]) -> str:
    options = [option for option in rule.get("anyOf", [rule]) if option.get("type") != "null"]
    if len(options) > 1 and options[-1].get("type") == "array":
        return f"{_allowed(options[0])}, or a list"
    option = options[0]
    if option.get("writeOnly"):
        return "secret text"
    if "enum" in option:
        return " or ".join(f"`{value}`" for value in option["enum"])
    if "minimum" in option:
        return f"{option['minimum']} to {option['maximum']}"
    return {"string": "text", "boolean": "true or false", "array": "list", "object": "mapping"}[option["type"]]


def _default(rule: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    return "unset" if rule["default"] is None else f"`{json.dumps(rule['default']).strip(chr(34))}`"


def _catalogue() -> str:
    return "\n".join(
        f"| `{key}` | {model.name} | {model.product} | {model.generation} | {model.memory_mib or 'shared'} "
        f"| {model.watts if model.has_limit else 'none'} | {model.watts.default or 'unknown'} | {model.confidence} |"
        for key, model in CATALOGUE.items()
    )
