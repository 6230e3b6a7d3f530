"""The test bed's own patches for the nodes that it starts, judged by the library of their line."""

import pytest
import yaml

from testbed.talos import base, check
from testbed.talos.library import Role
from testbed.talos_node import machine_config
from testbed.talos_node.releases import RELEASES

FLAGS: dict[Role, tuple[str, ...]] = {
    "worker": ("--config-patch",),
    "controlplane": ("--config-patch", "--config-patch-control-plane"),
}


@pytest.mark.parametrize("role", FLAGS)
@pytest.mark.parametrize("line", [release.minor for release in RELEASES.values()])
def test_nodes_without_a_network_beyond_the_machine_are_accepted(line: str, role: Role) -> None:
    patches = machine_config.patches(line)
    given = [yaml.safe_dump_all(patches[flag]) for flag in FLAGS[role] if flag in patches]
    verdict = check(line, base(line, line, role), given)
    assert verdict.errors == ()
    assert "KubeFlannelCNIConfig" not in verdict.merged
    assert "node-role.kubernetes.io/control-plane: NoSchedule" not in verdict.merged
