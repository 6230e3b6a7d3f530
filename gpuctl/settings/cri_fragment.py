"""A fragment of containerd's configuration, as a Talos node merges it: read, and checked."""

import tomllib
from typing import Any

from gpuctl.settings.refusal import RemoveKey, SettingRefused

CRI_PLUGIN = "io.containerd.cri.v1.runtime"
"""containerd's plugin for Kubernetes, from containerd 2.0 on, so on every Talos line that is supported."""

_OLD_PLUGIN = "io.containerd.grpc.v1.cri"


def fragment_problems(text: str) -> list[str]:
    """What makes a fragment useless or harmful, each as the rest of a sentence; Talos takes any text without a word."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [f"is not TOML ({error}), so containerd does not start"]
    if _OLD_PLUGIN in tables.get("plugins", {}):
        return [f"configures {_OLD_PLUGIN}, which containerd 2 does not know: it is called {CRI_PLUGIN}"]
    return []


def default_runtime_of(tables: dict[str, Any]) -> str | None:
    """The runtime that pods get when they ask for none."""
    return tables.get("plugins", {}).get(CRI_PLUGIN, {}).get("containerd", {}).get("default_runtime_name")


def check_fragment(text: str, *, default_runtime: bool) -> None:
    """Refuses a fragment that does nothing or contradicts the default runtime.

    Raises:
        SettingRefused: with the reason.
    """
    problems = fragment_problems(text)
    if problems:
        raise SettingRefused(problems[0], RemoveKey())
    runtime = default_runtime_of(tomllib.loads(text))
    if default_runtime and runtime not in (None, "nvidia"):
        raise SettingRefused(f"makes {runtime} the default runtime and gpu:defaultRuntime makes it nvidia", RemoveKey())
