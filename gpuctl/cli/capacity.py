"""gpuctl capacity: the figures a stack's cluster must show."""

from collections.abc import Iterable, Iterator

from gpuctl.cli.options import OutputOption, Stack, settings_of
from gpuctl.desired import capacity as desired
from gpuctl.desired.backends import groups
from gpuctl.desired.sharing import Mode, offers_text
from gpuctl.forms.line import Line, line
from gpuctl.forms.output import Output, show
from gpuctl.forms.table import table
from gpuctl.settings import GpuNode, Settings


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
            "byResource": dict(offered.by_resource),
            "offers": {node: dict(offers) for node, offers in offered.offers.items()},
        },
        "powerBudgetWatts": {"total": budget.total, "byNode": dict(budget.by_node)},
        "circuits": desired.circuit_budgets(settings),
        "memoryPerSliceMiB": desired.memory_per_slice(settings),
        **desired.limits_per_slice(settings),
    }


def lines(stack: str, settings: Settings) -> Iterator[Line]:
    """The figures for people."""
    offered = desired.capacity(settings).by_resource
    figures = ("SLICES", *offered, "LIMIT W", "NODE W", "GiB/SLICE", "THREADS")
    columns = list(zip(("NODE", "GPUS", *figures), *_nodes(settings), strict=True))
    headings, *rows = zip(
        *(each for each in columns if "".join(each[1:]).strip()), strict=True
    )  # THREADS is for MPS alone
    yield from table(headings, rows, right=figures)
    if settings.circuits:
        watts = ("GPUS W", "BASE W", "USED W", "ALLOWED W")
        yield line()
        yield from table(("CIRCUIT OF", *watts), _circuits(settings), right=watts)
    yield line()
    yield line(f"stack {stack}, context {settings.context}: {offers_text(offered)}. {_what_memory_is(settings)}")


def _what_memory_is(settings: Settings) -> str:
    modes = {group.mode for node in settings.nodes for group in groups(settings, node)}
    if Mode.MPS not in modes:
        return "GiB per slice is an average: time slicing does not isolate memory."
    if Mode.TIME_SLICING not in modes:
        return "GiB per slice is a limit."
    return "GiB per slice is a limit where THREADS has a figure, and elsewhere an average."


def _nodes(settings: Settings) -> list[tuple[str, ...]]:
    offered, budget = desired.capacity(settings).by_resource, desired.power_budget(settings)
    rows = [_node(settings, node, offered, budget.by_node[node.name]) for node in settings.nodes]
    return [*rows, ("all", "", "", *map(str, offered.values()), "", _or_unknown(budget.total), "", "")]


def _node(settings: Settings, node: GpuNode, resources: Iterable[str], watts: int | None) -> tuple[str, ...]:
    """A line for each group of its GPUs, and for each model in one."""
    found = groups(settings, node)
    cards = [each for group in found for each in group.gpus]
    limits = [str(settings.limit_of(node, each) or "default") for each in cards]
    return (
        node.name,
        "\n".join(f"{each.count} x {each.gpu}" for each in cards),
        "\n".join(str(group.slices) for group in found),
        *(
            "\n".join(str(group.offered) if group.resource == resource else "" for group in found)
            for resource in resources
        ),
        "\n".join(limits) if settings.power_management else "default",
        _or_unknown(watts),
        "\n".join(_gib(group.memory_mib) for group in found),
        "\n".join(f"{group.threads_percent} %" if group.threads_percent else "" for group in found),
    )


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
