"""gpuctl talos: the Talos side of a stack, and the boot image of its GPU nodes."""

import typer

from gpuctl.cli.options import Stack, settings_of
from gpuctl.cli.talos_check import check
from gpuctl.cli.talos_options import Node, node_named
from gpuctl.cli.talos_patch import patch
from gpuctl.desired import schematic as desired
from gpuctl.settings import Settings

_HELP = "What the Talos configuration and the boot image of GPU nodes must contain; nothing is applied."

talos = typer.Typer(help=_HELP, no_args_is_help=True)
talos.command()(patch)


@talos.command()
def schematic(stack: Stack, node: Node = None) -> None:
    """Print the Image Factory schematic of a stack, its ID, the installer image, and what the image contains.

    Where nodes differ in Talos release, driver channel or kernel modules, name one with --node.

    The factory makes images of a schematic that was posted to it once; the output can be posted as it is:

    gpuctl talos schematic --stack lab | curl --data-binary @- https://factory.talos.dev/schematics
    """
    settings = _on_its_nodes(settings_of(stack), node)
    text = desired.schematic(settings)
    print(text or "# the stack's own image, whose schematic is not known here; it must contain these\n", end="")
    print(f"# schematic ID: {desired.schematic_id(settings) or 'unknown'}")
    print(f"# installer image: {desired.installer_image(settings)}")
    for name, version in desired.extension_versions(settings).items():
        print(f"# contains: {name.removeprefix('siderolabs/')} {version or 'unknown'}")
    if settings.release and settings.release.gdrcopy:
        print(f"# for GDRCopy, in a schematic of your own: nvidia-gdrdrv-device {settings.release.gdrcopy}")


def _on_its_nodes(settings: Settings, name: str | None) -> Settings:
    """The settings as they hold on one node, or on all where they have one image.

    Raises:
        typer.BadParameter: the nodes have different images, and none is named.
    """
    if name:
        return settings.on(node_named(settings, name))
    images = {desired.installer_image(settings.on(node)): node for node in reversed(settings.nodes)}
    if len(images) > 1:
        names = ", ".join(sorted(node.name for node in images.values()))
        problem = f"the nodes have {len(images)} different images: name one of {names}"
        raise typer.BadParameter(problem, param_hint="--node")
    return settings.on(settings.nodes[0])


talos.command()(check)
