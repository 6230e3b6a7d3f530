"""Stand-in for the NVIDIA container runtime, for simulated GPUs.

Started by containerd as `container_runtime.py HANDLER DRIVER CONFIG STATE DEVICES RUNC ARGUMENTS...`. On `create`, when
HANDLER is `nvidia` and the container's NVIDIA_VISIBLE_DEVICES names GPUs, it adds to the container's OCI configuration
the simulated library, nvidia-smi and programs of MPS (from DRIVER), the node's GPU description (CONFIG), the GPUs'
device nodes (from DEVICES, where the node has any) and the state directory of each visible GPU (under STATE), and of no
other: a GPU without its state directory does not exist for the library. Then it becomes runc.

NVIDIA_VISIBLE_DEVICES: unset, empty or `void` adds nothing; `none` adds the driver without GPUs; `all`; or
UUIDs or indexes. The state is writable only for containers with CAP_SYS_ADMIN, which the real driver asks
for as well.

A container that has device nodes /dev/nvidiaN by other means (a CDI spec, privileged) gets the state of those GPUs: it
is what lies behind a device node on a real machine. HANDLER `runc` does nothing else.

It runs from a copy beside the node's state, so it imports the standard library only.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

LIBRARY_TARGET = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
SMI_TARGET = "/usr/bin/nvidia-smi"
MPS_FOLDER = "/usr/local/bin"
"""Where Talos has them, and who starts them without a PATH does not find them."""
MPS_PROGRAMS = ("nvidia-cuda-mps-control", "nvidia-cuda-mps-server", "gpu-client")
CONFIG_TARGET = "/etc/gpu-sim/gpus.conf"
STATE_TARGET = "/run/gpu-sim"


class UnknownDeviceError(Exception):
    """NVIDIA_VISIBLE_DEVICES names a GPU that the node does not have."""


def node_uuids(config: str) -> list[str]:
    """The UUIDs in a GPU description, in index order."""
    pairs = (line.split("=", 1) for line in config.splitlines() if "=" in line)
    return [value.strip() for key, value in pairs if key.strip() == "uuid"]


def visible_gpus(wanted: str | None, known: list[str]) -> list[str] | None:
    """The GPUs a container may see; None when it gets no driver at all.

    Raises:
        UnknownDeviceError: a UUID or index is not one of the node's.
    """
    if wanted in (None, "", "void"):
        return None
    if wanted == "none":
        return []
    if wanted == "all":
        return known
    names = {str(index): uuid for index, uuid in enumerate(known)} | {uuid.lower(): uuid for uuid in known}
    visible: list[str] = []
    for name in wanted.split(","):
        if name.strip().lower() not in names:
            raise UnknownDeviceError(f"nvidia-container-cli: device error: {name}: unknown device")
        visible.append(names[name.strip().lower()])
    return list(dict.fromkeys(visible))


def inject(spec: dict[str, Any], handler: str, driver: Path, config: Path, state: Path, devices: Path) -> None:
    """Adds driver files and the visible GPUs to a container's OCI configuration.

    Raises:
        UnknownDeviceError: as visible_gpus.
    """
    process, linux = spec["process"], spec.setdefault("linux", {})
    env = dict(entry.split("=", 1) for entry in process.get("env", []) if "=" in entry)
    known = node_uuids(config.read_text())
    injected = visible_gpus(env.get("NVIDIA_VISIBLE_DEVICES"), known) if handler == "nvidia" else None
    visible = _behind_devices(linux, known) if injected is None else injected
    if injected is None and not visible:
        return
    capabilities: list[str] = process.get("capabilities", {}).get("effective") or []
    access = "rw" if "CAP_SYS_ADMIN" in capabilities else "ro"
    mounts = spec.setdefault("mounts", [])
    mounts.append(_bind(config, CONFIG_TARGET, "ro"))
    mounts.extend(_bind(state / uuid, f"{STATE_TARGET}/{uuid}", access) for uuid in visible)
    if injected is None:
        return
    asked = set(env.get("NVIDIA_DRIVER_CAPABILITIES", "utility").split(","))
    if {"compute", "all"} & asked:
        mounts.extend(_bind(driver / name, f"{MPS_FOLDER}/{name}", "ro") for name in MPS_PROGRAMS)
    if {"utility", "all"} & asked:
        mounts.append(_bind(driver / "libnvidia-ml.so.1", LIBRARY_TARGET, "ro"))
        mounts.append(_bind(driver / "nvidia-smi", SMI_TARGET, "ro"))
    if injected:
        others = {f"nvidia{index}" for index, uuid in enumerate(known) if uuid not in injected}
        _add_devices(linux, [node for node in sorted(devices.glob("nvidia*")) if node.name not in others])


def _behind_devices(linux: dict[str, Any], known: list[str]) -> list[str]:
    """The GPUs whose device nodes a container has."""
    devices: list[dict[str, Any]] = linux.get("devices") or []
    paths = {device["path"] for device in devices}
    return [uuid for index, uuid in enumerate(known) if f"/dev/nvidia{index}" in paths]


def _add_devices(linux: dict[str, Any], nodes: list[Path]) -> None:
    """Adds device nodes under /dev, unless the container has them, and lets it use them."""
    devices = linux.setdefault("devices", [])
    rules = linux.setdefault("resources", {}).setdefault("devices", [])
    present = {device["path"] for device in devices}
    for node in nodes:
        number = node.stat().st_rdev
        device: dict[str, Any] = {"type": "c", "major": os.major(number), "minor": os.minor(number)}
        if f"/dev/{node.name}" not in present:
            devices.append({"path": f"/dev/{node.name}", "fileMode": 0o666, **device})
            rules.append({"allow": True, "access": "rw", **device})


def _bind(source: Path, target: str, access: str) -> dict[str, Any]:
    options = ["rbind", "nosuid", "nodev", access]
    return {"destination": target, "type": "bind", "source": str(source), "options": options}


def bundle_directory(arguments: list[str]) -> Path:
    """Where runc's arguments say that the container's configuration lies."""
    for index, argument in enumerate(arguments):
        if argument in ("--bundle", "-b"):
            return Path(arguments[index + 1])
        if argument.startswith("--bundle="):
            return Path(argument.removeprefix("--bundle="))
    return Path.cwd()


def fail(message: str, arguments: list[str]) -> None:
    """Ends with an error where containerd looks for it: a JSON line in runc's --log file, not stderr."""
    log = arguments[arguments.index("--log") + 1] if "--log" in arguments else "/dev/stderr"
    with Path(log).open("a") as file:
        file.write(json.dumps({"level": "error", "msg": message}) + "\n")
    sys.exit(1)


def main() -> None:
    """Injects on `create`, then becomes runc in every case."""
    handler, runc, arguments = sys.argv[1], sys.argv[6], sys.argv[7:]
    driver, config, state, devices = (Path(argument) for argument in sys.argv[2:6])
    if "create" in arguments:
        path = bundle_directory(arguments) / "config.json"
        spec = json.loads(path.read_text())
        try:
            inject(spec, handler, driver, config, state, devices)
        except UnknownDeviceError as error:
            fail(str(error), arguments)
        path.write_text(json.dumps(spec))
    os.execv(runc, ["runc", *arguments])


if __name__ == "__main__":
    main()
