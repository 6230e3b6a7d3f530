"""gpuctl adopt: a cluster that shares its GPUs already becomes a stack's."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gpuctl.cli.options import OutputOption, Stack, by_kubeconfig, settings_of
from gpuctl.desired.desired import Desired, desired_state
from gpuctl.desired.sharing import offers_text
from gpuctl.forms.command import command
from gpuctl.forms.exits import Exit
from gpuctl.forms.line import Line, line
from gpuctl.forms.output import Output, complain, show
from gpuctl.forms.table import table
from gpuctl.settings.project import PROJECT
from gpuctl.settings.refusal import listed

if TYPE_CHECKING:
    from gpuctl.adopt.adoption import Adoption
    from gpuctl.adopt.item import Item
    from gpuctl.cluster import Cluster


def adopt(
    stack: Stack,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take over what is to be taken over.")] = False,
    from_stack: Annotated[
        str, typer.Option(metavar="PROJECT/STACK", help="Take over what is of this stack, which is gone.")
    ] = "",
    output: OutputOption = Output.table,
) -> None:
    """Say what a cluster that shares its GPUs already has, what becomes of it, and in which order.

    Without --yes nothing is changed. With it, what a person made and nothing else keeps gets the label and the
    annotation by which `pulumi up` takes it for the stack's. What another tool or stack keeps is never touched,
    and nothing is removed: that is a list of commands. Pods that hold GPUs run on.

    Exit codes: 0 nothing is left to do before `pulumi up`, or with --yes it is taken over; 10 something is left to do;
    1 something else is in the way, and nothing is changed; 2 usage, or a stack file with mistakes; 3 the cluster does
    not answer, or refuses.
    """
    from gpuctl.adopt.adoption import may_take_over, take_over
    from gpuctl.adopt.item import When
    from gpuctl.cluster import ClusterError

    desired, own = desired_state(settings_of(stack)), f"{PROJECT}/{stack.rpartition('/')[2]}"
    done: list[Item] = []
    try:
        cluster = by_kubeconfig(desired.settings)
        found = _asked(desired, own, cluster, from_stack)
        if yes and not found.obstacles:
            if denied := may_take_over(cluster, found.marked):
                complain(f"gpuctl: error: you may not change (patch) {listed(denied)} there, so nothing was changed")
                raise typer.Exit(Exit.UNREACHABLE)
            done = found.marked
            take_over(cluster, done, own)
            found = _asked(desired, own, cluster, "")
    except ClusterError as error:
        _unreachable(error)
    show(
        output,
        table=lambda: _lines(stack, desired, found, done, from_stack),
        document=lambda: _document(stack, desired, found, done, from_stack),
    )
    if found.obstacles:
        raise typer.Exit(Exit.FOUND)
    if not yes and (found.marked or any(step.when < When.CLEANING for step in found.steps)):
        raise typer.Exit(Exit.CHANGED)


def _asked(desired: Desired, own: str, cluster: "Cluster", from_stack: str) -> "Adoption":
    from gpuctl.adopt.adoption import NoSuchStackError, adoption

    try:
        return adoption(desired, own, cluster, from_stack)
    except NoSuchStackError as error:
        problem = f"nothing there is of stack {from_stack}; there is {error}"
        raise typer.BadParameter(problem, param_hint="--from-stack") from error


def _unreachable(error: Exception) -> NoReturn:
    complain(f"gpuctl: error: {error}")
    raise typer.Exit(Exit.UNREACHABLE) from None


def _steps(stack: str, found: "Adoption", from_stack: str) -> list[tuple[str, str]]:
    """What is to be done, in order: the command, empty where there is none, and what it does."""
    from gpuctl.adopt.item import When

    taken = ("--from-stack", from_stack) if from_stack else ()
    again = command("gpuctl", "adopt", "--stack", stack, *taken, "--yes")
    rest = [(step.when, step.command, step.what) for step in found.steps]
    return [
        *((shown, what) for when, shown, what in rest if when is When.SETTING),
        *([(again, f"takes over {listed([each.title for each in found.marked])}")] if found.marked else []),
        *((shown, what) for when, shown, what in rest if when is When.REMOVAL),
        (command("pulumi", "up", "--stack", stack), "deploys the stack over what is there"),
        (command("gpuctl", "verify", "--stack", stack, "--wait", "5m"), "proves it"),
        *((shown, what) for when, shown, what in rest if when is When.CLEANING),
    ]


def _lines(stack: str, desired: Desired, found: "Adoption", done: "list[Item]", from_stack: str) -> Iterator[Line]:
    context = f"stack {stack}, context {desired.settings.context}"
    taken = f"taken over: {listed([each.title for each in done])}" if done else "nothing is changed"
    yield line(f"{context}: {taken}")
    yield line()
    if found.items:
        rows = [(each.title, str(each.keeper), each.fate.value, each.why) for each in found.items]
        yield from table(("OBJECT", "KEPT BY", "THEN", ""), rows)
    else:
        yield line("The cluster has nothing that shares GPUs yet.")
    yield line()
    nodes = [(each.name, _offers(each.offers), _offers(each.wanted), str(len(each.pods))) for each in found.nodes]
    yield from table(("NODE", "OFFERS", "WILL OFFER", "GPU PODS"), nodes, right=("GPU PODS",))
    for each in found.nodes:
        if each.stranded:
            names = listed(list(each.stranded))
            yield line(f"  {each.name}: {names} ask for what it will not offer: they run on, and made anew they wait")
    yield line()
    if found.obstacles:
        yield line("In the way, and to be fixed first; nothing is taken over until then:")
        yield from (line(f"  {each}") for each in found.obstacles)
        return
    steps = [(str(number), *step) for number, step in enumerate(_steps(stack, found, from_stack), 1)]
    yield from table(("STEP", "COMMAND", ""), steps, right=("STEP",))


def _offers(offers: Mapping[str, int]) -> str:
    return offers_text(offers) or "no GPU"


def _document(
    stack: str, desired: Desired, found: "Adoption", done: "list[Item]", from_stack: str
) -> dict[str, object]:
    return {
        "stack": stack,
        "context": desired.settings.context,
        "objects": [
            dict(zip(("kind", "namespace", "name"), each.key, strict=True))
            | {"keptBy": {"tool": each.keeper.tool.value, "name": each.keeper.name, "namespace": each.keeper.namespace}}
            | {"fate": each.fate.name.lower(), "why": each.why}
            for each in found.items
        ],
        "takenOver": [each.title for each in done],
        "nodes": [
            {
                "name": each.name,
                "offers": dict(each.offers),
                "willOffer": dict(each.wanted),
                "gpuPods": list(each.pods),
                "stranded": list(each.stranded),
            }
            for each in found.nodes
        ],
        "inTheWay": list(found.obstacles),
        "steps": [{"command": shown, "what": what} for shown, what in _steps(stack, found, from_stack)],
    }
