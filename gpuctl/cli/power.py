"""gpuctl power: what the GPUs of a stack draw, and drew over a time."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gpuctl.cli.options import OutputOption, Stack, by_kubeconfig, duration, settings_of
from gpuctl.forms.exits import Exit
from gpuctl.forms.line import Line, line
from gpuctl.forms.output import Output, complain, show
from gpuctl.forms.sparkline import sparkline
from gpuctl.forms.table import table

if TYPE_CHECKING:
    from gpuctl.cluster import Cluster, Pod
    from gpuctl.power.history import History
    from gpuctl.settings import Settings

power = typer.Typer(
    help="What the GPUs of a stack draw, from the lines of the power-limit agent.", no_args_is_help=True
)

_PARTS = 24
"""Characters of a sparkline."""


@power.command()
def history(
    stack: Stack,
    since: Annotated[
        timedelta,
        typer.Option(parser=duration, metavar="DURATION", show_default="1h", help="How far back, such as 30m or 2d."),
    ] = timedelta(hours=1),
    output: OutputOption = Output.table,
) -> None:
    """Print energy, draw and utilisation of each GPU, as the power-limit agent saw them; nothing is stored anywhere.

    It reads the logs of the agent's pods: they reach back to the start of a pod or to where the kubelet rotated them,
    and the time that is really covered is part of the answer.

    Exit codes: 0, 1 no agent has said anything, 3 the cluster does not answer.
    """
    from gpuctl.checks.context import side_by_side
    from gpuctl.cluster import ClusterError
    from gpuctl.desired.power_limit import NAME as AGENT
    from gpuctl.observed.log_reach import by_node

    settings = settings_of(stack)
    if not settings.power_management:
        raise typer.BadParameter("has gpu:powerManagement false, so there is no agent to ask", param_hint="--stack")
    now = datetime.now(UTC)
    try:
        cluster = by_kubeconfig(settings)
        pods = by_node(cluster.pods(settings.namespace, {"app.kubernetes.io/name": AGENT}))
        seen = side_by_side(
            lambda node: _of_node(cluster, settings, node.name, pods.get(node.name, ()), since), settings.nodes
        )
        found = [each for histories in seen for each in histories]
    except ClusterError as error:
        complain(f"gpuctl: error: {error}")
        raise typer.Exit(Exit.UNREACHABLE) from None
    notes = list(_notes(settings, found, pods, now - since))
    show(
        output,
        table=lambda: _lines(stack, settings, since, now, found, notes),
        document=lambda: _document(stack, since, now, found, notes),
    )
    if not found:
        raise typer.Exit(Exit.FOUND)


def _of_node(
    cluster: "Cluster", settings: "Settings", node: str, pods: "Sequence[Pod]", since: timedelta
) -> "list[History]":
    """From all pods of the node: while one hands over to the next there are two."""
    from gpuctl.power.history import histories
    from gpuctl.power.log import Sample, parse_all

    seconds = int(since.total_seconds())
    lines = (line for pod in pods for line in cluster.log(pod.name, pod.namespace, seconds))
    samples = [said for said in parse_all(lines) if isinstance(said, Sample)]
    return histories(node, samples, timedelta(seconds=settings.power_interval))


def _notes(
    settings: "Settings", found: "Sequence[History]", pods: "Mapping[str, Sequence[Pod]]", asked: datetime
) -> Iterator[str]:
    """For each node that does not reach back as far as asked: how far, and why."""
    from gpuctl.observed.log_reach import shortfall

    slack = timedelta(seconds=2 * settings.power_interval)
    begins: dict[str, datetime] = {}
    for each in found:
        begins[each.node] = min(each.begin, begins.get(each.node, each.begin))
    for node in (each.name for each in settings.nodes):
        if why := shortfall("power-limit agent", node, pods.get(node, ()), begins.get(node), asked, slack):
            yield why


def _document(
    stack: str, since: timedelta, now: datetime, found: "Sequence[History]", notes: Sequence[str]
) -> dict[str, object]:
    return {
        "stack": stack,
        "asked": {"begin": _clock(now - since), "end": _clock(now)},
        "notes": notes,
        "gpus": [
            {
                "node": each.node,
                "gpu": each.gpu,
                "index": each.index,
                "name": each.name,
                "limitWatts": each.limit,
                "energyWattHours": _rounded(each.energy),
                "meanWatts": _rounded(each.mean),
                "peakWatts": each.peak,
                "shareOfTimeAtCap": _rounded(each.at_cap),
                "meanUtilizationPercent": _rounded(each.utilization),
                "begin": _clock(each.begin),
                "end": _clock(each.end),
                "coveredSeconds": each.covered.total_seconds(),
                "drawWatts": [_rounded(part) for part in each.draws(now - since, now, _PARTS)],
            }
            for each in found
        ],
    }


def _lines(
    stack: str,
    settings: "Settings",
    since: timedelta,
    now: datetime,
    found: "Sequence[History]",
    notes: Sequence[str],
) -> Iterator[Line]:
    figures = ("LIMIT W", "MEAN W", "PEAK W", "WH", "AT CAP", "UTIL", "COVERED")
    rows = [
        (
            each.node,
            f"{'?' if each.index is None else each.index} {each.name.removeprefix('NVIDIA ')}",
            "none" if each.limit is None else f"{each.limit:.0f}",
            _shown(each.mean, ".0f"),
            _shown(each.peak, ".0f"),
            _shown(each.energy, ".1f"),
            _shown(each.at_cap, ".0%"),
            "unknown" if each.utilization is None else f"{each.utilization:.0f}%",
            str(timedelta(seconds=round(each.covered.total_seconds()))),
            sparkline(each.draws(now - since, now, _PARTS), each.limit or each.peak, sys.stdout.encoding),
        )
        for each in found
    ]
    if rows:
        yield from table(("NODE", "GPU", *figures, "DRAW"), rows, right=figures)
        known = [each.energy for each in found if each.energy is not None]
        yield line()
        yield line(
            f"stack {stack}, context {settings.context}: {sum(known):.1f} Wh in the time covered, "
            f"of {_clock(now - since)} to {_clock(now)}. A full bar is the limit, or else the peak."
        )
    yield from map(line, notes)


def _shown(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _clock(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
