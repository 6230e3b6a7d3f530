"""A Talos node's namespaces, boots and end, with a shell script in the place of Talos."""

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed import cgroups, debian, links
from testbed.cluster import capabilities
from testbed.driver import simulated_gpus
from testbed.gpus import NodeSpec
from testbed.layout import NETWORK_PREFIX, Slot
from testbed.talos_node.node import TalosNode, TalosNodeConfig
from testbed.talos_node.releases import RELEASES
from tests.testbed import machine_state

OBSTACLE = capabilities()
pytestmark = [pytest.mark.node, pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))]

SPEC = NodeSpec.parse("gpu-1=rtx-3090x2")
SLOT = Slot(9)
"""Of no cluster: the test bed takes the lowest that is free."""
FOLDERS = """\
dev etc/cni/net.d etc/kubernetes opt proc root run sys system tmp usr/bin usr/libexec/kubernetes usr/local/bin var
usr/local/glibc/usr/lib usr/local/gpu-sim usr/local/share/gpu-testbed/net.d
"""
INIT = """\
#!/bin/sh
{ hostname; ip -o -4 address show eth0; ip route; } >>/var/boots
echo 77 >/proc/sys/kernel/panic
echo "$(cat /proc/sys/kernel/panic) $(ls /sys/fs/cgroup)" >/var/seen
while [ ! -e /var/next ]; do sleep 0.1; done
next=$(cat /var/next)
rm /var/next
exec $next -f
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's root with a shell, and INIT as its process 1."""
    root = tmp_path_factory.mktemp("root")
    for folder in FOLDERS.split():
        (root / folder).mkdir(parents=True)
    for name in ("hostname", "hosts", "resolv.conf", "extensions.yaml"):
        (root / "etc" / name).touch()
    busybox = debian.packages() / "bin" / "busybox"
    for name in ("sh", "hostname", "ip", "cat", "ls", "rm", "sleep", "reboot", "poweroff"):
        shutil.copyfile(busybox, root / "usr/bin" / name)
        (root / "usr/bin" / name).chmod(0o755)
    (root / "usr/bin/init").write_text(INIT)
    (root / "usr/bin/init").chmod(0o755)
    for name in ("bin", "sbin"):
        (root / name).symlink_to("usr/bin")
    return root


@pytest.fixture
def node(root: Path, tmp_path: Path) -> Iterator[TalosNode]:
    """A node that the test boots, on a bridge of its own."""
    for name in ("libnvidia-ml.so.1", "nvidia-smi"):
        (tmp_path / name).touch()
    config = TalosNodeConfig(
        spec=SPEC,
        directory=tmp_path / "node",
        group=SLOT.node_group(1),
        address=SLOT.network_address(1),
        gateway=SLOT.api_address,
        bridge=SLOT.bridge,
        pods=SLOT.pods(1),
        release=RELEASES["v1.13.9"],
        root=root,
        driver=tmp_path,
    )
    node = TalosNode(config, simulated_gpus(config.directory, SPEC))
    assert cgroups.reserve(SLOT.prefix), "a cluster has this slot"
    links.make_bridge(SLOT, NETWORK_PREFIX)
    yield node
    node.down()
    links.wait_until_gone(SLOT.node_group(1))
    links.remove_bridge(SLOT)
    cgroups.release(SLOT.prefix)


def var(tmp_path: Path, name: str) -> Path:
    return tmp_path / "node" / "volumes" / "var" / name


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_has_its_name_its_address_and_its_way_to_the_machine(node: TalosNode, tmp_path: Path) -> None:
    node.up()
    eventually(var(tmp_path, "seen").exists)
    said = var(tmp_path, "boots").read_text()
    assert said.startswith("gpu-1\n")
    assert "inet 10.209.1.2/16 " in said
    assert "default via 10.209.255.1 dev eth0" in said
    with pytest.raises(ConnectionRefusedError):  # by the node itself: nothing listens there
        socket.create_connection(("10.209.1.2", 1), timeout=10)


def test_what_a_node_sets_is_not_set_on_the_machine(node: TalosNode, tmp_path: Path) -> None:
    settings, mounts = machine_state.kernel_settings(), machine_state.mounts()
    node.up()
    eventually(var(tmp_path, "seen").exists)
    assert var(tmp_path, "seen").read_text().startswith("77 ")
    assert machine_state.kernel_settings() == settings
    node.down()
    assert machine_state.kernel_settings() == settings
    assert machine_state.mounts() == mounts


def test_a_reboot_boots_again_with_what_was_kept_and_without_the_gpus_limits(node: TalosNode, tmp_path: Path) -> None:
    node.up()
    eventually(var(tmp_path, "seen").exists)
    node.gpus[0].drift(300)
    var(tmp_path, "seen").unlink()
    var(tmp_path, "next").write_text("reboot\n")
    eventually(var(tmp_path, "seen").exists)
    assert var(tmp_path, "boots").read_text().count("inet 10.209.1.2/16 ") == 2
    assert node.gpus[0].power_limit == 350.0
    assert node.running


def test_a_node_that_is_shut_down_stays_off_until_it_is_switched_on(node: TalosNode, tmp_path: Path) -> None:
    node.up()
    eventually(var(tmp_path, "seen").exists)
    var(tmp_path, "next").write_text("poweroff\n")
    eventually(lambda: not node.running)
    var(tmp_path, "seen").unlink()
    node.up()
    eventually(var(tmp_path, "seen").exists)


def test_down_ends_all_of_a_node(node: TalosNode, tmp_path: Path) -> None:
    node.up()
    eventually(var(tmp_path, "seen").exists)
    assert cgroups.NodeCgroup(SLOT.node_group(1)).processes()
    node.down()
    assert cgroups.NodeCgroup(SLOT.node_group(1)).processes() == []
    assert not (tmp_path / "node").exists()
