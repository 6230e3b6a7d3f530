"""One cluster of two Talos nodes for all tests of this folder, once for each release that is asked for.

TALOS names the releases, such as `TALOS="v1.10.6 v1.13.9"`; `make test-talos` sets it.
"""

import os
from collections.abc import Iterator

import pytest

from testbed.cluster import Cluster, capabilities
from testbed.errors import BedError
from testbed.talos_node.releases import release_of
from tests.talos_node.bed import NODES, TalosBed

RELEASES = os.environ.get("TALOS", "").split()


@pytest.fixture(scope="session", params=RELEASES or [""])
def session_bed(request: pytest.FixtureRequest) -> Iterator[TalosBed]:
    """The cluster; nothing is deployed yet, and no node has a patch."""
    if not request.param:
        pytest.skip("no release is named, and each takes long to build: make test-talos TALOS=v1.13.9")
    if problem := capabilities():
        pytest.skip(problem)
    release = release_of(request.param)
    cluster = Cluster(f"l2t-{release.minor.replace('.', '-')}")
    cluster.down()  # a run that was killed
    try:
        cluster.up(NODES, talos=release.version)
    except BedError as error:
        if not cluster.is_up:  # it cannot be built here
            pytest.skip(str(error))
        cluster.down()
        raise
    try:
        yield TalosBed(cluster, release)
    finally:
        cluster.down()


@pytest.fixture
def bed(session_bed: TalosBed) -> TalosBed:
    """The cluster, as the tests before left it."""
    return session_bed


@pytest.fixture
def patched(bed: TalosBed) -> TalosBed:
    """The cluster with every node's patch."""
    bed.write_stack_file(bed.config())
    for node in NODES:
        bed.patch(node.name)
    return bed


@pytest.fixture
def deployed(patched: TalosBed) -> Iterator[TalosBed]:
    """The cluster with every node's patch and the stack on it."""
    patched.deploy(patched.config())
    yield patched
    patched.delete_pods()
