"""One cluster of two Talos nodes for all tests of this folder, once for each release.

Those releases are tested that are built on this machine, or that TALOS names, such as `TALOS="v1.10.6 v1.13.9"`;
`make test-talos` sets it, and builds them.
"""

import os
from collections.abc import Iterator

import pytest

from testbed.cluster import Cluster, capabilities
from testbed.errors import BedError
from testbed.talos_node.releases import RELEASES, TalosRelease, release_of
from tests.talos_node.bed import NODES, TalosBed

_ASKED = os.environ.get("TALOS", "").split()


@pytest.fixture(scope="session", params=_ASKED or list(RELEASES))
def release(request: pytest.FixtureRequest) -> TalosRelease:
    """A release whose nodes this machine can start."""
    if problem := capabilities():
        pytest.skip(problem)
    release = release_of(request.param)
    try:
        if not (_ASKED or release.is_built):
            how = f"make test-talos TALOS={release.version}"
            pytest.skip(f"Talos {release.version} is not built here, which takes about ten minutes: {how}")
    except BedError as error:
        pytest.skip(str(error))
    return release


@pytest.fixture(scope="session")
def session_bed(release: TalosRelease) -> Iterator[TalosBed]:
    """The cluster; nothing is deployed yet, and no node has a patch."""
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
    bed.patch_all()
    return bed


@pytest.fixture
def deployed(patched: TalosBed) -> Iterator[TalosBed]:
    """The cluster with every node's patch and the stack on it."""
    patched.deploy(patched.config())
    yield patched
    patched.delete_pods()
