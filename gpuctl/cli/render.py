"""gpuctl render: the Kubernetes objects of a stack."""

from typing import Annotated

import typer

from gpuctl.cli.options import Stack, settings_of
from gpuctl.desired import monitoring
from gpuctl.desired.manifests import manifests
from gpuctl.desired.names import node_labels
from gpuctl.desired.profiles import profiles
from gpuctl.desired.text import yaml_text
from gpuctl.settings import Settings


def render(
    stack: Stack,
    rules: Annotated[
        bool, typer.Option("--rules", help="Print the stack's alerts instead, as a rule file of Prometheus.")
    ] = False,
) -> None:
    """Print every Kubernetes object of a stack as YAML, as `kubectl apply --server-side` takes it.

    Nodes are labelled and never created, so their labels are printed as commands in comments.
    """
    settings = settings_of(stack)
    if rules:
        print(yaml_text(monitoring.rules(settings)), end="")
        return
    print(_label_commands(settings), end="")
    print(yaml_text(*manifests(settings)), end="")


def _label_commands(settings: Settings) -> str:
    return "".join(
        f"# kubectl --context {settings.context} label node {node.name} {label}={value}\n"
        for profile in profiles(settings)
        for node in profile.nodes
        for label, value in node_labels(profile.name).items()
    )
