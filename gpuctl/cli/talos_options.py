"""Options that several verbs of `gpuctl talos` have."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gpuctl.machine_config import MOST_BYTES, MachineConfig, MachineConfigError, Part, parse, parts_of
from gpuctl.settings import GpuNode, Settings

_Read = TypeVar("_Read")

Node = Annotated[str | None, typer.Option(metavar="NAME", help="Only this node of the stack.")]


def node_named(settings: Settings, name: str | None) -> GpuNode:
    """A node of a stack; without a name, the only one.

    Raises:
        typer.BadParameter: there is none of that name, or there are several.
    """
    found = [node for node in settings.nodes if name in (None, node.name)]
    if len(found) != 1:
        names = ", ".join(node.name for node in settings.nodes)
        problem = f"{name} is no node of the stack" if name else "the stack has several nodes"
        raise typer.BadParameter(f"{problem}: name one of {names}", param_hint="--node")
    return found[0]


def read_machine_config(path: Path) -> MachineConfig:
    """A machine configuration or a patch.

    Raises:
        typer.BadParameter: it cannot be read, or is neither.
    """
    return _read(path, parse)


def read_parts(path: Path) -> list[Part]:
    """The machine configurations in a file, which may be one of another tool.

    Raises:
        typer.BadParameter: it cannot be read, or has none.
    """
    return _read(path, parts_of)


def _read(path: Path, reader: Callable[[str], _Read]) -> _Read:
    try:
        with path.open("rb") as file:  # which may be a device without end
            return reader(file.read(MOST_BYTES + 1).decode())
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error
    except MachineConfigError as error:
        raise typer.BadParameter(f"{path} {error}") from error
