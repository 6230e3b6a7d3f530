"""The NVIDIA driver of a node, simulated or real: what containerd starts for RuntimeClass `nvidia`."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from testbed import container_runtime
from testbed.container_runtime import MPS_PROGRAMS
from testbed.gpus import DRIVER_VERSION, NodeSpec, SimulatedGpu

DRIVER_ROOT = "/usr/local"
"""Where Talos has the driver, and nodes with CDI here."""

_CONTROL_DEVICES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
_NULL = os.makedev(1, 3)
_NVML = Path(__file__).parent / "nvml"
_WARNINGS = ("-O2", "-Wall", "-Wextra")


def build(directory: Path) -> None:
    """Compiles the simulated library, nvidia-smi and MPS into a directory; needs gcc and a static C library."""
    library = ("-fPIC", "-fvisibility=hidden", "-shared", "-Wl,-soname,libnvidia-ml.so.1")
    _compile(*library, "-o", directory / "libnvidia-ml.so.1", _NVML / "nvml.c")
    program = ("-static", "-s", "-o")
    _compile(*program, directory / "nvidia-smi", _NVML / "nvidia-smi.c", _NVML / "nvml.c")
    first, *others = MPS_PROGRAMS
    _compile(*program, directory / first, _NVML / "mps.c", _NVML / "nvml.c")
    for name in others:
        (directory / name).hardlink_to(directory / first)


def build_cuda_load(source: Path, directory: Path) -> None:
    """Compiles the CUDA load, which finds the driver's library as it runs, into a directory."""
    _compile("-s", "-o", directory / "cuda-load", source)


def _compile(*arguments: str | Path) -> None:
    subprocess.run(["gcc", *_WARNINGS, *arguments], check=True)


def simulated(directory: Path, spec: NodeSpec, driver: Path, runc: Path) -> Path:
    """Lays a node's simulated GPUs out under `directory`; returns the runtime for containerd."""
    (directory / "gpus.conf").write_text(spec.driver_config())
    for uuid in spec.uuids():
        (directory / "gpu" / uuid).mkdir(parents=True, exist_ok=True)
    shutil.copy(container_runtime.__file__, directory / "container_runtime.py")
    return _runtime(directory, "nvidia", driver, runc)


def laid_over(directory: Path) -> Mapping[str, Path]:
    """What `simulated_devices` made: path on the node -> folder whose files are there beside those of the machine."""
    return {DRIVER_ROOT: directory / "driver-root", "/dev": directory / "devices"}


def simulated_devices(directory: Path, spec: NodeSpec, driver: Path, runc: Path) -> Path:
    """Adds what a node with CDI has as well: a driver root and device nodes, which are /dev/null in disguise.

    Returns:
        The runc for containerd, which knows what is behind the device nodes.
    """
    root, devices = laid_over(directory).values()
    for folder in (root / "bin", root / "lib64", devices):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(driver / "nvidia-smi", root / "bin")
    library = f"libnvidia-ml.so.{DRIVER_VERSION}"
    shutil.copy(driver / "libnvidia-ml.so.1", root / "lib64" / library)
    (root / "lib64" / "libnvidia-ml.so.1").unlink(missing_ok=True)
    (root / "lib64" / "libnvidia-ml.so.1").symlink_to(library)
    for name in (*_CONTROL_DEVICES, *(f"nvidia{number}" for number in range(len(spec.boards)))):
        if not (devices / name).exists():
            os.mknod(devices / name, stat.S_IFCHR, _NULL)
            (devices / name).chmod(0o666)
    return _runtime(directory, "runc", driver, runc)


def simulated_gpus(directory: Path, spec: NodeSpec) -> list[SimulatedGpu]:
    """The GPUs that `simulated` laid out."""
    pairs = zip(spec.uuids(), spec.models, strict=True)
    return [SimulatedGpu(directory / "gpu" / uuid, model) for uuid, model in pairs]


def real(directory: Path, toolkit: Path, runc: Path) -> Path:
    """Configures NVIDIA's own container runtime for this node alone; returns the runtime for containerd.

    Its hooks are run by nvidia-ctk, which it would otherwise look for in /usr/bin.
    """
    config = directory / "nvidia-container-runtime.toml"
    config.write_text(
        "[nvidia-ctk]\n"
        f'path = "{toolkit / "nvidia-ctk"}"\n'
        "[nvidia-container-runtime]\n"
        f'debug = "{directory / "log" / "nvidia-container-runtime.log"}"\n'
        f'runtimes = ["{runc}"]\n'
    )
    command = f"NVIDIA_CTK_CONFIG_FILE_PATH='{config}' exec '{toolkit / 'nvidia-container-runtime'}'"
    return _script(directory / "nvidia-container-runtime", command)


def _runtime(directory: Path, handler: str, driver: Path, runc: Path) -> Path:
    """What containerd starts for a handler; only for a new container it is more than runc."""
    files = (driver, directory / "gpus.conf", directory / "gpu", directory / "devices", runc)
    command = (sys.executable, "-I", "-S", directory / "container_runtime.py", handler, *files)
    words = " ".join(f"'{word}'" for word in command)
    name = "nvidia-container-runtime" if handler == "nvidia" else handler
    return _script(directory / name, f'case " $* " in *" create "*) exec {words} "$@" ;; esac\nexec \'{runc}\'')


def _script(path: Path, command: str) -> Path:
    path.write_text(f'#!/bin/sh\n{command} "$@"\n')
    path.chmod(0o755)
    return path
