"""gpuctl stacks: every cluster that has a stack file here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import typer

from gpuctl.cli.options import Output, OutputOption
from gpuctl.desired.capacity import capacity, power_budget
from gpuctl.settings import Settings, SettingsError, project_folder, read_stack, stack_names

_INVALID = 2


@dataclass(frozen=True)
class _Row:
    stack: str
    settings: Settings | None
    mistakes: str
    last_update: str | None
    """When Pulumi last deployed it; None where that is not known."""


def stacks(
    output: OutputOption = Output.table,
) -> None:
    """List the stacks with what their clusters must show, and when each was last deployed.

    The last update is what the Pulumi command line knows of the backend that this machine is logged in to.

    Exit codes: 0, or 2 when a stack file has mistakes.
    """
    updates = _last_updates()
    rows = [_row(name, updates) for name in stack_names()]
    if output is Output.json:
        print(json.dumps([_document(row) for row in rows], indent=2))
    else:
        _print_table(rows)
    if any(row.mistakes for row in rows):
        raise typer.Exit(_INVALID)


def _row(stack: str, updates: Mapping[str, str]) -> _Row:
    try:
        return _Row(stack, read_stack(stack), "", updates.get(stack))
    except SettingsError as error:
        return _Row(stack, None, str(error), updates.get(stack))


def _last_updates() -> dict[str, str]:
    """Stack -> time of its last update; nothing without the Pulumi command line or a backend."""
    from gpuctl.cluster.programs import InstalledPrograms

    words = ("stack", "ls", "--json", "--non-interactive", "--cwd", str(project_folder()))
    ran = InstalledPrograms().run("pulumi", *words, seconds=20)
    if ran is None or ran.exit_code:
        return {}
    found = json.loads(ran.stdout)
    return {entry["name"].rpartition("/")[2]: entry["lastUpdate"] for entry in found if entry.get("lastUpdate")}


def _document(row: _Row) -> dict[str, object]:
    known: dict[str, object] = {"stack": row.stack, "lastUpdate": row.last_update}
    if row.settings is None:
        return known | {"mistakes": row.mistakes}
    offered = capacity(row.settings)
    return known | {
        "context": row.settings.context,
        "resource": offered.resource,
        "total": offered.total,
        "watts": power_budget(row.settings).total,
        "talosVersion": row.settings.talos_version,
        "nodes": len(row.settings.nodes),
    }


def _print_table(rows: list[_Row]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from gpuctl.cli.wide import console as wide_console

    table = Table("STACK", "CONTEXT", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("NODES", "GPUS", "SLICES", "WATTS"):
        table.add_column(heading, justify="right")
    table.add_column("TALOS")
    table.add_column("LAST UPDATE")
    for row in rows:
        table.add_row(row.stack, *_cells(row), row.last_update or "not known")
    console = wide_console()
    console.print(table)
    for row in rows:
        if row.mistakes:
            console.print(row.mistakes, highlight=False, markup=False, soft_wrap=True)


def _cells(row: _Row) -> list[str]:
    settings = row.settings
    if settings is None:
        return ["mistakes", *([""] * 5)]
    watts = power_budget(settings).total
    return [
        settings.context,
        str(len(settings.nodes)),
        str(sum(node.count for node in settings.nodes)),
        str(capacity(settings).total),
        "unknown" if watts is None else str(watts),
        settings.talos_version,
    ]
