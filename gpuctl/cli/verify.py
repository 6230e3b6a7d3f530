"""gpuctl verify: whether a stack's cluster is what the stack says."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuctl import __version__
from gpuctl.cli.files import refuse_unwritable, written
from gpuctl.cli.options import Stacks, by_kubeconfig, duration, output_option, silent_settings_of
from gpuctl.forms.exits import Exit, worst
from gpuctl.forms.output import Output, complain, json_text, print_markdown, show

if TYPE_CHECKING:
    from gpuctl.checks.model import Check
    from gpuctl.checks.report import Report
    from gpuctl.cli.running import Reach, Run
    from gpuctl.sharing.proof import Request


_FORMS = (Output.table, Output.short, Output.json, Output.markdown)
_WAIT_HELP = "Go on until everything holds, for at most this long, such as 90s, 5m or 1h."
_SHARING_HELP = "Also make pods in all free slices at once, and see whether they share the GPUs; all is removed again."
_PROOF = "The coexistence proof"
_WITHIN = "In the cluster itself; see docs/in-cluster.md"
_EVIDENCE = (".json", ".md")
_Names = list[str]


def verify(
    stack: Stacks = None,
    wait: Annotated[timedelta | None, typer.Option(parser=duration, metavar="DURATION", help=_WAIT_HELP)] = None,
    interval: Annotated[
        timedelta,
        typer.Option(parser=duration, metavar="DURATION", show_default="5s", help="Time between polls of --wait."),
    ] = timedelta(seconds=5),
    output: Annotated[
        Output, output_option("All, only what is wrong, for machines, for a CI job's summary.", *_FORMS)
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
    conformance: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="With --evidence: also FILE.conformance.yaml, items of the CNCF AI conformance programme; v1.36.",
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
    from gpuctl.checks.runner import Wait
    from gpuctl.cli.printing import Screen
    from gpuctl.cli.running import chosen, from_within, refuse_strangers, runs
    from gpuctl.report.table import Short, Table

    checks = chosen(check or (), skip or (), deep=list_, sharing=sharing or list_)
    if list_:
        _print_list(checks, output)
        return
    if not stack:
        raise typer.BadParameter("name one, as in: gpuctl verify --stack lab", param_hint="--stack")
    if node:
        refuse_strangers(stack, node)
    request = _request(node, cuda_image, evidence, sharing=sharing)
    seen = _evidence_files(evidence)
    items = _conformance_file(conformance, evidence, stack)
    for option, file in (("--junit", junit), *(("--evidence", each) for each in seen), ("--conformance", items)):
        if file:
            refuse_unwritable(option, file)
    patience = Wait(wait.total_seconds(), interval.total_seconds()) if wait else None
    reach = from_within if in_cluster else by_kubeconfig
    form = {Output.table: Table, Output.short: Short}.get(output)
    screen = Screen(form) if form else None
    done = runs(stack, checks, patience, request, reach, screen)
    found = [run.report for run in done]
    if screen:
        screen.close()
    else:
        _print_whole(found, output)
    left = [
        _write_evidence(seen, done),
        _write_conformance(items, conformance or "", seen, done),
        _write_junit(junit, found),
    ]
    code = worst({report.exit_code(strict=strict) for report in found})
    if publish and False in [_publish(report, reach) for report in found]:
        code = worst({code, Exit.FOUND})
    raise typer.Exit(code if all(left) else code or Exit.MISTAKE)


def _publish(report: "Report", reach: "Reach") -> bool:
    """Leaves the verdict as a ConfigMap and an Event in the stack's namespace; whether that was possible."""
    from gpuctl.cli.running import context_of
    from gpuctl.cluster import ClusterError
    from gpuctl.desired.verify_cronjob import NAME
    from gpuctl.report.verdict import verdict_config_map, verdict_event
    from gpuctl.settings import SettingsError
    from gpuctl.status.over_share import over_share_events

    try:
        settings = silent_settings_of(report.stack)
        cluster, namespace = reach(settings), settings.namespace
        cluster.apply(verdict_config_map(report, namespace, cluster.get("ConfigMap", NAME, namespace)))
        if live := cluster.get("ConfigMap", NAME, namespace):
            cluster.apply(verdict_event(report, live))
        if settings.memory_budget == "observe":
            for event in over_share_events(context_of(report.stack, reach=reach), datetime.now(UTC)):
                cluster.apply(event)
    except (ClusterError, SettingsError) as error:
        complain(f"gpuctl: error: the verdict about stack {report.stack} is not published: {error}")
        return False
    return True


