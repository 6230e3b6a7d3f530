"""Nodes without machines, played by kwok: for many nodes, and for machines where real nodes cannot run.

Such a node is Ready at once and its pods are Running without any container. It can carry nvidia.com/gpu, as a
plain number that nothing derives from a device plugin.
"""

from dataclasses import dataclass
from pathlib import Path

from testbed import process
from testbed.kube_api import KubeApi, is_ready

_START_SECONDS = 120
_ANNOTATION = "kwok.x-k8s.io/node"
_GPU = "nvidia.com/gpu"
_LEASE_SECONDS = 40


@dataclass(frozen=True)
class Kwok:
    """kwok for one cluster. `up` and `down` may be repeated, also after a crash of either."""

    directory: Path
    programs: Path
    """Folder with kwok and its stages."""
    kubeconfig: Path
    port: int

    @property
    def pid(self) -> int | None:
        """Its process id; None when it does not run."""
        return process.pid(self.directory, "kwok")

    def up(self) -> None:
        """Starts kwok unless it runs."""
        if self.pid is None:
            stages = [f"--config={path}" for path in sorted((self.programs / "stages").iterdir())]
            flags = [
                f"--kubeconfig={self.kubeconfig}",
                f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake",
                f"--node-lease-duration-seconds={_LEASE_SECONDS}",
                f"--server-address=127.0.0.1:{self.port}",
            ]
            process.start(self.directory, "kwok", [str(self.programs / "kwok"), *flags, *stages])

    def add_node(self, api: KubeApi, name: str, gpus: int = 0) -> None:
        """Adds a node, with GPUs if any; one that exists is left as it is."""
        if api.get(f"/api/v1/nodes/{name}") is not None:
            return
        resources = {"cpu": "64", "memory": "256Gi", "pods": "110"} | ({_GPU: str(gpus)} if gpus else {})
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {_ANNOTATION: "fake"},
                "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
            },
            "status": {"capacity": resources, "allocatable": resources},
        }
        api.create("/api/v1/nodes", node)

    def advertise(self, api: KubeApi, name: str, gpus: int) -> None:
        """Changes how many GPUs a node offers, as a device plugin would."""
        offer = {_GPU: str(gpus)}
        api.patch(f"/api/v1/nodes/{name}/status", {"status": {"capacity": offer, "allocatable": offer}})

    def wait_for_nodes(self, api: KubeApi) -> None:
        """Waits until each of kwok's nodes is Ready.

        Raises:
            BedError: kwok ended, or they do not become Ready; with the end of its log.
        """

        def all_ready() -> bool:
            nodes = api.nodes().values()
            return all(is_ready(node) for node in nodes if _ANNOTATION in node["metadata"].get("annotations", {}))

        process.wait(self.directory, "kwok", "its nodes are Ready", all_ready, _START_SECONDS)

    def down(self) -> None:
        """Ends kwok."""
        process.stop(self.directory, "kwok", seconds=0)
