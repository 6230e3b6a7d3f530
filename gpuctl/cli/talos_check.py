"""gpuctl talos check: what is wrong with a machine configuration, as far as GPUs go."""

from pathlib import Path
from typing import Annotated

import typer

from gpuctl.cli.options import known_stacks, settings_of
from gpuctl.cli.talos_options import Node, node_named, read_machine_config
from gpuctl.machine_config import Wanted
from gpuctl.machine_config import check as findings_in
from gpuctl.machine_config.install_rules import RELEASE, release_in
from gpuctl.settings.minor_version import format_minor, minor_of
from gpuctl.settings.talos_tables import TALOS_MINORS

FOUND = 1
"""Exit code when something is missing, wrong or without effect."""


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A node's machine configuration, or a patch for one.")],
    stack: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Also compare with this stack: {known_stacks()}."),
    ] = None,
    node: Node = None,
    talos_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Of the node; else the stack's, else the installer image's.")
    ] = None,
) -> None:
    """Report what a machine configuration lacks, has wrong, or says without effect; exit 1 when there is something.

    It knows what Talos' own validation accepts all the same; run `talosctl validate` for the rest. Of a patch it is
    not asked what is missing.
    """
    config = read_machine_config(file)
    settings = settings_of(stack) if stack else None
    wanted = Wanted(settings, node_named(settings, node)) if settings else None
    version = talos_version or (settings.talos_version if settings else None) or release_in(config)
    if version is None or not RELEASE.fullmatch(version) or minor_of(version) not in TALOS_MINORS:
        known = f"{format_minor(TALOS_MINORS[0])} to {format_minor(TALOS_MINORS[-1])}"
        problem = f"{version} is no release of {known}" if version else "no installer image tells the Talos release"
        raise typer.BadParameter(f"{problem}: name it, such as v1.13.9", param_hint="--talos-version")
    findings = findings_in(config, version, wanted)
    for finding in findings:
        print(finding)
    kind = "configuration" if config.is_whole else "patch"
    print(f"{file}, a {kind} for Talos {version}: {len(findings) or 'nothing'} found")
    if findings:
        raise typer.Exit(FOUND)
