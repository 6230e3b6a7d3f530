"""gpuctl stacks: every cluster that has a stack file here."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import typer

from gpuctl.cli.options import OutputOption, resolved
from gpuctl.desired.desired import Desired, desired_state
from gpuctl.forms.exits import Exit
from gpuctl.forms.line import Line, line
from gpuctl.forms.output import Output, show
from gpuctl.forms.table import table
from gpuctl.settings import SettingsError, project_folder, read_stack, stack_names


@dataclass(frozen=True)
class _Row:
    stack: str
    desired: Desired | None
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
    show(output, table=lambda: _lines(rows), document=lambda: [_document(row) for row in rows])
    if any(row.mistakes for row in rows):
        raise typer.Exit(Exit.MISTAKE)


def _row(stack: str, updates: Mapping[str, str]) -> _Row:
    try:
        return _Row(stack, desired_state(read_stack(stack, resolve=resolved)), "", updates.get(stack))
    except SettingsError as error:
        return _Row(stack, None, str(error), updates.get(stack))


def _last_updates() -> dict[str, str]:
    """Stack -> time of its last update; nothing without the Pulumi command line or a backend."""
    from gpuctl.cluster.programs import InstalledPrograms

    words = ("stack", "ls", "--json", "--non-interactive", "--cwd", str(project_folder()))
    ran = InstalledPrograms().run("pulumi", *words, seconds=20)
    if ran is None or ran.exit_code:
        return {}
    try:
        found = json.loads(ran.stdout)
        times = {entry["name"].rpartition("/")[2]: entry.get("lastUpdate") for entry in found}
        return {stack: time for stack, time in times.items() if time and isinstance(time, str)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _document(row: _Row) -> dict[str, object]:
    known: dict[str, object] = {"stack": row.stack, "lastUpdate": row.last_update}
    if row.desired is None:
        return known | {"mistakes": row.mistakes}
    settings, offered = row.desired.settings, row.desired.capacity
    return known | {
        "context": settings.context,
        "resource": offered.resource,
        "total": offered.total,
        "byResource": dict(offered.by_resource),
        "watts": row.desired.power.total,
        "talosVersion": settings.talos_version,
        "talosVersions": list(settings.talos_versions),
        "nodes": len(settings.nodes),
    }


def _lines(rows: list[_Row]) -> Iterator[Line]:
    figures = ("NODES", "GPUS", "SLICES", "WATTS")
    cells = [(row.stack, *_cells(row), row.last_update or "not known") for row in rows]
    yield from table(("STACK", "CONTEXT", *figures, "TALOS", "LAST UPDATE"), cells, right=figures)
    for row in rows:
        yield from (line(each) for each in row.mistakes.splitlines())


def _cells(row: _Row) -> list[str]:
    if row.desired is None:
        return ["mistakes", *([""] * 5)]
    settings, watts = row.desired.settings, row.desired.power.total
    return [
        settings.context,
        str(len(settings.nodes)),
        str(sum(node.count for node in settings.nodes)),
        str(row.desired.capacity.total),
        "unknown" if watts is None else str(watts),
        ", ".join(settings.talos_versions),
    ]
