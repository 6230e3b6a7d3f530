"""The NVIDIA driver of a node, simulated or real: what containerd starts for RuntimeClass `nvidia`."""

import shutil
import subprocess
import sys
from pathlib import Path

from testbed import container_runtime
from testbed.gpus import NodeSpec, SimulatedGpu

_NVML = Path(__file__).parent / "nvml"
_WARNINGS = ("-O2", "-Wall", "-Wextra")


def build(directory: Path) -> None:
    """Compiles the simulated library and nvidia-smi into a directory; needs gcc and a static C library."""
    library = ("-fPIC", "-fvisibility=hidden", "-shared", "-Wl,-soname,libnvidia-ml.so.1")
    _compile(*library, "-o", directory / "libnvidia-ml.so.1", _NVML / "nvml.c")
    _compile("-static", "-s", "-o", directory / "nvidia-smi", _NVML / "nvidia-smi.c", _NVML / "nvml.c")


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
    runtime = directory / "container_runtime.py"
    shutil.copy(container_runtime.__file__, runtime)
    command = (sys.executable, "-I", "-S", runtime, driver, directory / "gpus.conf", directory / "gpu", runc)
    return _script(directory / "nvidia-container-runtime", "exec " + " ".join(f"'{word}'" for word in command))


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


def _script(path: Path, command: str) -> Path:
    path.write_text(f'#!/bin/sh\n{command} "$@"\n')
    path.chmod(0o755)
    return path
