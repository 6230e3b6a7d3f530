"""gpuctl capacity: the figures a stack's cluster must show."""

from collections.abc import Iterator

from gpuctl.cli.options import OutputOption, Stack, settings_of
from gpuctl.desired import capacity as desired
from gpuctl.forms.line import Line, line
from gpuctl.forms.output import Output, show
from gpuctl.forms.table import table
from gpuctl.settings import Settings


def capacity(
    stack: Stack,
    output: OutputOption = Output.table,
) -> None:
    """Print the slices, watts and memory per slice that a stack's cluster must show, by node."""
    settings = settings_of(stack)
    show(output, table=lambda: lines(stack, settings), document=lambda: document(stack, settings))


def document(stack: str, settings: Settings) -> dict[str, object]:
    """The figures for programs."""
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


def lines(stack: str, settings: Settings) -> Iterator[Line]:
    """The figures for people."""
    resource, total = desired.capacity(settings).resource, desired.capacity(settings).total
    figures = ("SLICES", resource, "LIMIT W", "NODE W", "GiB/SLICE")
    yield from table(("NODE", "GPUS", *figures), _nodes(settings), right=figures)
    if settings.circuits:
        watts = ("GPUS W", "BASE W", "USED W", "ALLOWED W")
        yield line()
        yield from table(("CIRCUIT OF", *watts), _circuits(settings), right=watts)
    yield line()
    yield line(
        f"stack {stack}, context {settings.context}: {total} {resource}. "
        "GiB per slice is an average: time slicing does not isolate memory."
    )


def _nodes(settings: Settings) -> list[tuple[str, ...]]:
    offered, budget = desired.capacity(settings), desired.power_budget(settings)
    memory = desired.memory_per_slice(settings)
    rows = [
        (
            node.name,
            "\n".join(f"{cards.count} x {cards.gpu}" for cards in node.cards),
            str(settings.slices_of(node)),
            str(offered.by_node[node.name]),
            "\n".join(str(settings.limit_of(node, cards) or "default") for cards in node.cards)
            if settings.power_management
            else "default",
            _or_unknown(budget.by_node[node.name]),
            _gib(memory[node.name]),
        )
        for node in settings.nodes
    ]
    return [*rows, ("all", "", "", str(offered.total), "", _or_unknown(budget.total), "")]


def _circuits(settings: Settings) -> list[tuple[str, ...]]:
    return [
        (
            circuit.name,
            _or_unknown(circuit.gpu_watts),
            str(circuit.base_watts),
            _or_unknown(circuit.used_watts),
            str(circuit.allowed_watts),
        )
        for circuit in settings.circuits
    ]


def _or_unknown(watts: int | None) -> str:
    return "unknown" if watts is None else str(watts)


def _gib(mib: int | None) -> str:
    return "unknown" if mib is None else f"{mib / 1024:.1f}"
