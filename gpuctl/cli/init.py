"""gpuctl init: the first stack file of a cluster."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gpuctl.cli.asking import Person
from gpuctl.cli.init_file import checked, new_file, shown, write
from gpuctl.cli.options import OutputOption, complete_context
from gpuctl.forms.command import command
from gpuctl.forms.exits import Exit
from gpuctl.forms.line import Line, line
from gpuctl.forms.output import Output, complain, show
from gpuctl.settings import Settings

if TYPE_CHECKING:
    from gpuctl.cluster import Cluster, Pod
    from gpuctl.init.draft import Answers
    from gpuctl.init.gpus import Gpus
    from gpuctl.init.look import View

_NODE = re.compile(r"\s*([^=\s]+)=(.+)")
_NODE_HELP = "GPUs of a node: gpu-1=rtx-3090x2, gpu-2=l4x1,t4x2, or cp-1=none; as often as there are nodes."


def init(
    stack: Annotated[str, typer.Argument(metavar="STACK", help="Its name: the file is config/Pulumi.STACK.yaml.")],
    context: Annotated[
        str | None, typer.Option(metavar="NAME", help="Context in the kubeconfig.", autocompletion=complete_context)
    ] = None,
    node: Annotated[list[str] | None, typer.Option(metavar="NAME=MODELxCOUNT", help=_NODE_HELP)] = None,
    watts: Annotated[int | None, typer.Option(metavar="W", help="Power limit of each GPU.")] = None,
    circuit: Annotated[
        int | None, typer.Option(metavar="W", help="What the circuit of all these nodes takes; 0: not known.")
    ] = None,
    slices: Annotated[int | None, typer.Option(metavar="N", help="Pods that share each GPU; 4 unless said.")] = None,
    talos_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Talos of the nodes, instead of what they report.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no cluster: --node names every node.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take what is proposed.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Write the stack file of a cluster: what its nodes show, and what only you know.

    Nodes and pods are read, and nothing is changed in the cluster. What cannot be known is asked for: GPUs that no
    label names, the power limit, the circuit. A file that is there already is left alone.

    Exit codes: 0 written, 2 usage, a file that exists, an answer that is missing or does not fit, 3 the cluster does
    not answer. Without 0 nothing is written.
    """
    from gpuctl.init.draft import USUAL_SLICES, Answers

    file, said, person = new_file(stack), _said(node or ()), Person(takes_proposals=yes)
    given: dict[str, object] = {"--context": context, "--watts": watts, "--circuit": circuit, "--slices": slices}
    given |= {"--talos-version": talos_version}
    options = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    options += [word for each in node or () for word in ("--node", each)]
    again = ("gpuctl", "init", stack, *(["--offline"] if offline else []), *options)
    chosen = context or _context(person, offline=offline)
    if chosen is None:
        person.stop_if_something_is_missing(*again)
    view = _view(chosen or "", stack, said, offline=offline)
    said = _asked_for(person, view, said)
    allowed = _about_circuit(person, circuit)
    answers = Answers(chosen or "", said, watts or 0, allowed, slices or USUAL_SLICES, talos_version)
    answers = _with_watts(person, stack, view, answers) if watts is None else answers
    person.stop_if_something_is_missing(*again)
    written, settings = checked(stack, file, view, answers)
    write(file, written.text)
    for warning in settings.warnings:
        complain(f"gpuctl: warning: {warning}")
    show(
        output,
        table=lambda: _lines(stack, file, view, settings),
        document=lambda: _document(stack, file, view, settings),
    )


def _said(nodes: Sequence[str]) -> "dict[str, Gpus]":
    """The GPUs that options name, by node."""
    from gpuctl.init.gpus import EXAMPLE, FORM

    said: dict[str, Gpus] = {}
    for text in nodes:
        found = _named(text)
        if found is None:
            problem = f"{text!r} is not NAME={FORM}, such as gpu-1={EXAMPLE}"
            raise typer.BadParameter(problem, param_hint="--node")
        if found[0] in said:
            raise typer.BadParameter(f"{found[0]} is named twice", param_hint="--node")
        said |= [found]
    return said


def _named(text: str) -> "tuple[str, Gpus] | None":
    from gpuctl.init.gpus import gpus_of

    match = _NODE.fullmatch(text)
    gpus = gpus_of(match[2]) if match else None
    return None if match is None or gpus is None else (match[1], gpus)


def _context(person: Person, *, offline: bool) -> str | None:
    """The only context there is, or the one that is answered; never the current one without a question."""
    from gpuctl.cluster import ClusterError
    from gpuctl.cluster.kubeconfig import contexts
    from gpuctl.init.questions import about_context

    try:
        known = [] if offline else contexts()
    except ClusterError as error:
        _unreachable(error)
    return known[0] if len(known) == 1 else person.ask(about_context(known), lambda text: text or None)


