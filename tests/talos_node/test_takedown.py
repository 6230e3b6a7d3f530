"""A Talos node leaves the machine as it was: the kernel's settings are the machine's, and Talos would set them."""

from collections.abc import Iterator

import pytest

from testbed import cgroups, layout, links
from testbed.cluster import Cluster
from testbed.cluster_state import ClusterState
from testbed.gpus import NodeSpec
from testbed.layout import ClusterDir, Slot
from testbed.talos_node.releases import TalosRelease
from tests.testbed import machine_state

pytestmark = [pytest.mark.talos_node, pytest.mark.timeout(900, func_only=True)]


@pytest.fixture
def cluster(release: TalosRelease) -> Iterator[Cluster]:  # noqa: ARG001  # where it cannot be started, nothing is
    """A cluster of the test's own, gone after it in any case."""
    cluster = Cluster("l2t-down")
    cluster.down()
    yield cluster
    cluster.down()


def test_down_leaves_the_machine_as_it_was(cluster: Cluster, release: TalosRelease) -> None:
    settings, mounts = machine_state.kernel_settings(), machine_state.mounts()
    cluster.up([NodeSpec.parse("gpu-1=l4x1")], talos=release.version)
    state = ClusterState.load(ClusterDir(cluster.name))
    assert state
    prefix = Slot(state.slot).prefix
    assert links.exists(f"{prefix}n1")
    assert machine_state.kernel_settings() == settings
    cluster.down()
    assert machine_state.kernel_settings() == settings
    assert machine_state.mounts() == mounts
    assert not links.exists(prefix)
    assert not links.exists(f"{prefix}n1")
    assert list(cgroups.ROOT.glob(f"**/{prefix}*")) == []
    assert not (layout.CLUSTERS / cluster.name).exists()
    assert machine_state.processes(layout.CLUSTERS / cluster.name) == []
