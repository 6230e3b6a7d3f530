"""Configurations that `gpuctl talos check` says would keep a node from booting, given to a node: it does not boot."""

from collections.abc import Iterator

import pytest

from tests.node.bed import wait_for
from tests.talos_node.bed import TalosBed

pytestmark = [
    pytest.mark.talos_node,
    pytest.mark.before_line(1, 14),  # where configurations have files of this kind
    pytest.mark.timeout(900, func_only=True),
]

CRI_FILE = "/etc/cri/conf.d/20-customization.part"


@pytest.fixture(scope="module")
def unbootable(session_bed: TalosBed) -> Iterator[TalosBed]:
    """The cluster, whose node gpu-2 the tests of this module keep from booting."""
    yield session_bed
    session_bed.changed_by_hand()
    session_bed.join("gpu-2")
    session_bed.wait_until_ready("gpu-2")


@pytest.mark.parametrize(
    ("code", "files", "reason"),
    [
        (
            "file-path",
            [("create", "/etc/cri/conf.d/21-nvidia.part", "")],
            "create operation not allowed outside of /var",
        ),
        ("file-twice", [("create", CRI_FILE, "")] * 2, "already exists"),
        ("file-op", [("creat", "/var/nvidia", "")], 'unknown operation for file "/var/nvidia": "creat"'),
        ("cri-content", [("create", CRI_FILE, "[plugins")], "toml: expected character ]"),
    ],
)
def test_a_file_that_check_refuses_keeps_a_node_from_booting(
    unbootable: TalosBed, code: str, files: list[tuple[str, str, str]], reason: str
) -> None:
    entries = [
        {"op": op, "path": path, "permissions": 0o600, "content": content or "# nothing\n"}
        for op, path, content in files
    ]
    patch = unbootable.file(code, {"machine": {"files": entries}})
    assert f"[{code}]" in unbootable.check_patch(patch)
    unbootable.join("gpu-2", patch)
    wait_for(True, lambda: reason in unbootable.says("gpu-2"))
