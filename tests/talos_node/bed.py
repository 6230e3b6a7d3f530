"""A cluster of real Talos nodes on simulated GPUs, and talosctl of their release."""

import shlex
import sys
from pathlib import Path

import yaml

from gpuctl.checks.context import Context
from gpuctl.checks.diagnosis import diagnose
from gpuctl.checks.registry import selected
from gpuctl.checks.runner import run
from gpuctl.cluster import connect
from gpuctl.cluster.programs import Ran
from gpuctl.settings import read_config
from testbed import links, process
from testbed.cluster import Cluster
from testbed.cluster_state import ClusterState
from testbed.gpus import NodeSpec
from testbed.layout import ClusterDir, Slot
from testbed.talos_node.releases import TalosRelease
from tests.node.bed import REPOSITORY, Bed, Config, wait_for

STACK = "l2"

NODES = (NodeSpec.parse("gpu-1=rtx-3090x2"), NodeSpec.parse("gpu-2=rtx-4090x1"))
"""The first is the control plane."""


class TalosBed(Bed):
    """The cluster, what is deployed on it, and its nodes' configuration."""

    def __init__(self, cluster: Cluster, release: TalosRelease) -> None:
        super().__init__(cluster)
        self.release = release
        self._patched: set[str] = set()

    def config(self, **config: object) -> Config:
        """A stack of both nodes: 4 slices at 300 W, and gpu-2 with 2 slices at 250 W."""
        said = {"talosVersion": self.release.version, "driverChannel": "production", "powerInterval": 5}
        return said | {"nodes": self.nodes(slices=2)} | config

    def nodes(self, **gpu_2: object) -> list[Config]:
        """The nodes of a stack; gpu-2 has 250 W and what else is said of it."""
        return [
            {"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "address": self.address("gpu-1")},
            {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "address": self.address("gpu-2"), "powerLimit": 250}
            | gpu_2,
        ]

    def gpuctl(self, *arguments: str, seconds: float = 120) -> str:
        """What gpuctl prints; it must succeed."""
        done = self.run(sys.executable, "-m", "gpuctl", *arguments, seconds=seconds)
        assert done.returncode == 0, f"gpuctl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def check(self, config: Path, *flags: str) -> str:
        """What `gpuctl talos check` prints of a configuration or a patch."""
        return self.run(sys.executable, "-m", "gpuctl", "talos", "check", str(config), *flags).stdout

    def check_patch(self, patch: Path) -> str:
        """The same of a patch, which names no release."""
        return self.check(patch, "--talos-version", self.release.version)

    def talosctl(self, node: str, *arguments: str) -> str:
        """What talosctl says of a node; it must succeed."""
        return self.output("talosctl", "--nodes", self.address(node), *arguments)

    def read(self, node: str, path: str) -> str:
        """A node's file; nothing while there is none or the node boots."""
        return self.run("talosctl", "--nodes", self.address(node), "read", path).stdout

    def address(self, node: str) -> str:
        """Where a node answers talosctl."""
        return str(self.cluster.talos_nodes[node].address)

    def shell(self, commands: str) -> str:
        """What commands that gpuctl printed print, in a folder of their own; they must succeed."""
        gpuctl = shlex.join(["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "gpuctl"])
        return self.output("sh", "-ec", f'cd "$TMPDIR"; {commands.replace("gpuctl", gpuctl, 1)}')

    def begins(self, **config: object) -> set[str]:
        """The checks of the doctor in which failures begin; without those that need Pulumi."""
        keys = self.config(**config) | {"context": self.cluster.context, "kubeconfig": str(self.cluster.kubeconfig)}
        settings = read_config(STACK, {f"gpu:{key}": value for key, value in keys.items()})
        context = Context(STACK, lambda: settings, lambda said: connect(said.context, said.kubeconfig), _Talosctl(self))
        return {finding.check.id for finding in diagnose(run(selected(deep=True), context, print))}

    def patch_file(self, node: str, *, now: Path | None = None) -> Path:
        """The patch that gpuctl writes for a node, computed from its present configuration if that is given."""
        folder = Path(self.environment["TMPDIR"]) / "patches"
        computed = ("--config", str(now)) if now else ()
        self.gpuctl("talos", "patch", "--stack", STACK, "--node", node, "--output", str(folder), *computed)
        return folder / f"{node}.yaml"

    def patch_all(self) -> None:
        """Gives every node its patch that has none since it joined."""
        for node in self.cluster.talos_nodes.keys() - self._patched:
            self.patch(node)

    def patch(self, node: str) -> str:
        """Gives a node what its patch adds to its present configuration; returns what talosctl says."""
        self._patched.add(node)
        return self.apply(node, self.patch_file(node, now=self.configuration(node)))

    def apply(self, node: str, patch: Path) -> str:
        """Gives a node a patch; returns what talosctl says, which it says as an error."""
        done = self.run("talosctl", "--nodes", self.address(node), "patch", "machineconfig", "--patch", f"@{patch}")
        assert done.returncode == 0, done.stderr
        return done.stderr

    def join(self, node: str, *patches: Path, contract: str = "") -> None:
        """Boots a node whose disk and Node object are gone, and gives it its configuration in maintenance mode.

        The configuration has the form of its own line, or of an older one, such as 1.10.
        """
        self._patched.discard(node)
        self.output("kubectl", "delete", "node", node, "--ignore-not-found")  # one that did not boot
        directory = ClusterDir(self.cluster.name)
        state = ClusterState.load(directory)
        assert state
        self.cluster.talos_nodes[node].down()
        links.wait_until_gone(Slot(state.slot).node_group(state.nodes[node].number))
        self.cluster.talos_nodes[node].up()
        flags = [word for patch in patches for word in ("--config-patch", f"@{patch}")]
        self.cluster.talos.apply(self.cluster.talos_nodes[node], *flags, contract=contract)

    def wait_until_ready(self, node: str) -> None:
        """Waits until a node that joins is Ready."""
        wait_for(True, lambda: node in self.cluster.api.nodes())
        self.output("kubectl", "wait", "--for=condition=Ready", "--timeout=110s", f"node/{node}")

    def says(self, node: str) -> str:
        """What a node's process 1 has said on its console since it booted first, and its controllers in their log."""
        console = process.log_file(ClusterDir(self.cluster.name).node(node), "talos").read_text(errors="replace")
        return console + self.run("talosctl", "--nodes", self.address(node), "logs", "controller-runtime").stdout

    def configuration(self, node: str) -> Path:
        """A node's present configuration, in a file."""
        path = Path(self.environment["TMPDIR"]) / f"{node}-now.yaml"
        path.write_text(self.talosctl(node, "get", "machineconfig", "v1alpha1", "-o", "yaml"))
        return path

    def documents(self, node: str) -> list[Config]:
        """The documents of a node's present configuration; the first is the one of fields."""
        return list(yaml.safe_load_all(yaml.safe_load(self.configuration(node).read_text())["spec"]))

    def file(self, name: str, *documents: Config) -> Path:
        """A patch or a configuration, in a file."""
        path = Path(self.environment["TMPDIR"]) / f"{name}.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return path

    def labels(self, node: str) -> dict[str, str]:
        """A node's labels in Kubernetes."""
        return self.get("node", node)["metadata"]["labels"]

    def wait_for_labels(self, node: str, expected: dict[str, str]) -> None:
        """Waits until a node has these labels; Talos brings them a moment after its configuration."""
        wait_for(expected, lambda: {name: self.labels(node).get(name) for name in expected})


class _Talosctl:
    """The one program that the doctor finds."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed

    def run(self, *command: str, seconds: float = 60) -> Ran | None:
        if command[0] != "talosctl":
            return None
        done = self._bed.run(*command, seconds=seconds)
        return Ran(done.stdout, done.stderr, done.returncode)
