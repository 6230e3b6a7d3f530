"""Leaves the verdict of a run in the cluster it is about; loaded only when that is asked for."""

from gpuctl.checks.report import Report
from gpuctl.cli.options import silent_settings_of
from gpuctl.cli.running import Reach
from gpuctl.cluster import ClusterError
from gpuctl.desired.verify_cronjob import NAME
from gpuctl.forms.output import complain
from gpuctl.report.verdict import verdict_config_map, verdict_event
from gpuctl.settings import SettingsError


def publish(report: Report, reach: Reach) -> bool:
    """Writes a verdict as a ConfigMap and an Event into the stack's namespace; whether that was possible."""
    try:
        settings = silent_settings_of(report.stack)
        cluster, namespace = reach(settings), settings.namespace
        cluster.apply(verdict_config_map(report, namespace, cluster.get("ConfigMap", NAME, namespace)))
        if live := cluster.get("ConfigMap", NAME, namespace):
            cluster.apply(verdict_event(report, live))
    except (ClusterError, SettingsError) as error:
        complain(f"gpuctl: error: the verdict about stack {report.stack} is not published: {error}")
        return False
    return True
