"""Alerts and dashboard are written down once: in the rules, in their documentation, and in what Grafana reads."""

import json
import re
from typing import Any

import pytest

from dashboard.__main__ import FILE
from dashboard.board import text
from gpuctl.desired import figures
from gpuctl.desired.monitoring import rules
from gpuctl.settings import Settings
from tests.fixtures.manifests import manifests
from tests.fixtures.stack_files import ROOT, settings

EVERYTHING = settings(usage=True, usageMetrics=True, circuitWatts=1000)
"""A stack that has every alert but that of the DRA driver."""
BY_DRA = settings(usage=True, usageMetrics=True, circuitWatts=1000, backend="dra")
"""Its slices are in no series, so it has an alert more."""


def _rules(cluster: Settings) -> list[dict[str, Any]]:
    return rules(cluster)["groups"][0]["rules"]


def _alerts(cluster: Settings) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in _rules(cluster) if "alert" in rule}


def test_the_dashboard_is_up_to_date() -> None:
    """Fixed by `make generate`."""
    assert FILE.read_text() == text()


def test_the_dashboard_is_what_grafanas_sidecar_loads() -> None:
    dashboard = manifests(settings(monitoring=True))[-1]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    (document,) = dashboard["data"].values()
    assert json.loads(document)["uid"] == "gpu-sharing"


def test_the_dashboard_shows_every_figure_that_is_no_detail_of_an_alert() -> None:
    shown = set(re.findall(r"gpu_stack:[\w:]+", text()))
    recorded = {rule["record"] for rule in _rules(EVERYTHING) if "record" in rule}
    assert recorded - shown == {
        *(figures.EXPECTED_AGENTS, figures.GPU_INFO, figures.DEFAULT_LIMIT, figures.XID),
        *(figures.WATCHED, figures.PROCESSES, figures.SLICE_MEMORY),
    }
    assert shown <= recorded


def test_of_what_the_dra_driver_offers_no_slice_is_missing() -> None:
    """kube-state-metrics has no series of it, so it would always be."""
    panels = {panel["title"]: panel for panel in json.loads(text())["panels"]}
    (target,) = panels["Slices missing"]["targets"]
    expected = re.findall(r"gpu_stack:slices:expected(\{.*?\})", target["expr"])
    assert expected == ['{backend="",node=~"$node"}'] * 2


def test_the_dashboard_asks_no_exporter_itself() -> None:
    """What is measured comes from the stack's rules, which know both."""
    assert not re.findall("nvidia_smi_|DCGM_", text())


def test_every_alert_has_its_entry_in_the_runbook_and_no_other_has() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    assert headings == list(_alerts(BY_DRA))


@pytest.mark.parametrize("name", _alerts(BY_DRA))
def test_an_alert_tells_what_and_how_bad_it_is_and_where_to_read_on(name: str) -> None:
    alert = _alerts(BY_DRA)[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}"


def test_what_the_stack_does_not_do_is_not_watched() -> None:
    bare = _alerts(settings(powerManagement=False))
    assert not [name for name in bare if name.startswith("GpuPower")]
    assert "GpuCircuitOverBudget" not in bare
    recorded = {rule.get("record") for rule in _rules(settings(powerManagement=False))}
    assert not recorded & {"gpu_stack:power_limit_watts:desired", "gpu_stack:power_limit_agents:expected"}


def test_a_figure_is_recorded_before_an_alert_reads_it() -> None:
    """Prometheus evaluates the rules of a group one after the other."""
    kinds = ["alert" in rule for rule in _rules(EVERYTHING)]
    assert kinds == sorted(kinds)


def _slice_memory(**node: object) -> dict[str, str]:
    """Resource -> the memory of its slices on the only node."""
    nodes = [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2} | node]
    found = [each for each in _rules(settings(usage=True, usageMetrics=True, nodes=nodes)) if "record" in each]
    return {
        each["labels"]["resource"]: each["expr"] for each in found if each["record"] == "gpu_stack:slice_memory_bytes"
    }


def _total(more: str = "") -> str:
    total = f'gpu_usage_gpu_memory_total_bytes{{node="gpu-1"{more}}}'
    return f'max by (node, uuid) (label_replace({total}, "uuid", "$1", "uuid", "GPU-(.+)"))'


def test_a_slice_has_an_equal_part_of_its_gpu_or_the_limit_that_mps_sets() -> None:
    assert _slice_memory() == {"nvidia_com_gpu": f"{_total()} / 4"}
    assert _slice_memory(sharing="mps") == {"nvidia_com_gpu": f"{_total()} / 4"}
    limit = f"{_total()} * 0 + 4294967296"
    assert _slice_memory(sharing="mps", memoryPerSliceMiB=4096) == {"nvidia_com_gpu": limit}


def test_the_memory_of_slices_is_counted_by_resource_beside_whole_gpus() -> None:
    whole, shared = _total(',index=~"0"'), _total(',index=~"1"')
    assert _slice_memory(wholeGpus=1) == {"nvidia_com_gpu": f"{whole} / 1", "nvidia_com_gpu_shared": f"{shared} / 4"}


def test_every_series_about_slices_names_its_resource() -> None:
    targets = [target for panel in json.loads(text())["panels"] for target in panel.get("targets", ())]
    legends = [
        each.get("legendFormat", "") for each in targets if re.search(r"pod_slices|slices:expected", each["expr"])
    ]
    assert [legend for legend in legends if legend] == [
        "{{namespace}}/{{pod}} {{node}} {{resource}}",
        "{{node}} {{resource}} stack",
        "{{node}} {{resource}} offered",
        "{{node}} {{resource}} healthy",
    ]


def test_the_label_by_which_prometheus_selects_rules_is_theirs_alone() -> None:
    rule, dashboard = manifests(settings(monitoring=True, ruleLabel="release=prometheus"))[-2:]
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert "release" not in dashboard["metadata"]["labels"]


def test_that_label_cannot_take_one_of_the_projects_own() -> None:
    """By these the project knows its objects."""
    rule = manifests(settings(monitoring=True, ruleLabel="app.kubernetes.io/part-of=prometheus"))[-2]
    assert rule["metadata"]["labels"]["app.kubernetes.io/part-of"] == "gpu-sharing"
