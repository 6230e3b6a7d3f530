"""gpuctl talos patch: the patches of a stack's GPU nodes, and how to apply them."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gpuctl.cli.options import Stack, settings_of
from gpuctl.cli.talos_options import Node, node_named, read_machine_config
from gpuctl.desired.schematic import installer_image
from gpuctl.desired.talos import Form, Present, form_of, talos_patch
from gpuctl.machine_config import MachineConfig, present
from gpuctl.machine_config.install_rules import release_in
from gpuctl.settings import GpuNode, Settings
from gpuctl.settings.minor_version import format_minor, minor_of
from gpuctl.settings.talos_tables import UPGRADE_FROM

_LATER = """\
Driver and toolkit come with the image, so a node needs the upgrade, which reboots it, whenever its image changes:
a new Talos release, driver channel or flavour of kernel modules. For all else the patch is enough.
"""
_ONCE = """\
Up to Talos v1.13 a patch appends to lists: apply it once. For a node that has it, or other NVIDIA parts, already:
talosctl --nodes ADDRESS get machineconfig v1alpha1 -o yaml >FILE && gpuctl talos patch ... --node NODE --config FILE
"""


def patch(
    stack: Stack,
    node: Node = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the patches go, as NODE.yaml.")
    ] = Path("patches"),
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The node's present configuration: the patch adds only what it lacks."),
    ] = None,
) -> None:
    """Write the Talos patch of each GPU node, and print the commands that bring it there.

    Nothing is applied. With --config an entry of the node's own in containerd's configuration is merged, its install
    disk repeated, and nothing is added twice.
    """
    settings = settings_of(stack)
    if config and node is None and len(settings.nodes) > 1:
        raise typer.BadParameter("is the configuration of one node: name it with --node", param_hint="--config")
    known = read_machine_config(config) if config else None
    nodes = [node_named(settings, node)] if node else settings.nodes
    output.mkdir(parents=True, exist_ok=True)
    for each in nodes:
        seen = present(known, settings.talos_minor) if known else None
        file = output / f"{each.name}.yaml"
        file.write_text(talos_patch(settings, each, seen))
        print("\n".join(_told(settings, each, file, known, seen)), end="\n\n")
    print(_LATER, end="")
    if known is None and any(form_of(settings, each) is Form.FIELDS for each in nodes):
        print(_ONCE, end="")


def _way_there(settings: Settings, known: MachineConfig | None) -> Iterator[str]:
    """What must come before an upgrade that Talos refuses: it skips one line at most."""
    present_release = release_in(known) if known else None
    oldest = UPGRADE_FROM[settings.talos_minor]
    if present_release and minor_of(present_release) < oldest:
        yield (
            f"  first upgrade from {present_release} to {format_minor(oldest)}: "
            f"{settings.talos_version} takes none older"
        )


def _told(
    settings: Settings, node: GpuNode, file: Path, known: MachineConfig | None, seen: Present | None
) -> Iterator[str]:
    form = seen.form if seen else form_of(settings, node)
    talosctl = ["talosctl", "--nodes", node.address or node.name]
    yield f"{node.name}: {file}, {form.value}, for Talos {settings.talos_version}"
    yield f"  {shlex.join([*talosctl, 'patch', 'machineconfig', '--patch', f'@{file}'])}"
    image = installer_image(settings)
    if known and known.below("install", "image") == image:
        yield "  no upgrade, if the node runs the image in its configuration: talosctl get extensions"
        return
    yield from _way_there(settings, known)
    yield f"  {shlex.join([*talosctl, 'upgrade', '--image', image])}"
    selector = seen.disk_selector if seen else settings.disk_selector_of(node)
    if form is Form.DOCUMENTS and selector is None:
        yield "  the patch names no image, because the install disk is not known: gpu:installDiskSelector or --config"
