"""gpuctl talos patch: the patches of a stack's GPU nodes, and how to apply them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gpuctl.cli.files import write_below
from gpuctl.cli.options import Stack, settings_of
from gpuctl.cli.talos_options import Node, node_named, read_machine_config
from gpuctl.desired.names import contested, node_labels
from gpuctl.desired.profiles import profile_of
from gpuctl.desired.schematic import image_is_chosen, nvidia_extensions
from gpuctl.desired.talos import CRI_FILE, Form, Present, form_of, image_of, talos_patch
from gpuctl.desired.talos_tools import FILES, Tool, tool_file
from gpuctl.forms.command import command
from gpuctl.forms.output import say
from gpuctl.machine_config import MachineConfig, present
from gpuctl.machine_config.images import release_in
from gpuctl.machine_config.presence import cri_files
from gpuctl.settings import GpuNode, Settings
from gpuctl.settings.cri_fragment import toml_problems
from gpuctl.settings.talos_tables import TALOS_MINORS, UPGRADE_FROM, format_minor, minor_of

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
    tool: Annotated[
        Tool | None, typer.Option("--for", help="Write one file in the form of this tool instead, for all nodes.")
    ] = None,
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
    if tool:
        _write_for(tool, settings, output, is_one=bool(node or config))
        return
    if config and node is None and len(settings.nodes) > 1:
        raise typer.BadParameter("is the configuration of one node: name it with --node", param_hint="--config")
    known = _whole(config) if config else None
    nodes = [node_named(settings, node)] if node else settings.nodes
    for each in nodes:
        seen = present(known, settings.talos_version_of(each)) if known else None
        file = output / f"{each.name}.yaml"
        write_below("--output", file, talos_patch(settings, each, seen))
        say("\n".join(_told(settings.on(each), each, file, known, seen)))
        print()
    print(_LATER, end="")
    if known is None and any(form_of(settings, each) is Form.FIELDS for each in nodes):
        print(_ONCE, end="")


def _write_for(tool: Tool, settings: Settings, output: Path, *, is_one: bool) -> None:
    if is_one:
        raise typer.BadParameter("is about all nodes: without --node and --config", param_hint="--for")
    file = output / FILES[tool]
    write_below("--output", file, tool_file(tool, settings))
    say(f"{file}: in the form of {tool.value}, for {', '.join(node.name for node in settings.nodes)}")
    print(_LATER, end="")


def _whole(path: Path) -> MachineConfig:
    """A node's whole configuration, of which the patch can say what it lacks.

    Raises:
        typer.BadParameter: it is only a part of one, or one that nothing can be merged into.
    """
    config = read_machine_config(path)
    if not config.is_whole:
        kind = "a JSON6902 patch" if config.operations else "a patch" if config.documents else "empty"
        problem = f"{path} is {kind} and not a node's whole configuration, which has machine.type"
        way = "talosctl --nodes ADDRESS get machineconfig v1alpha1 -o yaml >FILE"
        raise typer.BadParameter(f"{problem}. Fix it: {way}", param_hint="--config")
    broken = [problem for each in cri_files(config) for problem in toml_problems(str(each.get("content", "")))]
    if broken:
        raise typer.BadParameter(f"{path}: {CRI_FILE} {broken[0]}; correct it first", param_hint="--config")
    return config


def _way_there(settings: Settings, known: MachineConfig | None) -> Iterator[str]:
    """What must come before an upgrade that Talos refuses: it skips one line at most."""
    present_release = release_in(known) if known else None
    oldest = UPGRADE_FROM.get(settings.talos_minor, TALOS_MINORS[-1])
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
    if own := _own(node):
        yield f"  of its own: {', '.join(own)}"
    yield f"  {command(*talosctl, 'patch', 'machineconfig', '--patch', f'@{file}')}"
    if form is not Form.FIELDS:
        line = format_minor(settings.talos_minor)
        yield f"  with talosctl {line} or newer: an older one does not know the documents of {line}"
    if (
        seen
        and settings.label_nodes
        and (held := contested(seen.labels, node_labels(profile_of(settings, node).label)))
    ):
        yield f"  it takes out {' and '.join(held)}, which the stack sets: run pulumi up next,"
        yield "  because the node offers no GPU before"
    image = image_of(settings, seen)
    if known and known.below("install", "image") == image:
        yield "  no upgrade, if the node runs the image in its configuration: talosctl get extensions"
    else:
        yield from _way_there(settings, known)
        yield f"  {command(*talosctl, 'upgrade', '--image', image)}"
    yield from _about_the_own_image(settings, seen, image)
    selector = seen.disk_selector if seen else settings.disk_selector_of(node)
    if form is Form.DOCUMENTS and selector is None:
        yield "  the patch names no image, because the install disk is not known: gpu:installDiskSelector or --config"


def _own(node: GpuNode) -> list[str]:
    """What the stack file says of this node's Talos and no other's."""
    keys = ("talosVersion", "talosContract", "driverChannel", "kernelModules", "installDiskSelector")
    said = node.model_dump(by_alias=True, exclude_none=True)
    return [f"{key} {said[key]}" for key in keys if key in said]


def _about_the_own_image(settings: Settings, seen: Present | None, image: str) -> Iterator[str]:
    """What is not known of the node's present image is not lost silently."""
    if seen is None or seen.own_image is None:
        return
    if seen.own_image == image and not image_is_chosen(settings):
        needed = ", ".join(nvidia_extensions(settings))
        yield "  the node's own image is kept: what it contains could not be determined, and it must contain"
        yield f"  {needed}; for another one: gpu:systemExtensions and gpu:kernelArguments, or gpu:schematic"
    elif seen.own_image != image:
        yield f"  replaces {seen.own_image},"
        yield "  whose content could not be determined: other extensions and kernel arguments in it are lost, unless"
        yield "  gpu:systemExtensions, gpu:kernelArguments or gpu:schematic name them"
