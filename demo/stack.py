"""The stack that Pulumi deploys on a cluster of the test bed."""

from pathlib import Path
from typing import Self

from testbed.cluster import Cluster

REPOSITORY = Path(__file__).parents[1]
CONFIG = REPOSITORY / "config"


def write_stack_file(cluster: Cluster, text: str) -> None:
    """Gives the cluster a stack file; Pulumi reads and writes this one, so the checkout stays as it is.

    Args:
        cluster: whose context takes the place of `gpu-testbed-demo`.
        text: a stack file for the cluster `demo`.
    """
    cluster.stack_file.write_text(text.replace("gpu-testbed-demo", cluster.context))


class KeptStackFile:
    """Puts config/Pulumi.STACK.yaml back, or away, on leaving.

    `pulumi stack init` and its kind know no --config-file: they write an encryption salt into the checkout.
    """

    def __init__(self, stack: str) -> None:
        self._path = CONFIG / f"Pulumi.{stack}.yaml"
        self._content: bytes | None = None

    def __enter__(self) -> Self:
        self._content = self._path.read_bytes() if self._path.exists() else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._content is None:
            self._path.unlink(missing_ok=True)
        elif self._path.read_bytes() != self._content:
            self._path.write_bytes(self._content)
