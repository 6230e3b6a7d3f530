"""One cluster of two Talos nodes for all tests of this folder, once for each release.

Those releases are tested that are built on this machine, or that TALOS names, such as `TALOS="v1.10.6 v1.13.9"`;
`make test-talos` sets it, and builds them.
"""

import os
from collections.abc import Iterator

import pytest

from gpuctl.settings.talos_tables import minor_of
from testbed.cluster import Cluster, capabilities
from testbed.errors import BedError
from testbed.talos_node.releases import RELEASES, TalosRelease, release_of
from tests.talos_node.bed import NODES, TalosBed
from tests.testbed import machine_state

_ASKED = os.environ.get("TALOS", "").split()
_RELEASES = _ASKED or list(RELEASES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what does not concern a release, by the markers before_line and one_line."""
    left_out = [item for item in items if item.get_closest_marker("talos_node") and not _concerns(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _concerns(item: pytest.Item) -> bool:
    release: str = getattr(item, "callspec").params["release"]  # noqa: B009  # pytest.Item has none by its type
    before = item.get_closest_marker("before_line")
    if before and minor_of(release) >= before.args:
        return False
    return not item.get_closest_marker("one_line") or release == _RELEASES[0]


@pytest.fixture(scope="session", params=_RELEASES)
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
def settings_before(release: TalosRelease) -> dict[str, str]:  # noqa: ARG001  # once for each
    """The machine's kernel settings before the cluster of a release came up."""
    return machine_state.kernel_settings()


@pytest.fixture(scope="session")
def mounts_before(release: TalosRelease) -> list[str]:  # noqa: ARG001
    """The machine's mounts at that time."""
    return machine_state.mounts()


@pytest.fixture(scope="session")
def session_bed(
    release: TalosRelease,
    settings_before: dict[str, str],  # noqa: ARG001  # first
    mounts_before: list[str],  # noqa: ARG001
) -> Iterator[TalosBed]:
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
