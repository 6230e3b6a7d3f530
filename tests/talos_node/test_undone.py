"""Talos nodes leave the machine as it was: the kernel's settings are the machine's, and Talos would set them.

The last module of a release: it takes the cluster down.
"""

import pytest

from testbed import cgroups, layout, links
from testbed.cluster_state import ClusterState
from testbed.layout import ClusterDir, Slot
from tests.talos_node.bed import TalosBed
from tests.testbed import machine_state

pytestmark = [pytest.mark.talos_node, pytest.mark.timeout(900, func_only=True)]


def test_down_leaves_the_machine_as_it_was(
    bed: TalosBed, settings_before: dict[str, str], mounts_before: list[str]
) -> None:
    """After reboots, resets and all that the other tests do."""
    cluster = bed.cluster
    state = ClusterState.load(ClusterDir(cluster.name))
    assert state
    prefix = Slot(state.slot).prefix
    assert links.exists(f"{prefix}n1")
    assert machine_state.kernel_settings() == settings_before
    cluster.down()
    assert machine_state.kernel_settings() == settings_before
    assert machine_state.mounts() == mounts_before
    assert not links.exists(prefix)
    assert not links.exists(f"{prefix}n1")
    assert list(cgroups.ROOT.glob(f"**/{prefix}*")) == []
    assert not (layout.CLUSTERS / cluster.name).exists()
    assert machine_state.processes(layout.CLUSTERS / cluster.name) == []
