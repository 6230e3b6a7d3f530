"""A fragment of containerd's configuration, as a Talos node merges it: read, and checked."""

import tomllib
from collections.abc import Mapping
from typing import Any, cast

CRI_PLUGIN = "io.containerd.cri.v1.runtime"
"""containerd's plugin for Kubernetes, from containerd 2.0 on, so on every Talos line that is supported."""

_OLD_PLUGIN = "io.containerd.grpc.v1.cri"


def fragment_problems(text: str) -> list[str]:
    """What makes a fragment useless or harmful, each as the rest of a sentence; Talos takes any text without a word."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return [f"is not TOML ({error}), so containerd does not start"]
    if _OLD_PLUGIN in _table(tables, "plugins"):
        return [f"configures {_OLD_PLUGIN}, which containerd 2 does not know: it is called {CRI_PLUGIN}"]
    return []


def default_runtime_of(tables: Mapping[str, Any]) -> str | None:
    """The runtime that pods get when they ask for none; None where the tables name none."""
    return _table(tables, "plugins", CRI_PLUGIN, "containerd").get("default_runtime_name")


def _table(tables: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A table below others; empty where there is none, or another value in its place."""
    found: Any = tables
    for name in path:
        found = cast(Mapping[str, Any], found).get(name) if isinstance(found, dict) else None
    return cast(Mapping[str, Any], found) if isinstance(found, dict) else {}
