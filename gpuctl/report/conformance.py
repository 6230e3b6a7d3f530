"""The record of the coexistence proof as items of the CNCF's AI conformance programme, in the form of its PRODUCT.yaml.

Only what this product can show is in it, and an item is `Implemented` only where the run saw all of it; where it could
not find out, the status is empty, as in the programme's template. Ids and levels
are those of the programme's checklist for a Kubernetes version. The programme wants addresses as evidence: whoever
submits publishes the files of the run, and writes where.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from gpuctl.checks.model import Outcome
from gpuctl.checks.report import Report
from gpuctl.desired.names import yaml_text
from gpuctl.report.words import said
from gpuctl.sharing.record import PodRun, Record

_SHARING, _ACCESS = ("SHR001", "SHR002", "SHR003", "SHR004"), ("SHR005", "SHR006")


class _Seen(NamedTuple):
    """What a run says about an item."""

    holds: bool | None
    """None where it could not be found out."""
    notes: Sequence[str]


def conformance(report: Report, record: Record, evidence: Sequence[str], kubernetes: str) -> str:
    """The items as YAML.

    Args:
        report: of the stack.
        record: of the proof.
        evidence: names of the files with the record.
        kubernetes: whose checklist it is, a key of CHECKLISTS.
    """
    items = [
        {
            "id": item,
            "level": level,
            "status": {True: "Implemented", False: "Not Implemented", None: ""}[seen.holds],
            "evidence": list(evidence),
            "notes": "; ".join(seen.notes),
        }
        for item, level in CHECKLISTS[kubernetes].items()
        for seen in [_ITEMS[item](report, record)]
    ]
    about = {"kubernetesVersion": kubernetes, "clusterVersion": record.kubernetes, "date": record.finished}
    return yaml_text({"metadata": about, "spec": {"accelerators": items}})


def _sharing(report: Report, _: Record) -> _Seen:
    return _statements(report, _SHARING)


def _access(report: Report, record: Record) -> _Seen:
    """Besides the statements, two pods of one node that have two GPUs, neither of which sees the other's."""
    stated = _statements(report, _ACCESS)
    pair = next(_apart(record), None)
    if pair is None:
        why = "no node had two pods on two GPUs that see their own only"
        return _Seen(False if stated.holds is False else None, (*stated.notes, why))
    one, other = pair
    words = f"on {one.node} pod {one.name} sees {one.uuid} only and pod {other.name} sees {other.uuid} only"
    return stated._replace(notes=(*stated.notes, words))


def _apart(record: Record) -> Iterator[tuple[PodRun, PodRun]]:
    for node in record.nodes:
        for one, other in combinations((pod for pod in record.pods if pod.node == node.name), 2):
            if one.uuid != other.uuid and all([gpu.uuid for gpu in pod.sees] == [pod.uuid] for pod in (one, other)):
                yield one, other


def _driver(_: Report, record: Record) -> _Seen:
    """Seen through the container runtime, in pods that were given GPUs."""
    found = {
        node.name: sorted({gpu.driver for pod in record.pods_on(node) for gpu in pod.sees}) for node in record.nodes
    }
    notes = [
        f"{node.name}: driver {', '.join(found[node.name]) or 'not seen'}, {node.runtime}, {node.operating_system}"
        for node in record.nodes
    ]
    return _Seen(True if found and all(found.values()) else None, notes)


def _metrics(_: Report, __: Record) -> _Seen:
    return _Seen(None, ("this product brings no exporter; docs/monitoring.md says what it reads of which",))


def _statements(report: Report, ids: Sequence[str]) -> _Seen:
    entries = [entry for entry in report.entries if entry.check.id in ids]
    notes = [said(result) for entry in entries for result in entry.results]
    if any(entry.is_bad for entry in entries):
        return _Seen(False, notes)
    proven = len(entries) == len(ids) and all(entry.outcome is Outcome.PASS for entry in entries)
    return _Seen(True if proven else None, notes)


_ITEMS: Mapping[str, Callable[[Report, Record], _Seen]] = {
    "gpu_sharing": _sharing,
    "secure_accelerator_access": _access,
    "driver_runtime_management": _driver,
    "accelerator_metrics": _metrics,
}
CHECKLISTS: Mapping[str, Mapping[str, str]] = {
    "v1.36": {
        "gpu_sharing": "SHOULD",
        "secure_accelerator_access": "MUST",
        "driver_runtime_management": "SHOULD",
        "accelerator_metrics": "MUST",
    }
}
"""Version of Kubernetes -> id of an item that this product can say something about -> its level."""
