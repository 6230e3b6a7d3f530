"""gpuctl capacity: the figures a stack's cluster must show."""

import json

from gpuctl.cli.options import Output, OutputOption, Stack, settings_of
from gpuctl.desired import capacity as desired
from gpuctl.settings import Settings


def capacity(
    stack: Stack,
    output: OutputOption = Output.table,
) -> None:
    """Print the slices, watts and memory per slice that a stack's cluster must show, by node."""
    settings = settings_of(stack)
    if output is Output.json:
        print(json.dumps(_document(stack, settings), indent=2))
    else:
        _print_table(stack, settings)


def _document(stack: str, settings: Settings) -> dict[str, object]:
    offered, budget = desired.capacity(settings), desired.power_budget(settings)
    return {
        "stack": stack,
        "gpuCapacity": {
            "resource": offered.resource,
            "total": offered.total,
            "byNode": dict(offered.by_node),
            "byModel": dict(offered.by_model),
        },
        "powerBudgetWatts": {"total": budget.total, "byNode": dict(budget.by_node)},
        "circuits": desired.circuit_budgets(settings),
        "memoryPerSliceMiB": desired.memory_per_slice(settings),
    }


def _print_table(stack: str, settings: Settings) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    offered, budget = desired.capacity(settings), desired.power_budget(settings)
    memory = desired.memory_per_slice(settings)
    rows = Table("NODE", "GPUS", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("SLICES", offered.resource, "LIMIT W", "NODE W", "GiB/SLICE"):
        rows.add_column(heading, justify="right")
    for node in settings.nodes:
        rows.add_row(
            node.name,
            "\n".join(f"{cards.count} x {cards.gpu}" for cards in node.cards),
            str(settings.slices_of(node)),
            str(offered.by_node[node.name]),
            "\n".join(str(settings.limit_of(node, cards)) for cards in node.cards)
            if settings.power_management
            else "default",
            _or_unknown(budget.by_node[node.name]),
            _gib(memory[node.name]),
        )
    rows.add_section()
    rows.add_row("all", "", "", str(offered.total), "", _or_unknown(budget.total), "")
    console = Console()
    console.print(rows)
    if settings.circuits:
        circuits = Table("CIRCUIT OF", box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("GPUS W", "BASE W", "USED W", "ALLOWED W"):
            circuits.add_column(heading, justify="right")
        for circuit in settings.circuits:
            watts = (_or_unknown(circuit.gpu_watts), str(circuit.base_watts), _or_unknown(circuit.used_watts))
            circuits.add_row(circuit.name, *watts, str(circuit.allowed_watts))
        console.print(circuits)
    console.print(
        f"stack {stack}, context {settings.context}: {offered.total} {offered.resource}. "
        "GiB per slice is an average: time slicing does not isolate memory.",
        highlight=False,
    )


def _or_unknown(watts: int | None) -> str:
    return "unknown" if watts is None else str(watts)


def _gib(mib: int | None) -> str:
    return "unknown" if mib is None else f"{mib / 1024:.1f}"
