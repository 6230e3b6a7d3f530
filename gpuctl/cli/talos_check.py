"""gpuctl talos check: what is wrong with a machine configuration, as far as GPUs go."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gpuctl.cli.options import known_stacks, settings_of
from gpuctl.cli.talos_options import Node, node_named, read_parts
from gpuctl.forms.exits import Exit
from gpuctl.forms.output import say
from gpuctl.machine_config import Part, Wanted
from gpuctl.machine_config import check as findings_in
from gpuctl.machine_config.images import RELEASE, release_in
from gpuctl.settings.talos_tables import TALOS_MINORS, WITHOUT_TOOLKIT, WITHOUT_TOOLKIT_FROM, format_minor, minor_of


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A node's machine configuration, or a patch for one.")],
    stack: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Also compare with this stack: {known_stacks()}."),
    ] = None,
    node: Node = None,
    talos_version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Of the node; else as the stack says, else the installer image's."),
    ] = None,
) -> None:
    """Report what a machine configuration lacks, has wrong, or says without effect; exit 1 when there is something.

    It knows what Talos' own validation accepts all the same; run `talosctl validate` for the rest. Of a patch it is
    not asked what is missing. The file may be one of talhelper, Omni or Cluster API, with configurations inside.
    """
    parts = read_parts(file)
    settings = settings_of(stack) if stack else None
    wanted = Wanted(settings, node_named(settings, node)) if settings else None
    known = talos_version or (wanted.settings.talos_version_of(wanted.node) if wanted else None)
    wrapped = any(part.where for part in parts)
    judged = [part for part in parts if part.is_about_gpus or not wrapped]
    wrong = 0
    for part in judged:
        findings = findings_in(part.config, _release(known, part), wanted)
        for finding in findings:
            say(f"{part.where}: {finding}" if part.where else str(finding))
        wrong += sum(not finding.is_unknown for finding in findings)
    say(f"{file}, {_described(parts, judged, known)}: {wrong or 'nothing'} found")
    if wrong:
        raise typer.Exit(Exit.FOUND)


def _described(parts: Sequence[Part], judged: Sequence[Part], known: str | None) -> str:
    if any(part.where for part in parts):
        return f"a file of another tool, {len(judged)} of its {len(parts)} parts with something of NVIDIA's"
    kind = "configuration" if parts[0].config.is_whole else "patch"
    return f"a {kind} for Talos {_release(known, parts[0])}"


def _release(known: str | None, part: Part) -> str:
    """The Talos release of a part: that of the options, else its file's, else its image's.

    Raises:
        typer.BadParameter: nothing says it, or it is none whose rules are known.
    """
    version = known or part.talos_version or release_in(part.config)
    if version is None:
        problem = "no installer image tells the Talos release"
    elif RELEASE.fullmatch(version) and minor_of(version) in TALOS_MINORS:
        return version
    elif RELEASE.fullmatch(version) and minor_of(version) >= WITHOUT_TOOLKIT_FROM:
        problem = f"{version} {WITHOUT_TOOLKIT}"
    else:
        problem = f"{version} is no release of {format_minor(TALOS_MINORS[0])} to {format_minor(TALOS_MINORS[-1])}"
    raise typer.BadParameter(f"{problem}: name it, such as v1.13.9", param_hint="--talos-version")
