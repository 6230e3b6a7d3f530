"""The record of the coexistence proof for others to judge, such as in a report on AI conformance (`gpu_sharing`)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from gpuctl.checks.report import Entry, Report
from gpuctl.forms.markdown import code, escaped, table
from gpuctl.report.words import said
from gpuctl.sharing.record import CudaRun, NodeRun, Record

SCHEMA_VERSION = 1
"""Grows when a key goes or changes its meaning; keys may come silently."""

Proven = tuple[Report, Record]
"""What was found about one stack, and what the proof saw of its cluster."""


def evidence(proven: Sequence[Proven], version: str) -> dict[str, Any]:
    """Everything, as plain data.

    Args:
        proven: of each stack.
        version: of gpuctl.
    """
    return {
        "schemaVersion": SCHEMA_VERSION,
        "gpuctl": version,
        "proofs": [_proof(report, record) for report, record in proven],
    }


def evidence_markdown(proven: Sequence[Proven], version: str) -> str:
    """The same for people, in GitHub's Markdown."""
    return "\n".join(line for report, record in proven for line in _page(report, record, version)) + "\n"


def _proof(report: Report, record: Record) -> dict[str, Any]:
    return {
        "stack": report.stack,
        "holds": _holds(report),
        "statements": [
            {
                "id": entry.check.id,
                "statement": entry.check.title,
                "outcome": entry.outcome.value,
                "observed": [said(result) for result in entry.results],
            }
            for entry in _statements(report)
        ],
        "tally": _tally(record),
        "record": msgspec.to_builtins(record) | {"extra": msgspec.to_builtins(next(iter(record.extras), None))},
    }


def _tally(record: Record) -> dict[str, dict[str, int]]:
    """Node -> UUID -> slices in use at once."""
    found: dict[str, dict[str, int]] = {}
    for node in record.nodes:
        found.setdefault(node.name, {}).update(record.tally(node))
    return found


def _statements(report: Report) -> list[Entry]:
    return [entry for entry in report.entries if entry.check.makes_pods]


def _holds(report: Report) -> bool:
    return not any(entry.is_bad for entry in _statements(report))


def _page(report: Report, record: Record, version: str) -> Iterator[str]:
    verdict = "every statement holds" if _holds(report) else "NOT every statement holds"
    yield f"# GPU sharing on {escaped(record.context)}: {verdict}\n"
    yield (
        f"Written by gpuctl {version} for stack {escaped(report.stack)}, {record.started} to {record.finished}. "
        f"Kubernetes {escaped(record.kubernetes)}, resource {', '.join(map(code, record.resources))}. "
        f"Objects of the stack: sha256:{record.objects_hash}.\n"
    )
    yield "## Statements\n"
    yield from _table(
        ("", "statement", "outcome", "observed"),
        (
            (
                entry.check.id,
                entry.check.title,
                entry.outcome.value,
                "\n".join(said(result) for result in entry.results),
            )
            for entry in _statements(report)
        ),
    )
    yield "## Nodes\n"
    yield from _table(
        ("node", "GPUs", "slices each", "allocatable", "in use by others", "driver", "kubelet", "runtime", "system"),
        (_node(record, node) for node in record.nodes),
    )
    yield "## Pods per GPU\n"
    yield from _table(
        ("node", "GPU", "pods at once"),
        ((name, uuid, count) for name, tally in _tally(record).items() for uuid, count in sorted(tally.items())),
    )
    yield from _pods(record)
    yield from _one_more(record)
    yield from _cuda(record)


def _node(record: Record, node: NodeRun) -> tuple[object, ...]:
    drivers = {gpu.driver for pod in record.pods_on(node) for gpu in pod.sees}
    system = f"{node.operating_system}, Linux {node.kernel}"
    counted = node.gpus, node.slices, node.allocatable, node.busy
    name = node.name if len(record.resources) == 1 else f"{node.name}, {node.resource}"
    return name, *counted, ", ".join(sorted(drivers)), node.kubelet, node.runtime, system


def _pods(record: Record) -> Iterator[str]:
    yield "## Pods\n"
    if record.together:
        yield f"All pods `share-` were running in one answer of the API server at {record.together}.\n"
    yield from _table(
        ("pod", "node", "device", "GPUs it sees", "began", "ended"),
        (
            (pod.name, pod.node, pod.device or pod.uuid, "\n".join(gpu.uuid for gpu in pod.sees) or pod.answer)
            + ((pod.started, pod.finished) if not pod.problem else (pod.problem, ""))
            for pod in (*record.pods, *record.without)
        ),
    )
    yield "Pods `without-` ask for no GPU. Times are those of the kubelets.\n"


def _one_more(record: Record) -> Iterator[str]:
    yield "## One pod more than there are slices\n"
    if not record.extras:
        yield "It was not tried.\n"
    for extra in record.extras:
        yield f"{extra.phase} for {extra.seconds:g} s. Events:\n"
        yield from (f"> {escaped(event)}\n" for event in extra.events)


def _cuda(record: Record) -> Iterator[str]:
    yield "## CUDA\n"
    if record.cuda_skipped:
        yield f"Not run: {escaped(record.cuda_skipped)}\n"
        return
    yield f"Image {code(record.cuda_image)}, one pod in each slice.\n"
    yield from _table(
        ("pod", "node", "passed", "began", "ended", "said at last"),
        (
            (run.name, run.node, "yes" if run.passed else "no", run.started, run.finished, _last(run))
            for run in record.cuda
        ),
    )


def _last(run: CudaRun) -> str:
    return (run.said.splitlines() or [run.problem])[-1]


def _table(headings: Sequence[str], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    yield from table(headings, ([escaped(str(cell)) for cell in row] for row in rows))
    yield ""
