"""What Prometheus and Grafana get of a stack: its figures, alerts on them, and a dashboard.

No exporter and no scrape configuration: those belong to whoever runs Prometheus. docs/monitoring.md says what is
assumed of them.
"""

from pathlib import Path
from typing import Any

from gpuctl.desired.alerts import alerts
from gpuctl.desired.figures import figures
from gpuctl.desired.names import Manifest, labels
from gpuctl.settings import Settings

NAME = "gpu-sharing"

_DASHBOARD = Path(__file__).with_name("dashboard.json")
"""The same for every stack; written by `make generate` from the package `dashboard`."""


def rules(settings: Settings) -> dict[str, Any]:
    """A rule file of Prometheus. Rules of a group are evaluated in their order, so the figures come first."""
    return {"groups": [{"name": NAME, "rules": [*figures(settings), *alerts(settings)]}]}


def prometheus_rule(settings: Settings) -> Manifest:
    """The same rules as an object of the Prometheus operator, with the label by which its Prometheus selects rules."""
    selected = dict([settings.rule_label.split("=")]) if settings.rule_label else {}
    metadata = {"name": NAME, "namespace": settings.namespace, "labels": selected | labels(NAME)}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata,
        "spec": rules(settings),
    }


def dashboard(settings: Settings) -> Manifest:
    """The dashboard in a ConfigMap with the label by which Grafana's sidecar finds it."""
    metadata = {
        "name": f"{NAME}-dashboard",
        "namespace": settings.namespace,
        "labels": labels(NAME) | {"grafana_dashboard": "1"},
    }
    data = {f"{NAME}.json": _DASHBOARD.read_text()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
