"""The fragment of containerd's configuration that a GPU node gets; only when the settings ask for one."""

import tomllib
from typing import Any

import tomli_w

from gpuctl.desired.names import RUNTIME_CLASS
from gpuctl.settings import Settings
from gpuctl.settings.cri_fragment import CRI_PLUGIN


def cri_fragment(settings: Settings, existing: str | None = None) -> str | None:
    """The whole fragment; None when the settings ask for none.

    Talos lets a configuration create one such file, so what a node has there already is merged into it.

    Args:
        settings: of the cluster.
        existing: the fragment in the node's configuration; the settings win over it.
    """
    if not settings.default_runtime and not settings.cri_customization:
        return None
    tables: dict[str, Any] = tomllib.loads(existing or "")
    _merge(tables, tomllib.loads(settings.cri_customization or ""))
    if settings.default_runtime:
        _merge(tables, {"plugins": {CRI_PLUGIN: {"containerd": {"default_runtime_name": RUNTIME_CLASS}}}})
    return tomli_w.dumps(tables)


def _merge(tables: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tables.get(key), dict):
            _merge(tables[key], value)  # pyright: ignore[reportUnknownArgumentType]
        else:
            tables[key] = value
