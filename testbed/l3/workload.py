"""CUDA pods of known load, in an image that is written on the spot."""

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed import debian, images, tools
from testbed.errors import BedError
from testbed.l3.product import Object, Product
from testbed.node import Node

IMAGE = "docker.io/local/cuda-load:testbed"
_DRIVER = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
_SECONDS = 120
_LABEL = "app=cuda-load"
REFUSED = 3
"""Exit code of a load whose memory was refused."""


@dataclass(frozen=True)
class Load:
    """A pod with one slice, or one whole GPU."""

    name: str
    resource: str
    memory_mib: int = 512
    busy_percent: int = 100
    seconds: int = 10
    user: int = 65534

    def pod(self) -> Object:
        """Its manifest: as restricted as a pod can be."""
        main = {
            "name": "main",
            "image": IMAGE,
            "args": [str(self.memory_mib), str(self.busy_percent), str(self.seconds)],
            "resources": {"limits": {self.resource: 1}},
            "securityContext": {
                "runAsUser": self.user,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        spec = {
            "runtimeClassName": "nvidia",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [main],
        }
        key, _, value = _LABEL.partition("=")
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": {key: value}},
            "spec": spec,
        }


@dataclass(frozen=True)
class Ended:
    """What became of a load."""

    exit_code: int
    lines: tuple[str, ...]
    """Its log."""

    @property
    def said(self) -> str:
        """Its last line."""
        return self.lines[-1] if self.lines else ""

    @property
    def rounds(self) -> int:
        """How often it added its vectors; 0 when it did not come to its end."""
        return int(self._figure(r"rounds=(\d+)"))

    @property
    def multiprocessors(self) -> int:
        """How many of the GPU it had; 0 when it did not begin."""
        return int(self._figure(r", (\d+) multiprocessors"))

    @property
    def span(self) -> tuple[float, float]:
        """When it computed, in seconds since 1970; both 0 when it did not come to its end."""
        return float(self._figure(r"start=([\d.]+) end")), float(self._figure(r"end=([\d.]+)"))

    def _figure(self, pattern: str) -> str:
        found = re.search(pattern, "\n".join(self.lines))
        return found[1] if found else "0"


def import_image(node: Node, *, simulated: bool) -> None:
    """Gives a node the image; on simulated GPUs, which compute nothing, its program only says that it passed."""
    busybox = debian.packages() / "bin" / "busybox"
    if simulated:
        image = images.busybox_image(busybox)
        image.reference, image.command = IMAGE, ["sh", "-c", "nvidia-smi -L && echo Test PASSED"]
    else:
        image = images.program_image(IMAGE, tools.cuda_load() / "cuda-load", "/usr/bin/cuda-load", busybox)
        image.env = _DRIVER
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "cuda-load.tar"
        images.write_archive(image, archive)
        node.import_image(archive)


class Workload:
    """Loads in the namespace default."""

    def __init__(self, product: Product) -> None:
        self._product = product

    def start(self, *loads: Load) -> None:
        """Makes pods; returns once each has its memory or has ended."""
        items = {"apiVersion": "v1", "kind": "List", "items": [load.pod() for load in loads]}
        self._product.output("kubectl", "create", "-f", "-", text=json.dumps(items))
        names = {load.name for load in loads}
        self._wait(f"{', '.join(sorted(names))} took memory or ended", lambda: names <= self._begun())

    def finish(self) -> dict[str, Ended]:
        """Waits until all have ended; deletes them."""
        self._wait("the CUDA pods have ended", lambda: all(_exit_code(pod) is not None for pod in self.pods().values()))
        ended = {name: Ended(_exit_code(pod) or 0, self._log(name)) for name, pod in self.pods().items()}
        self.delete()
        return ended

    def delete(self) -> None:
        """Deletes all, and waits until they are gone."""
        self._product.output("kubectl", "delete", "pods", "-l", _LABEL)

    def pods(self) -> dict[str, Object]:
        """Name -> pod."""
        found = self._product.output("kubectl", "get", "pods", "-l", _LABEL, "-o", "json")
        return {pod["metadata"]["name"]: pod for pod in json.loads(found)["items"]}

    def _log(self, name: str) -> tuple[str, ...]:
        return tuple(self._product.run("kubectl", "logs", name).stdout.splitlines())

    def _begun(self) -> set[str]:
        return {name for name, pod in self.pods().items() if _exit_code(pod) is not None or self._log(name)}

    def _wait(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _SECONDS
        while not holds():
            if time.monotonic() > deadline:
                pods = self._product.output("kubectl", "get", "pods", "-o", "wide")
                raise BedError(f"waited {_SECONDS} s until {what}\n{pods}")
            time.sleep(0.5)


def _exit_code(pod: Object) -> int | None:
    statuses: Iterable[Object] = pod["status"].get("containerStatuses", [])
    codes = [status["state"]["terminated"]["exitCode"] for status in statuses if "terminated" in status["state"]]
    return codes[0] if codes else None
