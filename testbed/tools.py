"""Where each program of the test bed lies; asking for one that is missing builds or fetches it."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from testbed import debian, driver, go_tools, images, installed_pulumi, talos
from testbed.artifacts import artifact, folder_content, key
from testbed.gobuild import build, built
from testbed.talos_node import images as talos_node_images
from testbed.talos_node import releases, root
from testbed.talos_node.releases import release_of

_LANGUAGE_HOST = Path(__file__).parent / "language_host.py"
_IMAGE_SOURCES = [Path(__file__).with_name("images.py"), Path(__file__).parent / "talos_node" / "images.py"]
_LANGUAGE_HOST_SCRIPT = """\
#!/bin/sh
: "${GPU_TESTBED_PYTHON:?names the Python that has pulumi installed; python -m testbed shell sets it}"
exec "$GPU_TESTBED_PYTHON" "$(dirname "$0")/language_host.py" "$@"
"""


def kubernetes() -> Path:
    """The folder with etcd, the control plane, kubelet and kubectl."""
    return build(go_tools.KUBERNETES)


def kwok() -> Path:
    """The folder with kwok and, under `stages`, the YAML files that make its nodes and pods live."""
    return build(go_tools.KWOK)


def has_pulumi() -> bool:
    """Whether Pulumi is there or can be built: a machine that programs were only copied to does without it."""
    if shutil.which("go") or installed_pulumi.provider():
        return True
    return all(built(tool) for tool in (go_tools.PULUMI, go_tools.PROVIDER))


def provider() -> Path:
    """Pulumi's Kubernetes provider, the program."""
    return installed_pulumi.provider() or build(go_tools.PROVIDER) / "pulumi-resource-kubernetes"


def commands() -> Path:
    """The folder to put first on PATH.

    It has kubectl; pulumi with its Python language host, unless the machine's own will do or none can be had; and
    shellcheck where it can be had.
    """
    programs = [kubernetes() / "kubectl"]
    host = b""
    if has_pulumi() and installed_pulumi.provider() is None:
        folder = build(go_tools.PULUMI)
        programs += [folder / "pulumi", folder / "pulumi-language-python-exec"]
        host = _LANGUAGE_HOST.read_bytes()
    if debian.obstacle() is None and (shellcheck := debian.packages() / "usr" / "bin" / "shellcheck").exists():
        programs.append(shellcheck)

    def fill(out: Path) -> None:
        for program in programs:  # no symbolic link: pulumi looks for the host beside its real path
            (out / program.name).hardlink_to(program.resolve())
        if host:
            (out / _LANGUAGE_HOST.name).write_bytes(host)
            script = out / "pulumi-language-python"
            script.write_text(_LANGUAGE_HOST_SCRIPT)
            script.chmod(0o755)

    inputs = key(host, Path(__file__).read_bytes(), *map(str, programs))
    return artifact("commands", inputs, "linking commands for PATH", fill)


def simulated_driver() -> Path:
    """The folder with the simulated libnvidia-ml.so.1 and nvidia-smi."""
    source = Path(driver.__file__)
    inputs = key(source.read_bytes(), *folder_content(source.parent / "nvml"))
    return artifact("driver", inputs, "compiling the simulated NVIDIA driver", driver.build)


def container_toolkit() -> Path:
    """The folder with NVIDIA's container runtime and nvidia-ctk, for nodes with real GPUs."""
    return build(go_tools.TOOLKIT)


def plugin() -> Path:
    """The folder with NVIDIA's device plugin."""
    return build(go_tools.PLUGIN)


def cuda_load() -> Path:
    """The folder with a CUDA program of known load, for nodes with real GPUs."""
    source = Path(driver.__file__).parent / "l3" / "cuda-load.c"
    inputs = key(Path(driver.__file__).read_bytes(), source.read_bytes())
    return artifact("cuda-load", inputs, "compiling a CUDA load", partial(driver.build_cuda_load, source))


def talos_programs(version: str) -> Path:
    """The folder with machined and talosctl of a Talos release."""
    return build(release_of(version).programs)


def talos_root(version: str) -> Path:
    """The read-only root of nodes of a Talos release."""
    talos, containerd = talos_programs(version), build(releases.CONTAINERD)
    shim, packages = build(releases.SHIM) / "shim", debian.packages()

    def fill(out: Path) -> None:
        root.build(out, talos, containerd, shim, packages)

    inputs = key(*map(str, (talos, containerd, shim, packages)), Path(root.__file__).read_bytes())
    return artifact("talos-root", inputs, f"putting the root of Talos {version} together", fill)


def talos_images(version: str) -> Path:
    """The folder of the registry that nodes of a Talos release pull from."""
    release, busybox = release_of(version), debian.packages() / "bin" / "busybox"
    hyperkube, plugin = build(release.kubernetes) / "hyperkube", build(go_tools.PLUGIN) / "nvidia-device-plugin"

    def fill(out: Path) -> None:
        talos_node_images.write_registry(release, hyperkube, plugin, busybox, out)

    sources = [Path(source).read_bytes() for source in _IMAGE_SOURCES]
    inputs = key(version, *map(str, (hyperkube, plugin, busybox)), *sources)
    return artifact("talos-images", inputs, f"writing the images that Talos {version} pulls", fill)


def actionlint() -> Path:
    """The program that `make lint` reads the workflows with."""
    return build(go_tools.ACTIONLINT) / "actionlint"


def node_images() -> Path:
    """The folder of the image archives that every real node gets: device plugin, pause and busybox."""
    plugin, busybox = build(go_tools.PLUGIN) / "nvidia-device-plugin", debian.packages() / "bin" / "busybox"

    def write(out: Path) -> None:
        images.write_archive(images.device_plugin_image(plugin, busybox), out / "device-plugin.tar")
        images.write_archive(images.pause_image(busybox), out / "pause.tar")
        images.write_archive(images.busybox_image(busybox), out / "busybox.tar")

    inputs = key(str(plugin), str(busybox), Path(images.__file__).read_bytes())
    return artifact("images", inputs, "writing container images", write)


def containerd() -> Path:
    """The folder with containerd 2 and its shim, which read CDI specs; Debian's package is older."""
    return build(releases.CONTAINERD)


def dra_images() -> Path:
    """The folder of the image archive that nodes get for backend DRA, beside the others."""
    programs, busybox = build(go_tools.DRA_DRIVER), debian.packages() / "bin" / "busybox"

    def write(out: Path) -> None:
        images.write_archive(images.dra_driver_image(programs, busybox), out / "dra-driver.tar")

    inputs = key(str(programs), str(busybox), Path(images.__file__).read_bytes())
    return artifact("dra-images", inputs, "writing the image of the DRA driver", write)


def everything() -> dict[str, Path]:
    """Builds or fetches all that is missing; what it is -> where it lies."""
    makers: dict[str, Callable[[], Path]] = {
        go_tools.KUBERNETES.title: kubernetes,
        go_tools.KWOK.title: kwok,
        go_tools.PROVIDER.title: provider,
        go_tools.TOOLKIT.title: container_toolkit,
        go_tools.ACTIONLINT.title: actionlint,
        "Debian packages": debian.packages,
        "simulated NVIDIA driver": simulated_driver,
        "container images": node_images,
        "commands for PATH": commands,
    }
    makers |= {f"Talos {line} configuration library": partial(talos.library, line) for line in talos.LINES}
    return {title: make() for title, make in makers.items()}
