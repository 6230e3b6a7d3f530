"""Node descriptions and the state of a simulated GPU."""

from pathlib import Path

import pytest

from testbed.gpus import MAX_GPUS_PER_NODE, MODELS, NodeSpec, SimulatedGpu


def test_a_node_has_its_gpus_in_the_order_written() -> None:
    spec = NodeSpec.parse("gpu-1=rtx-3090x2+rtx-4090x1")
    assert spec.name == "gpu-1"
    assert spec.models == (MODELS["rtx-3090"], MODELS["rtx-3090"], MODELS["rtx-4090"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu-1", "no valid name before '='"),
        ("GPU_1=rtx-3090x1", "no valid name before '='"),
        ("gpu-1=rtx-3090", "does not say how many"),
        ("gpu-1=rtx-3090x0", "does not say how many"),
        ("gpu-1=", "does not say how many"),
        ("gpu-1=rtx-9999x1", "'rtx-9999' is not simulated. Known: rtx-3060"),
        (f"gpu-1=rtx-3090x{MAX_GPUS_PER_NODE + 1}", "17 GPUs"),
    ],
)
def test_a_node_that_cannot_be_simulated_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NodeSpec.parse(text)


def test_gpus_keep_their_uuids_over_restarts_and_never_share_one() -> None:
    first, again, other = (NodeSpec.parse(f"{name}=rtx-3090x2").uuids() for name in ("gpu-1", "gpu-1", "gpu-2"))
    assert first == again
    assert len({*first, *other}) == 4


def test_every_model_has_its_default_within_its_range() -> None:
    assert all(model.min_watts <= model.default_watts <= model.max_watts for model in MODELS.values())


@pytest.fixture
def gpu(tmp_path: Path) -> SimulatedGpu:
    directory = tmp_path / "GPU-1"
    directory.mkdir()
    return SimulatedGpu(directory, MODELS["rtx-3090"])


def test_a_fresh_gpu_stands_at_its_default_limit(gpu: SimulatedGpu) -> None:
    assert gpu.power_limit == 350


def test_a_driver_reload_loses_what_was_set_but_not_the_mounted_directory(gpu: SimulatedGpu) -> None:
    """Containers have the directory mounted: a new one in its place would be invisible to them."""
    gpu.drift(300)
    gpu.lose()
    inode = gpu.directory.stat().st_ino
    gpu.reload_driver()
    assert (gpu.power_limit, gpu.lost, gpu.directory.stat().st_ino) == (350, False, inode)


def test_xids_accumulate(gpu: SimulatedGpu) -> None:
    gpu.raise_xid(79)
    gpu.raise_xid(48)
    assert gpu.xids == [79, 48]
