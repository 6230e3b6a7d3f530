"""A fragment of containerd's configuration, as a Talos node merges it: read, and checked."""

from collections.abc import Iterator
from typing import Any, cast

CRI_PLUGIN = "io.containerd.cri.v1.runtime"
"""containerd's plugin for Kubernetes, from containerd 2.0 on, so on every supported Talos."""

_OLD_PLUGIN = "io.containerd.grpc.v1.cri"
_RUNTIME = "default_runtime_name"
_HANDLER = "nvidia"


def fragment_problems(text: str) -> list[str]:
    """What makes a fragment useless or harmful, each as the rest of a sentence; Talos itself accepts any text."""
    if problems := toml_problems(text):
        return problems
    tables = loaded(text)
    if _OLD_PLUGIN in table_in(tables, "plugins"):
        return [f"configures {_OLD_PLUGIN}, which containerd 2 does not know: it is called {CRI_PLUGIN}"]
    return [*_misplaced(tables), *_unknown_handler(tables), *_switched_off(tables)]


def loaded(text: str) -> dict[str, Any]:
    """The tables of a fragment.

    Raises:
        ValueError: it is not TOML.
    """
    import tomllib  # few stacks have one, and each start would pay for it

    return tomllib.loads(text)


def toml_problems(text: str) -> list[str]:
    """Why a fragment cannot be read at all."""
    try:
        loaded(text)
    except (ValueError, RecursionError) as error:
        return [f"is not TOML ({error}), so containerd does not start"]
    return []


def default_runtime_of(tables: dict[str, Any]) -> object:
    """The runtime that pods get when they ask for none; a text, where the fragment has no mistake."""
    return table_in(tables, "plugins", CRI_PLUGIN, "containerd").get(_RUNTIME)


def _misplaced(tables: dict[str, Any]) -> Iterator[str]:
    """Containerd ignores a key that it does not know where it stands."""
    right = ("plugins", CRI_PLUGIN, "containerd")
    for path, key in _keys(tables):
        if key == _RUNTIME and path != right:
            yield f"has {_RUNTIME} in [{_shown(path)}], where containerd ignores it: it belongs in [{_shown(right)}]"


def _unknown_handler(tables: dict[str, Any]) -> Iterator[str]:
    """The extension defines the handler nvidia and no other."""
    runtime = default_runtime_of(tables)
    defined = table_in(tables, "plugins", CRI_PLUGIN, "containerd", "runtimes")
    if runtime is not None and not isinstance(runtime, str):
        yield f"makes {runtime} the default runtime, which is no name"
    elif runtime and runtime.startswith(_HANDLER) and runtime not in (_HANDLER, *defined):
        yield f"makes {runtime} the default runtime, which NVIDIA's extension does not define: it is called {_HANDLER}"


def _switched_off(tables: dict[str, Any]) -> Iterator[str]:
    disabled = tables.get("disabled_plugins")
    if isinstance(disabled, list) and CRI_PLUGIN in disabled:
        yield f"disables {CRI_PLUGIN}, without which the node runs no pod"


def _keys(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in table.items():
        yield path, key
        if isinstance(value, dict):
            yield from _keys(cast(dict[str, Any], value), (*path, key))


def table_in(tables: dict[str, Any], *path: str) -> dict[str, Any]:
    """A table in a fragment; an empty one where there is none."""
    found: Any = tables
    for key in path:
        found = cast(dict[str, Any], found).get(key) if isinstance(found, dict) else None
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _shown(path: tuple[str, ...]) -> str:
    return ".".join(f'"{key}"' if "." in key else key for key in path) or "the top"
