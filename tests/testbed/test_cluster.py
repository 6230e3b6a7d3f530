"""The test bed end to end: clusters with real nodes and with kwok's, and what is left of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from testbed import __main__ as command_line
from testbed import cgroups, layout, links
from testbed.cluster import Cluster, capabilities
from testbed.debian import packages
from testbed.errors import BedError
from testbed.gpus import NodeSpec
from testbed.images import DEVICE_PLUGIN, program_image, write_archive
from tests.testbed import machine_state

REPOSITORY = Path(__file__).parents[2]
NAME = f"tb-{os.getpid()}"
TWO_GPUS = NodeSpec.parse("gpu-1=rtx-3090x2")

OBSTACLE = capabilities()
real_nodes = [
    pytest.mark.node,
    pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE)),
]
control_plane = pytest.mark.cluster

RUNTIME_CLASS = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": "nvidia"},
    "handler": "nvidia",
}
SOCKETS = "/var/lib/kubelet/device-plugins"


def gpu_pod(name: str, **container: Any) -> dict[str, Any]:
    """A pod with one container under the NVIDIA runtime; with every GPU unless it asks for some."""
    main = {"name": "main", "image": DEVICE_PLUGIN, "imagePullPolicy": "Never", **container}
    spec = {"runtimeClassName": "nvidia", "terminationGracePeriodSeconds": 0, "containers": [main]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def device_plugin() -> dict[str, Any]:
    pod = gpu_pod("device-plugin", volumeMounts=[{"name": "sockets", "mountPath": SOCKETS}])
    pod["spec"]["volumes"] = [{"name": "sockets", "hostPath": {"path": SOCKETS}}]
    return pod


def kubectl(cluster: Cluster, *arguments: str, document: object = None) -> str:
    done = subprocess.run(
        ["kubectl", *arguments],
        env=cluster.environment(),
        input=None if document is None else json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def create(cluster: Cluster, document: object) -> None:
    kubectl(cluster, "create", "-f", "-", document=document)


def eventually(what: str, holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def allocatable(cluster: Cluster, node: str) -> str:
    return cluster.api.nodes()[node]["status"]["allocatable"].get("nvidia.com/gpu", "0")


def phase(cluster: Cluster, pod: str) -> str:
    return kubectl(cluster, "get", "pod", pod, "-o", "jsonpath={.status.phase}")


def ready_nodes(cluster: Cluster) -> list[str]:
    path = "{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=='Ready')].status}{'\\n'}{end}"
    lines = kubectl(cluster, "get", "nodes", "-o", f"jsonpath={path}").splitlines()
    return [name for name, _, ready in (line.partition(" ") for line in lines) if ready == "True"]


def remains(name: str, prefix: str) -> dict[str, object]:
    """All that a cluster may have left on the machine, by kind; empty when there is nothing."""
    root = layout.CLUSTERS / name
    left = {
        "folder": root.exists(),
        "processes": machine_state.processes(root),
        "links": [prefix] if links.exists(prefix) else [],
        "control groups": [str(path) for path in cgroups.ROOT.glob(f"**/{prefix}*")],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if f"{root}/" in line],
    }
    return {kind: what for kind, what in left.items() if what}


def prefix_of(cluster: Cluster) -> str:
    """How the cluster's links and control groups begin."""
    state = json.loads((layout.CLUSTERS / cluster.name / "cluster.json").read_text())
    return layout.Slot(state["slot"]).prefix


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster that the test brings up, and that is gone after it in any case."""
    cluster = Cluster(NAME)
    yield cluster
    cluster.down()
    (layout.CLUSTERS / f"{NAME}.lock").unlink()


@pytest.fixture(scope="module")
def gpu_cluster() -> Iterator[Cluster]:
    """A cluster with one node of two simulated GPUs under the real device plugin."""
    cluster = Cluster(f"{NAME}-gpu")
    try:
        cluster.up([TWO_GPUS])
        create(cluster, RUNTIME_CLASS)
        eventually("the default service account", lambda: "default" in kubectl(cluster, "get", "sa"))
        create(cluster, device_plugin())
        yield cluster
    finally:
        cluster.down()
        (layout.CLUSTERS / f"{cluster.name}.lock").unlink()


class TestNodeWithGpus:
    pytestmark = real_nodes

    def test_a_real_node_offers_its_gpus_through_the_real_device_plugin(self, gpu_cluster: Cluster) -> None:
        assert ready_nodes(gpu_cluster) == ["gpu-1"]
        eventually("two GPUs", lambda: allocatable(gpu_cluster, "gpu-1") == "2")

    def test_a_drifted_limit_is_what_nvidia_smi_says_inside_a_pod(self, gpu_cluster: Cluster) -> None:
        create(gpu_cluster, gpu_pod("look", command=["sleep", "600"]))
        eventually("the pod runs", lambda: phase(gpu_cluster, "look") == "Running")
        query = ["nvidia-smi", "--query-gpu=index,power.limit", "--format=csv,noheader"]
        before = kubectl(gpu_cluster, "exec", "look", "--", *query)
        gpu_cluster.nodes["gpu-1"].gpus[1].drift(280)
        after = kubectl(gpu_cluster, "exec", "look", "--", *query)
        assert before.splitlines() == ["0, 350.00 W", "1, 350.00 W"]
        assert after.splitlines() == ["0, 350.00 W", "1, 280.00 W"]

    def test_a_program_of_this_machine_runs_as_an_image_that_the_node_is_given(
        self, gpu_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = program_image("docker.io/local/id:test", Path("/usr/bin/id"), "/id", packages() / "bin" / "busybox")
        monkeypatch.chdir(tmp_path)
        write_archive(image, Path("id.tar"))
        gpu_cluster.nodes["gpu-1"].import_image(Path("id.tar"))
        create(gpu_cluster, gpu_pod("id", image="docker.io/local/id:test", args=["-u"]))
        eventually("its output", lambda: kubectl(gpu_cluster, "logs", "id", "--ignore-errors") == "0\n")

    def test_an_archive_that_is_no_image_is_refused_with_the_reason(self, gpu_cluster: Cluster, tmp_path: Path) -> None:
        (tmp_path / "image.tar").write_text("nothing")
        with pytest.raises(BedError, match=r"gpu-1 cannot take the image .*image\.tar: ctr: "):
            gpu_cluster.nodes["gpu-1"].import_image(tmp_path / "image.tar")


class TestWhatIsLeft:
    pytestmark = real_nodes

    def test_after_a_crash_up_starts_what_is_missing_and_down_leaves_nothing(self, cluster: Cluster) -> None:
        settings, mounts = machine_state.kernel_settings(), machine_state.mounts()
        cluster.up([TWO_GPUS])
        prefix = prefix_of(cluster)
        assert remains(NAME, prefix).keys() == {"folder", "processes", "links", "control groups"}
        daemons = [pid for pid in cluster.control_plane.processes.values() if pid]
        for pid in daemons + cgroups.NodeCgroup(f"{prefix}n1").processes():
            os.kill(pid, signal.SIGKILL)
        while any(cluster.control_plane.processes.values()):
            time.sleep(0.01)  # a busy kernel ends them a moment later
        cluster.up([TWO_GPUS])
        assert ready_nodes(cluster) == ["gpu-1"]
        cluster.down()
        assert remains(NAME, prefix) == {}
        assert machine_state.kernel_settings() == settings
        assert machine_state.mounts() == mounts

    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_an_up_that_is_cut_off_leaves_nothing(self, cluster: Cluster, sent: signal.Signals) -> None:
        """Not even when it could not clean up by itself: then `down` does."""
        command = [sys.executable, "-m", "testbed", "up", "--name", NAME, "--node", "gpu-1=rtx-3090x2"]
        with subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as in a terminal, where Ctrl-C reaches the whole group
        ) as up:
            assert up.stderr
            while not (line := up.stderr.readline()).startswith("testbed: nodes are Ready: ..."):
                assert line, "it ended by itself"
            prefix = prefix_of(cluster)
            os.killpg(up.pid, sent)
            up.communicate(timeout=180)
        if sent == signal.SIGKILL:
            assert remains(NAME, prefix)
            cluster.down()
        assert remains(NAME, prefix) == {}


class TestNodesPlayedByKwok:
    pytestmark = control_plane

    def test_a_pod_runs_on_a_kwok_node_that_offers_gpus(self, cluster: Cluster) -> None:
        cluster.up(kwok_nodes=2)
        cluster.add_kwok_node("gpu-1", 2)
        assert ready_nodes(cluster) == ["gpu-1", "kwok-1", "kwok-2"]
        create(cluster, RUNTIME_CLASS)
        create(cluster, gpu_pod("work", resources={"limits": {"nvidia.com/gpu": "2"}}))
        eventually("the pod runs", lambda: phase(cluster, "work") == "Running")

    def test_without_root_the_command_line_says_so_and_kwok_plays_the_nodes(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(command_line, "capabilities", lambda: "real nodes need root")
        result = CliRunner().invoke(command_line.app, ["up", "--name", NAME, "--node", "gpu-1=rtx-3090x2"])
        assert result.exit_code == 0
        assert "real nodes need root. Here kwok plays the nodes of --node" in result.stderr
        assert ready_nodes(cluster) == ["gpu-1"]
        assert allocatable(cluster, "gpu-1") == "2"
