"""One cluster with three real nodes for all tests of this folder; each test says what must be deployed on it."""

from collections.abc import Iterator

import pytest

from testbed.cluster import Cluster
from testbed.gpus import SimulatedGpu
from tests.node.bed import MIXED, NODES, Bed, require_real_nodes, stack_file

NAME = "l2"


@pytest.fixture(scope="session")
def session_bed() -> Iterator[Bed]:
    """The cluster; nothing is deployed yet."""
    require_real_nodes()
    cluster = Cluster(NAME)
    cluster.down()  # a run that was killed
    try:
        cluster.up((*NODES, MIXED))
        yield Bed(cluster)
    finally:
        cluster.down()


@pytest.fixture
def bed(session_bed: Bed) -> Iterator[Bed]:
    """The cluster, without pods of other tests."""
    yield session_bed
    session_bed.delete_pods()


@pytest.fixture
def deployed(bed: Bed) -> Bed:
    """The cluster with its three nodes in two profiles."""
    bed.deploy(stack_file())
    return bed


@pytest.fixture
def gpu(deployed: Bed) -> Iterator[SimulatedGpu]:
    """The first GPU of gpu-1, for a test to perturb."""
    gpu = deployed.gpus("gpu-1")[0]
    yield gpu
    gpu.fail_set(None)
    gpu.drift(300)
