"""gpuctl talos schematic: the boot image of a stack's GPU nodes."""

from gpuctl.cli.options import Stack, settings_of
from gpuctl.desired import schematic as desired


def schematic(stack: Stack) -> None:
    """Print the Image Factory schematic of a stack, its ID, the installer image, and what the image contains.

    The factory makes images of a schematic that was posted to it once; the output can be posted as it is:

    gpuctl talos schematic --stack lab | curl --data-binary @- https://factory.talos.dev/schematics
    """
    settings = settings_of(stack)
    text = desired.schematic(settings)
    print(text or "# the stack's own image, whose schematic is not known here; it must contain these\n", end="")
    print(f"# schematic ID: {desired.schematic_id(settings) or 'unknown'}")
    print(f"# installer image: {desired.installer_image(settings)}")
    for name, version in desired.extension_versions(settings).items():
        print(f"# contains: {name.removeprefix('siderolabs/')} {version or 'unknown'}")
    if settings.release and settings.release.gdrcopy:
        print(f"# for GDRCopy, in a schematic of your own: nvidia-gdrdrv-device {settings.release.gdrcopy}")