def _request(nodes: _Names | None, cuda_image: str | None, evidence: Path | None, *, sharing: bool) -> "Request | None":
    from gpuctl.sharing.proof import CUDA_IMAGE, Request

    if sharing:
        return Request(tuple(nodes or ()), CUDA_IMAGE if cuda_image is None else cuda_image)
    if nodes or evidence or cuda_image is not None:
        raise typer.BadParameter("is missing: the options of the proof mean nothing without it", param_hint="--sharing")
    return None


def _print_whole(reports: "Sequence[Report]", output: Output) -> None:
    if output is Output.markdown:
        from gpuctl.report.markdown import markdown

        print_markdown(markdown(reports))
    else:
        from gpuctl.report.document import document

        print(json_text(document(reports)))


def _print_list(checks: "Sequence[Check]", output: Output) -> None:
    from gpuctl.report.catalogue import catalogue, catalogue_table

    show(output, table=lambda: catalogue_table(checks), document=lambda: catalogue(checks))


def _evidence_files(file: Path | None) -> list[Path]:
    """Both forms, unless the name ends as one of them does; a folder is refused as it is."""
    if file is None or file.suffix in _EVIDENCE or file.is_dir():
        return [file] if file else []
    return [file.with_name(file.name + suffix) for suffix in _EVIDENCE]


def _conformance_file(version: str | None, evidence: Path | None, stacks: Sequence[str]) -> Path | None:
    """Beside the evidence, of one stack: the programme asks for one product."""
    if version is None:
        return None
    from gpuctl.report.conformance import CHECKLISTS

    if version not in CHECKLISTS:
        problem = f"{version!r} has no checklist here; there are: {', '.join(CHECKLISTS)}"
        raise typer.BadParameter(problem, param_hint="--conformance")
    if evidence is None or len(stacks) > 1:
        raise typer.BadParameter("needs --evidence FILE and one --stack", param_hint="--conformance")
    stem = evidence.stem if evidence.suffix in _EVIDENCE else evidence.name
    return evidence.with_name(f"{stem}.conformance.yaml")


def _write_conformance(file: Path | None, version: str, evidence: Sequence[Path], runs: "Sequence[Run]") -> bool:
    """Whether nothing stood in the way; a proof that did not run is said with the evidence."""
    from gpuctl.report.conformance import conformance

    if file is None or (record := runs[0].record) is None:
        return True
    text = conformance(runs[0].report, record, [each.name for each in evidence], version)
    return written("--conformance", file, text)


def _write_evidence(files: Sequence[Path], runs: "Sequence[Run]") -> bool:
    """Whether nothing stood in the way."""
    from gpuctl.report.evidence import evidence, evidence_markdown

    if not files:
        return True
    names = " and ".join(map(str, files))
    for run in runs:
        if run.record is None:
            complain(f"gpuctl: the proof of stack {run.report.stack} did not run, so {names} has none of it")
    proven = [(run.report, run.record) for run in runs if run.record]
    if not proven:
        return True
    forms = {
        ".json": lambda: json.dumps(evidence(proven, __version__), indent=2) + "\n",
        ".md": lambda: evidence_markdown(proven, __version__),
    }
    return False not in [written("--evidence", file, forms[file.suffix]()) for file in files]


def _write_junit(file: Path | None, reports: "Sequence[Report]") -> bool:
    """Whether nothing stood in the way."""
    from gpuctl.report.junit import junit

    return file is None or written("--junit", file, junit(reports))
