"""What `gpuctl plan` says of another Talos: which nodes, by which image, in which steps."""

from typing import Any

import pytest

from gpuctl.desired.desired import Desired, desired_state
from gpuctl.plan.consequences import consequences
from gpuctl.settings import read_config

OLD: dict[str, Any] = {"name": "gpu-1", "gpu": "rtx-3090", "count": 2}
NEW: dict[str, Any] = {"name": "gpu-2", "gpu": "rtx-4090", "count": 1}


def _desired(version: str, *nodes: dict[str, Any]) -> Desired:
    return desired_state(
        read_config("lab", {"gpu:context": "admin@lab", "gpu:talosVersion": version, "gpu:nodes": list(nodes)})
    )


def _upgrades(before: Desired, after: Desired) -> list[str]:
    return [found.text for found in consequences(before, after) if "must be upgraded" in found.text]


@pytest.mark.parametrize(
    ("older", "newer", "way"),
    [
        ("v1.13.8", "v1.13.9", ""),
        ("v1.12.8", "v1.13.9", ""),
        ("v1.11.6", "v1.13.9", ""),
        ("v1.10.9", "v1.13.9", " First to v1.11.6: v1.13.9 takes none before v1.11."),
    ],
)
def test_a_jump_names_its_steps(older: str, newer: str, way: str) -> None:
    (said,) = _upgrades(_desired(older, OLD), _desired(newer, OLD))
    assert said.endswith(f":{newer}`, one node at a time.{way}")


def test_a_downgrade_is_called_one_and_no_upgrade_is_advised() -> None:
    before, after = _desired("v1.13.9", OLD), _desired("v1.10.9", OLD)
    assert _upgrades(before, after) == []
    (said,) = [found.text for found in consequences(before, after) if found.text.startswith("gpu-1 must")]
    assert said == (
        "gpu-1 must go back to v1.10.9, which is older than v1.13.9, and that reboots: `talosctl rollback --nodes "
        "NODE`, one node at a time, goes back to what ran before, no further."
    )


@pytest.mark.parametrize(
    ("older", "newer"), [("v1.13.9", "v1.13.8"), ("v1.14.1", "v1.14.0"), ("v1.14.0", "v1.14.0-beta.1")]
)
def test_an_older_release_of_the_same_line_is_a_downgrade_that_talos_takes(older: str, newer: str) -> None:
    before, after = _desired(older, OLD), _desired(newer, OLD)
    (said,) = [found.text for found in consequences(before, after) if found.text.startswith("gpu-1 must")]
    assert said.startswith(f"gpu-1 must go back to {newer}, which is older than {older}, and that reboots: `talosctl ")
    assert "talosctl upgrade --nodes NODE" in said
    assert said.endswith(f":{newer}`, one node at a time.")


@pytest.mark.parametrize(
    ("older", "newer"), [("v1.13.9", "v1.13.10"), ("v1.14.0-beta.9", "v1.14.0-beta.10"), ("v1.14.0-rc.0", "v1.14.0")]
)
def test_releases_are_ordered_by_their_numbers_and_a_pre_release_comes_first(older: str, newer: str) -> None:
    assert len(_upgrades(_desired(older, OLD), _desired(newer, OLD))) == 1


def test_only_the_nodes_that_get_another_image_are_upgraded_each_to_its_own() -> None:
    before = _desired("v1.13.9", OLD, NEW)
    after = _desired("v1.13.9", OLD | {"talosVersion": "v1.13.8"}, NEW)
    (said,) = [found.text for found in consequences(before, after) if " must " in found.text]
    assert said.startswith("gpu-1 must go back to v1.13.8")
    assert ":v1.13.8`" in said
