"""A verdict as objects of the cluster: a ConfigMap that holds the last report, and an Event about it.

The same verdict again makes no other Event: the one there is counts, as Kubernetes' own do.
"""

import json
from datetime import UTC
from typing import Any

from gpuctl.checks.model import Outcome
from gpuctl.checks.report import Report
from gpuctl.desired.verify_cronjob import NAME
from gpuctl.report.document import document
from gpuctl.report.people import whole
from gpuctl.report.table import Short
from gpuctl.report.words import verdict

MOST = 50
"""Results of one check, and nodes, in the ConfigMap: it holds 1 MiB at most."""

Manifest = dict[str, Any]


def verdict_config_map(report: Report, namespace: str, before: Manifest | None) -> Manifest:
    """The ConfigMap with a report, without what passed.

    Args:
        report: of one stack.
        namespace: of the stack.
        before: the ConfigMap as it is; None when there is none.
    """
    state = "passed" if report.ready else "failed"
    earlier: dict[str, str] = (before or {}).get("data") or {}
    same = earlier.get("verdict") == state
    time = report.started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    data = {
        "verdict": state,
        "summary": verdict(report),
        "time": time,
        "since": earlier["since"] if same else time,
        "runs": str(int(earlier["runs"]) + 1 if same else 1),
        "report.txt": "".join(f"{line.plain}\n" for line in whole(Short(), report)),
        "report.json": json.dumps(_without_what_passed(document([report]))),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": namespace}, "data": data}


def verdict_event(report: Report, about: Manifest) -> Manifest:
    """The Event of a verdict.

    Args:
        report: of one stack.
        about: the ConfigMap with the verdict, as the cluster has it now.
    """
    metadata, data = about["metadata"], about["data"]
    titles = [f"{entry.check.id} {entry.check.title}" for entry in report.bad]
    failing = f"; not so: {', '.join(titles)}" if titles else ""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{NAME}-{data['verdict']}", "namespace": metadata["namespace"]},
        "involvedObject": {"apiVersion": "v1", "kind": "ConfigMap"}
        | {key: metadata[key] for key in ("name", "namespace", "uid")},
        "type": "Normal" if report.ready else "Warning",
        "reason": f"GpuVerify{data['verdict'].capitalize()}",
        "message": (data["summary"] + failing)[:1024],  # the API's own limit
        "firstTimestamp": data["since"],
        "lastTimestamp": data["time"],
        "count": int(data["runs"]),
        "source": {"component": "gpuctl"},
    }


def _without_what_passed(whole: dict[str, Any]) -> dict[str, Any]:
    for stack in whole["stacks"]:
        stack["capacity"] = [row for row in stack["capacity"] if row["allocatable"] != row["expected"]][:MOST]
        for category in stack["categories"]:
            for check in category["checks"]:
                check["results"] = [one for one in check["results"] if one["outcome"] != Outcome.PASS][:MOST]
    return whole
