"""What the stand-in for the NVIDIA container runtime gives a container."""

import json
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from testbed import container_runtime
from testbed.gpus import NodeSpec

SPEC = NodeSpec.parse("gpu-1=rtx-3090x2")
FIRST, SECOND = SPEC.uuids()


@pytest.mark.parametrize(
    ("wanted", "visible"),
    [
        (None, None),
        ("", None),
        ("void", None),
        ("none", []),
        ("all", [FIRST, SECOND]),
        (SECOND, [SECOND]),
        ("1,0", [SECOND, FIRST]),
        (f"{FIRST},{FIRST}", [FIRST]),
    ],
)
def test_nvidia_visible_devices_decides_which_gpus_exist(wanted: str | None, visible: list[str] | None) -> None:
    assert container_runtime.visible_gpus(wanted, [FIRST, SECOND]) == visible


def test_an_unknown_gpu_fails_the_container() -> None:
    with pytest.raises(container_runtime.UnknownDeviceError, match="7: unknown device"):
        container_runtime.visible_gpus("7", [FIRST, SECOND])


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node's folder with a runc that only notes how it was called."""
    (tmp_path / "gpus.conf").write_text(SPEC.driver_config())
    runc = tmp_path / "runc"
    runc.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/called\n')
    runc.chmod(runc.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def run(
    node: Path, verb: str, env: list[str], capabilities: list[str], handler: str = "nvidia", devices: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    process = {"env": env, "capabilities": {"effective": capabilities}}
    linux = {"devices": [{"path": path, "type": "c", "major": 1, "minor": 3} for path in devices]}
    (node / "config.json").write_text(json.dumps({"process": process, "mounts": [], "linux": linux}))
    places = [node / "driver", node / "gpus.conf", node / "gpu", node / "devices", node / "runc"]
    command = [
        sys.executable,
        container_runtime.__file__,
        handler,
        *places,
        "--log",
        node / "log",
        verb,
        "--bundle",
        node,
        "name",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def mounts(node: Path) -> dict[str, Any]:
    return {mount["destination"]: mount for mount in json.loads((node / "config.json").read_text())["mounts"]}


def test_a_container_sees_its_own_gpu_read_only_and_no_other(node: Path) -> None:
    assert run(node, "create", [f"NVIDIA_VISIBLE_DEVICES={SECOND}"], []).returncode == 0
    states = {target: mount for target, mount in mounts(node).items() if target.startswith("/run/gpu-sim/")}
    assert list(states) == [f"/run/gpu-sim/{SECOND}"]
    assert "ro" in states[f"/run/gpu-sim/{SECOND}"]["options"]
    assert (node / "called").read_text() == f"--log {node}/log create --bundle {node} name\n"


def test_only_sys_admin_may_write_a_gpus_state(node: Path) -> None:
    run(node, "create", ["NVIDIA_VISIBLE_DEVICES=all"], ["CAP_SYS_ADMIN"])
    assert "rw" in mounts(node)[f"/run/gpu-sim/{FIRST}"]["options"]


def test_nvidia_smi_comes_with_the_utility_capability_only(node: Path) -> None:
    run(node, "create", ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute"], [])
    assert "/usr/bin/nvidia-smi" not in mounts(node)
    run(node, "create", ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"], [])
    assert "/usr/bin/nvidia-smi" in mounts(node)


def linux(node: Path) -> dict[str, Any]:
    return json.loads((node / "config.json").read_text())["linux"]


@pytest.fixture
def with_devices(node: Path) -> Path:
    """The node with a device node for each GPU and one for all."""
    (node / "devices").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (node / "devices" / name).symlink_to("/dev/null")
    return node


def test_a_container_gets_the_device_nodes_of_its_own_gpu_and_may_use_them(with_devices: Path) -> None:
    run(with_devices, "create", [f"NVIDIA_VISIBLE_DEVICES={SECOND}"], [])
    assert [device["path"] for device in linux(with_devices)["devices"]] == ["/dev/nvidia1", "/dev/nvidiactl"]
    rule = {"allow": True, "access": "rw", "type": "c", "major": 1, "minor": 3}
    assert linux(with_devices)["resources"]["devices"] == [rule, rule]


def test_a_container_without_a_gpu_gets_no_device_node(with_devices: Path) -> None:
    run(with_devices, "create", ["NVIDIA_VISIBLE_DEVICES=none"], [])
    assert linux(with_devices) == {"devices": []}


def test_a_device_node_that_the_container_has_is_not_added_again(with_devices: Path) -> None:
    run(with_devices, "create", ["NVIDIA_VISIBLE_DEVICES=0"], [], devices=["/dev/nvidia0"])
    assert [device["path"] for device in linux(with_devices)["devices"]] == ["/dev/nvidia0", "/dev/nvidiactl"]


@pytest.mark.parametrize(
    ("handler", "env"), [("runc", "NVIDIA_VISIBLE_DEVICES=all"), ("nvidia", "NVIDIA_VISIBLE_DEVICES=void")]
)
def test_behind_a_device_node_that_cdi_brought_is_that_gpu_and_nothing_else(
    with_devices: Path, handler: str, env: str
) -> None:
    run(with_devices, "create", [env], [], handler, devices=["/dev/nvidia1", "/dev/nvidiactl"])
    assert set(mounts(with_devices)) == {"/etc/gpu-sim/gpus.conf", f"/run/gpu-sim/{SECOND}"}


def test_without_a_device_node_handler_runc_gives_nothing(with_devices: Path) -> None:
    run(with_devices, "create", ["NVIDIA_VISIBLE_DEVICES=all"], [], "runc")
    assert mounts(with_devices) == {}


def test_a_container_without_gpus_is_left_alone(node: Path) -> None:
    run(node, "create", ["PATH=/bin"], [])
    assert mounts(node) == {}


def test_other_verbs_go_straight_to_runc(node: Path) -> None:
    run(node, "state", ["NVIDIA_VISIBLE_DEVICES=all"], [])
    assert mounts(node) == {}
    assert "state" in (node / "called").read_text()


def test_a_failure_is_written_where_containerd_looks_for_it(node: Path) -> None:
    assert run(node, "create", ["NVIDIA_VISIBLE_DEVICES=GPU-unknown"], []).returncode == 1
    assert "GPU-unknown: unknown device" in json.loads((node / "log").read_text())["msg"]
    assert not (node / "called").exists()