def _unreachable(error: Exception) -> NoReturn:
    complain(f"gpuctl: error: {error}\nWithout a cluster: gpuctl init --offline, with a --node for each GPU node")
    raise typer.Exit(Exit.UNREACHABLE) from None


def _view(context: str, stack: str, said: "Mapping[str, Gpus]", *, offline: bool) -> "View":
    from gpuctl.cluster import ClusterError, connect
    from gpuctl.cluster.programs import InstalledPrograms
    from gpuctl.init.look import View, is_silent, look
    from gpuctl.init.pci import listed_by_talos
    from gpuctl.settings.project import PROJECT
    from gpuctl.settings.refusal import listed

    if offline:
        return View()
    try:
        cluster = connect(context, None)
        nodes = cluster.nodes()
        pods, remarks = _pods(cluster)
        version = cluster.version()
    except ClusterError as error:
        _unreachable(error)
    unread = [f"Could not be read: {each}" for each in cluster.unreadable]
    if strangers := [name for name in said if name not in {node.name for node in nodes}]:
        there = listed([node.name for node in nodes]) or "none"
        problem = f"{listed(strangers)} is no node of context {context}, which has {there}"
        raise typer.BadParameter(problem, param_hint="--node")
    silent = [node for node in nodes if is_silent(node) and node.name not in said]
    pci, unanswered = listed_by_talos(context, silent, InstalledPrograms())
    known = [*remarks, *unread, *unanswered]
    return look(nodes, pods, f"{PROJECT}/{stack}", version, pci=pci, said=said, remarks=known)


def _pods(cluster: "Cluster") -> "tuple[list[Pod], list[str]]":
    """The pods, and what is to be said where they may not be read."""
    from gpuctl.cluster import AccessDeniedError

    try:
        return cluster.pods(), []
    except AccessDeniedError:
        return [], ["Pods could not be read, so it is not known whether another device plugin serves these nodes"]


def _asked_for(person: Person, view: "View", said: "Mapping[str, Gpus]") -> "dict[str, Gpus]":
    """What is said of GPUs, with the answers about those that are not known."""
    from gpuctl.init.gpus import gpus_of
    from gpuctl.init.questions import about_another, about_gpus

    def named(text: str) -> "tuple[str, Gpus] | None":
        found = _named(text)
        return found if found and found[0] in (view.names or [found[0]]) else None

    known = dict(said)
    for node, question in about_gpus(view, said):
        if node:
            gpus = person.ask(question, gpus_of)
            known |= {} if gpus is None else {node: gpus}
            continue
        found = person.ask(question, named)
        while found:
            known |= [found]
            another = about_another()
            found = person.ask(another, lambda text, none=another.example: () if text == none else named(text))
    return known


def _about_circuit(person: Person, given: int | None) -> int:
    from gpuctl.init.questions import about_circuit

    return (person.ask(about_circuit(), _number) or 0) if given is None else given


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,6}", text, re.ASCII) else None


def _with_watts(person: Person, stack: str, view: "View", answers: "Answers") -> "Answers":
    """The answers with a power limit, which is not asked for where no GPU takes one."""
    from dataclasses import replace

    from gpuctl.init.draft import models_of, proposed_watts
    from gpuctl.init.questions import about_gpus, about_watts

    models = models_of(view, answers.gpus)
    watts = proposed_watts(stack, view, answers)
    if models or about_gpus(view, answers.gpus):  # GPUs that are missing may take one
        watts = person.ask(about_watts(models, watts), _number) or watts
    return replace(answers, watts=watts)


def _next(stack: str) -> list[tuple[str, str]]:
    """The commands that come next, and what each does."""
    return [
        (command("pulumi", "stack", "init", stack), "where Pulumi keeps its records of the stack"),
        (
            command("gpuctl", "talos", "patch", "--stack", stack, "-o", "patches"),
            "the driver, and the commands for each node",
        ),
        (command("pulumi", "up", "--stack", stack), "after `gpuctl doctor --pre`, which says what is in the way"),
    ]


def _lines(stack: str, file: Path, view: "View", settings: Settings) -> Iterator[Line]:
    from gpuctl.cli.capacity import lines
    from gpuctl.forms.table import table

    yield line(f"{shown(file)} is written. Read its comments: they say where each value is from")
    for each in view.left:
        yield line(f"  without {each.name}, which {each.why}")
    yield line()
    yield from lines(stack, settings)
    yield line()
    yield from table(("NEXT", ""), _next(stack))


def _document(stack: str, file: Path, view: "View", settings: Settings) -> dict[str, object]:
    from gpuctl.cli.capacity import document

    return document(stack, settings) | {
        "file": str(file),
        "context": settings.context,
        "nodes": [
            {"name": node.name, "gpus": {cards.gpu: cards.count for cards in node.cards}} for node in settings.nodes
        ],
        "left": [{"name": each.name, "reason": each.why, "isOthers": each.is_others} for each in view.left],
        "next": [shown for shown, _ in _next(stack)],
    }
