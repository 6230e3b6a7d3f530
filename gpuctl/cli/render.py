"""gpuctl render: the Kubernetes objects of a stack."""

from pathlib import Path
from typing import Annotated

import typer

from gpuctl.cli.files import refuse_blocked, write_below
from gpuctl.cli.options import Stack, settings_of
from gpuctl.desired import monitoring, operator_stack
from gpuctl.desired import verify_cronjob as cronjob
from gpuctl.desired.desired import Desired, desired_state
from gpuctl.desired.dra.claims import claim_templates
from gpuctl.desired.gitops import FLUX, gitops_folder
from gpuctl.desired.names import yaml_text
from gpuctl.forms.command import command
from gpuctl.forms.output import say
from gpuctl.settings.refusal import listed
from gpuctl.settings.values import node_name_like

_LONGEST_NAMESPACE = 63


def render(
    stack: Stack,
    rules: Annotated[
        bool, typer.Option("--rules", help="Print the stack's alerts instead, as a rule file of Prometheus.")
    ] = False,
    verify_cronjob: Annotated[
        bool, typer.Option("--verify-cronjob", help="Print what runs `gpuctl verify` in the cluster instead.")
    ] = False,
    claims: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE",
            help="Print templates of claims for this namespace instead: shares, memory, a GPU by model or UUID.",
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="For --verify-cronjob: an image with gpuctl in it.")
    ] = None,
    schedule: Annotated[
        str, typer.Option(metavar="CRON", help="For --verify-cronjob: when it looks.")
    ] = cronjob.SCHEDULE,
    operator: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Print what makes the Pulumi Kubernetes Operator apply the stack from this git repository instead.",
        ),
    ] = None,
    gitops: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write what Flux or Argo CD applies instead; a path in the repository."),
    ] = None,
    branch: Annotated[str, typer.Option(metavar="NAME", help="For --operator: the branch that is applied.")] = "main",
    operator_namespace: Annotated[
        str, typer.Option(metavar="NAME", help="For --operator: where it looks for stacks.")
    ] = operator_stack.NAMESPACE,
) -> None:
    """Print every Kubernetes object of a stack as YAML, as `kubectl apply --server-side` takes it.

    Nodes are labelled and never created, so their labels are printed as commands in comments.
    """
    _one_at_a_time(rules=rules, verify_cronjob=verify_cronjob, claims=claims, operator=operator, gitops=gitops)
    settings = settings_of(stack)
    if rules:
        print(yaml_text(monitoring.rules(settings)), end="")
        return
    if verify_cronjob:
        if not image:
            raise typer.BadParameter(
                "is missing: no image of gpuctl is published; see docs/in-cluster.md", param_hint="--image"
            )
        print(yaml_text(*cronjob.verify_cronjob(settings, stack, image, schedule)), end="")
        return
    if operator:
        if settings.kubeconfig:
            problem = f"does not fit gpu:kubeconfig: {settings.kubeconfig} is a file of a workstation, not of a pod"
            raise typer.BadParameter(problem, param_hint="--operator")
        print(yaml_text(*operator_stack.operator_stack(stack, operator, branch, operator_namespace)), end="")
        return
    desired = desired_state(settings)
    if gitops:
        _write_folder(desired, stack, gitops)
        return
    if claims:
        if not desired.by_dra:
            raise typer.BadParameter("is for nodes of gpu:backend dra; the stack has none", param_hint="--claims")
        if len(claims) > _LONGEST_NAMESPACE or node_name_like(claims).replace(".", "-") != claims:
            problem = f"{claims!r} is not a namespace name: lower-case letters, digits and hyphens, at most 63"
            raise typer.BadParameter(problem, param_hint="--claims")
        print(yaml_text(*claim_templates(settings, claims)), end="")
        return
    print(_label_commands(desired), end="")
    print(yaml_text(*desired.manifests), end="")


def _one_at_a_time(**asked: object) -> None:
    """Each of these options is another answer; one that is empty would be none silently."""
    named = {f"--{name.replace('_', '-')}": value for name, value in asked.items() if value not in (None, False)}
    for option, value in named.items():
        if value == "":
            raise typer.BadParameter("is empty", param_hint=option)
    if len(named) > 1:
        first, *others = named
        raise typer.BadParameter(f"is one answer, {listed(others)} another: ask for one at a time", param_hint=first)


def _write_folder(desired: Desired, stack: str, folder: Path) -> None:
    if folder.is_absolute() or ".." in folder.parts or not folder.parts:
        problem = f"{folder} is no path below this folder, as the repository has it, such as clusters/{stack}/gpu"
        raise typer.BadParameter(problem, param_hint="--gitops")
    files = gitops_folder(desired, stack, folder.as_posix())
    for name in files:
        refuse_blocked("--gitops", folder / name)
    for name, text in files.items():
        write_below("--gitops", folder / name, text)
    say(f"{folder}: Argo CD applies the folder, and {folder / FLUX} has what Flux applies it by")
    if desired.settings.label_nodes:
        say("Neither labels nodes, because pruning would delete them: set gpu:labelNodes to false and apply the Talos")
        say("patches, or label them:")
        print(_label_commands(desired).replace("# ", ""), end="")


def _label_commands(desired: Desired) -> str:
    kubectl = ("kubectl", "--context", desired.settings.context)
    return "".join(
        f"# {command(*kubectl, 'label', 'node', node.name, f'{label}={value}')}\n"
        for node in desired.nodes.values()
        for label, value in node.labels.items()
    )
