"""One cluster with a node for NVIDIA's DRA driver for all tests of this folder.

They run where the driver is built, or where DRA=all asks for that; `make test-dra` sets it.
"""

import os
from collections.abc import Iterator

import pytest

from testbed import go_tools
from testbed.cluster import Cluster, capabilities
from testbed.errors import BedError
from testbed.gobuild import built
from testbed.talos_node import releases
from tests.dra_node.bed import NODE, DraBed, stack_file
from tests.node.bed import wait_for

NAME = "l2-dra"


@pytest.fixture(scope="session")
def session_bed() -> Iterator[DraBed]:
    """The cluster; nothing is deployed yet."""
    if problem := capabilities():
        pytest.skip(problem)
    cluster = Cluster(NAME)
    cluster.down()  # a run that was killed
    try:
        if not (os.environ.get("DRA") or (built(go_tools.DRA_DRIVER) and built(releases.CONTAINERD))):
            pytest.skip("NVIDIA's DRA driver is not built here, which takes ten minutes: make test-dra")
        cluster.up([NODE], dra=True)
    except BedError as error:
        if not cluster.is_up:  # it cannot be built here
            pytest.skip(str(error))
        cluster.down()
        raise
    try:
        yield DraBed(cluster)
    finally:
        cluster.down()


@pytest.fixture
def bed(session_bed: DraBed) -> Iterator[DraBed]:
    """The cluster, without pods of other tests."""
    yield session_bed
    session_bed.delete_pods()


@pytest.fixture
def deployed(bed: DraBed) -> DraBed:
    """The cluster with the stack on it, each GPU offered four times."""
    bed.deploy(stack_file())
    wait_for({gpu.uuid: 4 for gpu in bed.gpus("gpu-1")}, bed.shares)
    return bed
