"""The dashboard: what the stacks ask for beside what the cluster has, by node and by GPU.

Both sides are series that the recording rules of a stack write, so one dashboard serves every stack and exporter.
"""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, DataSourceRef
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)

from gpuctl.desired.figures import (
    CIRCUIT_ALLOWED,
    CIRCUIT_DRAWN,
    DESIRED_LIMIT,
    DRAW,
    ENFORCED_LIMIT,
    EXPECTED_SLICES,
    MEMORY,
    NOT_DRA,
    POD_MEMORY,
    POD_SHARE,
    POD_SLICES,
    POD_SM,
    REQUESTED_LIMIT,
    TEMPERATURE,
    UTILIZATION,
)

_SOURCE = DataSourceRef("prometheus", "${datasource}")
_NODES = '{node=~"$node"}'
_IN_STATUS = f'{EXPECTED_SLICES}{{{NOT_DRA},node=~"$node"}}'
_GPU = "{{node}} {{uuid}}"
_POD = "{{namespace}}/{{pod}} {{node}} {{uuid}}"
_WIDTH = 24

Panel = stat.Panel | timeseries.Panel


def text() -> str:
    """The dashboard in Grafana's own format."""
    return JSONEncoder(sort_keys=True, indent=1).encode(_dashboard().build()) + "\n"


def _dashboard() -> board.Dashboard:
    dashboard = (
        board.Dashboard("GPU sharing")
        .uid("gpu-sharing")
        .tags(["gpu", "nvidia"])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("1m")
        .with_variable(board.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            board.QueryVariable("node")
            .label("Node")
            .datasource(_SOURCE)
            .query(f"label_values({EXPECTED_SLICES}, node)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .current(VariableOption(selected=True, text="All", value="$__all"))
        )
    )
    for title, panels in _rows().items():
        dashboard.with_row(board.Row(title))
        for panel in panels:
            dashboard.with_panel(panel.span(_WIDTH // len(panels)))
    return dashboard


def _rows() -> Mapping[str, Sequence[Panel]]:
    off = f"abs({REQUESTED_LIMIT}{_NODES} - on (node, uuid) {DESIRED_LIMIT}) > 1"
    beyond = f"{POD_MEMORY}{_NODES} - on (node, uuid, namespace, pod) {POD_SHARE}"
    return {
        "Stack and cluster": [
            _number("Alerts that fire", 'count(ALERTS{alertstate="firing", alertname=~"Gpu.+"})'),
            _number("GPUs off their limit", f"count({off})"),
            _number("Slices missing", f"sum({_IN_STATUS}) - (sum({_slices('capacity')}) or vector(0))"),
            _number("Slices unhealthy", f"sum({_slices('capacity')}) - sum({_slices('allocatable')})"),
        ],
        "Watts": [
            _lines("Circuits", "watt", {"{{circuit}} draws": CIRCUIT_DRAWN, "{{circuit}} allows": CIRCUIT_ALLOWED}),
            _lines("Draw", "watt", {_GPU: DRAW + _NODES}),
            _lines(
                "Power limits",
                "watt",
                {
                    f"{_GPU} stack": DESIRED_LIMIT + _NODES,
                    f"{_GPU} set": REQUESTED_LIMIT + _NODES,
                    f"{_GPU} enforced": ENFORCED_LIMIT + _NODES,
                },
            ),
        ],
        "GPUs": [
            _lines("Utilisation", "percentunit", {_GPU: UTILIZATION + _NODES}),
            _lines("Memory in use", "percentunit", {_GPU: MEMORY + _NODES}),
            _lines("Temperature", "celsius", {_GPU: TEMPERATURE + _NODES}),
        ],
        "Pods (gpu:usageMetrics)": [
            _lines("Multiprocessors' time", "percentunit", {_POD: POD_SM + _NODES}),
            _lines("Memory", "bytes", {_POD: POD_MEMORY + _NODES}),
            _lines("Memory beyond the share", "bytes", {_POD: f"clamp_min({beyond}, 0)"}),
            _lines("Slices", "short", {"{{namespace}}/{{pod}} {{node}} {{resource}}": POD_SLICES + _NODES}),
        ],
        "Slices": [
            _lines(
                "Slices by node",
                "short",
                {
                    "{{node}} {{resource}} stack": EXPECTED_SLICES + _NODES,
                    "{{node}} {{resource}} offered": _slices("capacity"),
                    "{{node}} {{resource}} healthy": _slices("allocatable"),
                },
            )
        ],
    }


def _number(title: str, query: str) -> stat.Panel:
    """A count of what is wrong: green at 0."""
    steps = [Threshold(value=None, color="green"), Threshold(value=1, color="red")]
    return (
        stat.Panel()
        .title(title)
        .datasource(_SOURCE)
        .height(4)
        .with_target(prometheus.Dataquery().ref_id("A").expr(f"{query} or vector(0)").instant())
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(BigValueGraphMode.NONE)
        .thresholds(board.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )


def _lines(title: str, unit: str, queries: Mapping[str, str]) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).datasource(_SOURCE).unit(unit).min(0)
    for ref, (legend, query) in zip("ABC", queries.items(), strict=False):
        panel.with_target(prometheus.Dataquery().ref_id(ref).expr(query).legend_format(legend).range())
    return panel


def _slices(status: str) -> str:
    """A figure of kube-state-metrics, of the stack's nodes and resource only; it has none of the DRA driver's."""
    return f"(max by (node, resource) (kube_node_status_{status}) and on (node, resource) {_IN_STATUS})"
