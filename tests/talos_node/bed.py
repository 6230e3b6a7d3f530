"""A cluster of real Talos nodes on simulated GPUs, and talosctl of their release."""

import sys
from pathlib import Path
from typing import Any

import yaml

from testbed.cluster import Cluster
from testbed.gpus import NodeSpec
from testbed.talos_node.releases import TalosRelease
from tests.node.bed import Bed, Config, wait_for

NODES = (NodeSpec.parse("gpu-1=rtx-3090x2"), NodeSpec.parse("gpu-2=rtx-4090x1"))
"""The first is the control plane."""


class TalosBed(Bed):
    """The cluster, what is deployed on it, and its nodes' configuration."""

    def __init__(self, cluster: Cluster, release: TalosRelease) -> None:
        super().__init__(cluster)
        self.release = release

    def config(self, **config: object) -> Config:
        """A stack of both nodes: 4 slices at 300 W, and gpu-2 with 2 slices at 250 W."""
        nodes = [
            {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
            {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "slices": 2, "powerLimit": 250},
        ]
        said = {"talosVersion": self.release.version, "driverChannel": "production", "powerInterval": 5}
        return said | {"nodes": nodes} | config

    def gpuctl(self, *arguments: str, seconds: float = 120) -> str:
        """What gpuctl prints; it must succeed."""
        done = self.run(sys.executable, "-m", "gpuctl", *arguments, seconds=seconds)
        assert done.returncode == 0, f"gpuctl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def talosctl(self, node: str, *arguments: str) -> str:
        """What talosctl says to a node; it must succeed."""
        return self.output("talosctl", "--nodes", self.address(node), *arguments)

    def address(self, node: str) -> str:
        """Where a node answers talosctl."""
        return str(self.cluster.talos_nodes[node].address)

    def patch_file(self, node: str, *, now: Path | None = None) -> Path:
        """The patch that gpuctl writes for a node, computed from its present configuration if that is given."""
        folder = Path(self.environment["TMPDIR"]) / "patches"
        computed = ("--config", str(now)) if now else ()
        self.gpuctl("talos", "patch", "--stack", "l2", "--node", node, "--output", str(folder), *computed)
        return folder / f"{node}.yaml"

    def patch(self, node: str) -> str:
        """Gives a node what its patch adds to its present configuration; returns what talosctl says."""
        return self.talosctl(
            node, "patch", "machineconfig", "--patch", f"@{self.patch_file(node, now=self.configuration(node))}"
        )

    def configuration(self, node: str) -> Path:
        """A node's present configuration, in a file."""
        path = Path(self.environment["TMPDIR"]) / f"{node}-now.yaml"
        path.write_text(self.talosctl(node, "get", "machineconfig", "v1alpha1", "-o", "yaml"))
        return path

    def machine(self, node: str) -> dict[str, Any]:
        """The section `machine` of a node's present configuration."""
        resource = yaml.safe_load(self.configuration(node).read_text())
        return next(iter(yaml.safe_load_all(resource["spec"])))["machine"]

    def labels(self, node: str) -> dict[str, str]:
        """A node's labels in Kubernetes."""
        return self.get("node", node)["metadata"]["labels"]

    def wait_for_labels(self, node: str, expected: dict[str, str]) -> None:
        """Waits until a node has these labels; Talos brings them a moment after its configuration."""
        wait_for(expected, lambda: {name: self.labels(node).get(name) for name in expected})
