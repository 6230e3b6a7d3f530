"""A verdict in the cluster: one ConfigMap with the last report, one Event for each of the two verdicts."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gpuctl.checks.report import Report
from gpuctl.report.verdict import MOST, verdict_config_map, verdict_event
from tests.fixtures.kubernetes_schema import VERSIONS, unknown_or_wrong
from tests.fixtures.reports import green, large, mixed

_MIB = 1024 * 1024


def _after(*reports: Report) -> dict[str, Any]:
    """The ConfigMap after several runs, a quarter of an hour apart, as the cluster has it."""
    live: dict[str, Any] | None = None
    for number, report in enumerate(reports):
        later = replace(report, started=reports[0].started + number * timedelta(minutes=15))
        live = verdict_config_map(later, "gpu", live)
        live["metadata"] |= {"uid": "4711"}
    assert live
    return live


@pytest.mark.parametrize("report", [green(), mixed()], ids=["ready", "not ready"])
def test_the_api_server_knows_both_objects(report: Report) -> None:
    live = _after(report)
    for version in (VERSIONS[0], VERSIONS[-1]):
        assert unknown_or_wrong(live, version) is None
        assert unknown_or_wrong(verdict_event(report, live), version) is None


def test_a_ready_cluster_is_a_normal_event() -> None:
    event = verdict_event(green(), _after(green()))
    assert (event["type"], event["reason"], event["count"]) == ("Normal", "GpuVerifyPassed", 1)
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "gpu-verify",
        "namespace": "gpu",
        "uid": "4711",
    }


def test_a_cluster_that_is_not_ready_is_a_warning_that_names_the_checks() -> None:
    event = verdict_event(mixed(), _after(mixed()))
    assert (event["type"], event["reason"]) == ("Warning", "GpuVerifyFailed")
    assert all(entry.check.id in event["message"] for entry in mixed().bad)


def test_the_same_verdict_again_counts_and_makes_no_other_event() -> None:
    once, thrice = _after(mixed()), _after(mixed(), mixed(), mixed())
    first, last = verdict_event(mixed(), once), verdict_event(mixed(), thrice)
    assert first["metadata"]["name"] == last["metadata"]["name"]
    assert (first["count"], last["count"]) == (1, 3)
    assert last["firstTimestamp"] == first["firstTimestamp"] < last["lastTimestamp"]


def test_another_verdict_begins_anew() -> None:
    live = _after(mixed(), mixed(), green())
    assert (live["data"]["verdict"], live["data"]["runs"]) == ("passed", "1")
    assert live["data"]["since"] == live["data"]["time"]
    assert (
        verdict_event(green(), live)["metadata"]["name"] != verdict_event(mixed(), _after(mixed()))["metadata"]["name"]
    )


def test_an_empty_config_map_counts_as_none() -> None:
    """As it is rendered, before the first run."""
    assert verdict_config_map(green(), "gpu", {"metadata": {"name": "gpu-verify"}})["data"]["runs"] == "1"


def test_the_report_for_machines_tells_all_that_did_not_pass() -> None:
    found = json.loads(_after(mixed())["data"]["report.json"])
    results = [
        one for category in found["stacks"][0]["categories"] for check in category["checks"] for one in check["results"]
    ]
    wanted = [one for entry in mixed().entries for one in entry.results if one.outcome != "pass"]
    assert [(one["outcome"], one["fact"]) for one in results] == [(one.outcome, one.fact) for one in wanted]


def test_a_report_about_a_thousand_nodes_fits_into_a_config_map() -> None:
    data = _after(large())["data"]
    assert sum(map(len, data.values())) < _MIB / 4
    found = json.loads(data["report.json"])["stacks"][0]
    assert all(len(check["results"]) <= MOST for category in found["categories"] for check in category["checks"])
    assert len(found["capacity"]) <= MOST
