"""gpuctl verify: whether a stack's cluster is what the stack says."""

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuctl import __version__
from gpuctl.cli.options import Stacks, by_kubeconfig, duration

if TYPE_CHECKING:
    from gpuctl.checks.model import Check
    from gpuctl.checks.report import Report
    from gpuctl.cli.running import Reach, Run
    from gpuctl.sharing.proof import Request


class Output(StrEnum):
    """Forms of a report."""

    table = "table"
    short = "short"
    json = "json"
    markdown = "markdown"


_WAIT_HELP = "Go on until everything holds, for at most this long, such as 90s, 5m or 1h."
_SHARING_HELP = "Also make pods in all free slices at once, and see whether they share the GPUs; all is removed again."
_PROOF = "The coexistence proof"
_WITHIN = "In the cluster itself; see docs/in-cluster.md"
_Names = list[str]


def verify(
    stack: Stacks = None,
    wait: Annotated[timedelta | None, typer.Option(parser=duration, metavar="DURATION", help=_WAIT_HELP)] = None,
    interval: Annotated[
        timedelta,
        typer.Option(parser=duration, metavar="DURATION", show_default="5s", help="Between two looks of --wait."),
    ] = timedelta(seconds=5),
    output: Annotated[
        Output, typer.Option("--output", "-o", help="All, only what is wrong, for machines, for a CI job's summary.")
    ] = Output.table,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a JUnit report for CI.")] = None,
    check: Annotated[_Names | None, typer.Option(metavar="NAME", help="Only this check or category.")] = None,
    skip: Annotated[_Names | None, typer.Option(metavar="NAME", help="Not this check or category.")] = None,
    sharing: Annotated[bool, typer.Option("--sharing", help=_SHARING_HELP, rich_help_panel=_PROOF)] = False,
    node: Annotated[
        _Names | None, typer.Option(metavar="NAME", help="Only on this node.", rich_help_panel=_PROOF)
    ] = None,
    cuda_image: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Its program must print `Test PASSED`; '' runs none. Default: NVIDIA's vector addition.",
            rich_help_panel=_PROOF,
        ),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write what was seen for others to judge: FILE.json, FILE.md, or FILE for both.",
            rich_help_panel=_PROOF,
        ),
    ] = None,
    in_cluster: Annotated[
        bool,
        typer.Option("--in-cluster", help="As the service account of this pod.", rich_help_panel=_WITHIN),
    ] = False,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", help="Leave the verdict as ConfigMap gpu-verify and as an Event.", rich_help_panel=_WITHIN
        ),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A warning is a failure.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the checks, and run none.")] = False,
) -> None:
    """Compare the cluster of a stack with what the stack says, and say what does not fit.

    Nothing is changed. Only --sharing makes something: pods, in a namespace of their own, which go again, and
    --publish, which leaves the verdict in the cluster.

    Exit codes:
    0    everything holds; warnings and skipped checks are allowed
    1    something does not hold
    2    usage, or the stack file
    3    the cluster does not answer
    124  the wait is over, and nothing but time was missing

    The checks, and what fixes what they find: docs/checks.md
    """
    from gpuctl.checks.report import worst
    from gpuctl.checks.runner import Wait
    from gpuctl.cli.running import chosen, from_within, refuse_strangers, runs

    checks = chosen(check or (), skip or (), deep=list_, sharing=sharing or list_)
    if list_:
        _print_list(checks, output)
        return
    if not stack:
        raise typer.BadParameter("name one, as in: gpuctl verify --stack lab", param_hint="--stack")
    if node:
        refuse_strangers(stack, node)
    request = _request(node, cuda_image, evidence, sharing=sharing)
    patience = Wait(wait.total_seconds(), interval.total_seconds()) if wait else None
    reach = from_within if in_cluster else by_kubeconfig
    done = runs(stack, checks, patience, request, reach)
    found = [run.report for run in done]
    print_reports(found, output)
    if evidence:
        _write_evidence(evidence, done)
    if junit:
        _write_junit(junit, found)
    codes = {report.exit_code(strict=strict) for report in found}
    raise typer.Exit(worst(codes if not publish or _published(found, reach) else {*codes, 1}))


def _published(reports: "Sequence[Report]", reach: "Reach") -> bool:
    from gpuctl.cli.publishing import publish

    done = [publish(report, reach) for report in reports]
    return all(done)


def _request(nodes: _Names | None, cuda_image: str | None, evidence: Path | None, *, sharing: bool) -> "Request | None":
    from gpuctl.sharing.proof import CUDA_IMAGE, Request

    if sharing:
        return Request(tuple(nodes or ()), CUDA_IMAGE if cuda_image is None else cuda_image)
    if nodes or evidence or cuda_image is not None:
        raise typer.BadParameter("is missing: the options of the proof mean nothing without it", param_hint="--sharing")
    return None


def print_reports(reports: "Sequence[Report]", output: Output) -> None:
    """Prints reports in one of the forms."""
    from gpuctl.cli.printing import print_for_machines, print_for_people
    from gpuctl.report.markdown import markdown

    if output is Output.json:
        print_for_machines(reports)
    elif output is Output.markdown:
        print(markdown(reports), end="")
    else:
        print_for_people(reports, only_bad=output is Output.short)


def _print_list(checks: "Sequence[Check]", output: Output) -> None:
    from gpuctl.cli.printing import print_json, print_lines
    from gpuctl.report.catalogue import catalogue, catalogue_table

    if output is Output.json:
        print_json(catalogue(checks))
    else:
        print_lines(catalogue_table(checks))


def _write_evidence(file: Path, runs: "Sequence[Run]") -> None:
    from gpuctl.report.evidence import evidence, evidence_markdown

    for run in runs:
        if run.record is None:
            print(
                f"gpuctl: the proof of stack {run.report.stack} did not run, so {file} has none of it", file=sys.stderr
            )
    proven = [(run.report, run.record) for run in runs if run.record]
    if not proven:
        return
    forms = {
        ".json": lambda: json.dumps(evidence(proven, __version__), indent=2) + "\n",
        ".md": lambda: evidence_markdown(proven, __version__),
    }
    both = file.suffix not in forms
    try:
        for suffix, text in forms.items():
            if both or file.suffix == suffix:
                (file.with_name(file.name + suffix) if both else file).write_text(text(), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot be written: {error}", param_hint="--evidence") from error


def _write_junit(file: Path, reports: "Sequence[Report]") -> None:
    from gpuctl.report.junit import junit

    try:
        file.write_text(junit(reports), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot be written: {error}", param_hint="--junit") from error
