"""GPU models that a stack file describes itself, and what that gives back of the checks that an unknown one loses."""

from typing import Any

import pytest

from gpuctl.desired.desired import desired_state
from gpuctl.settings import Settings, SettingsError
from tests.fixtures.stack_files import settings

GTX_970 = {
    "name": "NVIDIA GeForce GTX 970",
    "generation": "maxwell",
    "product": "geforce",
    "memoryMiB": 4096,
    "minWatts": 100,
    "defaultWatts": 145,
    "maxWatts": 163,
}
NODES = [{"name": "gpu-1", "gpu": "gtx-970", "count": 2}]
FITTING = {"kernelModules": "proprietary", "driverChannel": "lts", "powerLimit": 150}


def _stack(**keys: Any) -> Settings:
    return settings(**({"nodes": NODES, "gpuModels": {"gtx-970": GTX_970}} | FITTING | keys))


def _mistakes(**keys: Any) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        _stack(**keys)
    return [str(mistake) for mistake in refused.value.mistakes]


def test_a_model_that_is_described_is_known_without_a_warning() -> None:
    stack = _stack()
    assert stack.warnings == []
    desired = desired_state(stack).nodes["gpu-1"]
    assert (desired.memory_mib, desired.watts) == (1024, 300)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"powerLimit": 200}, "gpu:powerLimit = 200: is no limit for every GPU: gtx-970 takes 100 to 163 W"),
        ({"powerLimits": {"gtx-970": 90}}, "gives gtx-970 90 W, and gtx-970 takes 100 to 163 W"),
        ({"driverChannel": "production"}, "and gtx-970 (maxwell) needs 580 or older"),
        ({"kernelModules": "open"}, "do not drive gtx-970 (maxwell): open kernel modules need Turing or newer"),
        ({"circuitWatts": 400}, "2 x 150 W + 150 W base on gpu-1 = 450 W > 400 W"),
    ],
)
def test_what_is_described_is_checked(keys: dict[str, Any], reason: str) -> None:
    (mistake,) = _mistakes(**keys)
    assert reason in mistake


@pytest.mark.parametrize("product", ["geforce", "workstation"])
def test_a_described_product_line_decides_on_the_open_modules_of_old_drivers(product: str) -> None:
    """The lts driver of Talos v1.10 is of the branch 535."""
    old = {"kernelModules": "open", "talosVersion": "v1.10.9"}
    (mistake,) = _mistakes(gpuModels={"gtx-970": GTX_970 | {"generation": "turing", "product": product}}, **old)
    assert "open kernel modules before 545 are for data-center GPUs" in mistake
    assert _stack(gpuModels={"gtx-970": GTX_970 | {"generation": "turing", "product": "datacenter"}}, **old)


@pytest.mark.parametrize("gpu", ["gtx-970", "NVIDIA GeForce GTX 970", "nvidia geforce gtx 970"])
def test_a_described_model_is_named_by_its_key_or_as_nvidia_smi_prints_it(gpu: str) -> None:
    for node in ({"gpu": gpu, "count": 1}, {"gpus": {gpu: 1}}):
        (found,) = _stack(nodes=[{"name": "gpu-1"} | node]).nodes[0].cards
        assert (found.gpu, found.model and found.model.memory_mib) == ("gtx-970", 4096)


def test_a_model_under_two_names_counts_once_with_all_its_gpus() -> None:
    node = {"name": "gpu-1", "gpus": {"rtx-3090": 1, "NVIDIA GeForce RTX 3090": 2}}
    desired = desired_state(settings(nodes=[node]))
    assert dict(desired.capacity.by_model) == {"rtx-3090": 12}
    assert desired.capacity.by_node == {"gpu-1": 12}


def test_a_limit_by_the_name_that_nvidia_smi_prints_is_that_of_the_model() -> None:
    mixed = [{"name": "gpu-1", "gpus": {"rtx-3090": 1, "gtx-970": 1}}]
    stack = settings(
        nodes=mixed,
        gpuModels={"gtx-970": GTX_970 | {"generation": "turing"}},
        powerLimit=280,
        powerLimits={"NVIDIA GeForce GTX 970": 120},
    )
    limits = {(limit.model, limit.watts) for limit in desired_state(stack).limits}
    assert limits == {("", 120), ("NVIDIA GeForce RTX 3090", 280), ("NVIDIA GeForce GTX 970", 120)}


def test_two_limits_for_one_model_are_refused() -> None:
    (mistake,) = _mistakes(powerLimits={"gtx-970": 120, "NVIDIA GeForce GTX 970": 130})
    assert "names gtx-970 twice, also as NVIDIA GeForce GTX 970" in mistake
    assert mistake.endswith("""--path 'gpu:powerLimits["NVIDIA GeForce GTX 970"]'""")


def test_a_board_with_a_wider_range_than_the_catalogues_is_described_under_its_key() -> None:
    """Partner boards of one name differ; the catalogue has 100 to 350 W for an RTX 3080."""
    nodes = [{"name": "gpu-1", "gpu": "rtx-3080", "count": 1}]
    own = {"name": "NVIDIA GeForce RTX 3080", "generation": "ampere", "maxWatts": 400}
    stack = settings(nodes=nodes, powerLimit=380, gpuModels={"rtx-3080": own})
    assert stack.warnings == []
    assert desired_state(stack).nodes["gpu-1"].limits == (380,)


def test_a_described_model_without_figures_loses_only_what_needs_them() -> None:
    stack = _stack(gpuModels={"gtx-970": {"name": "NVIDIA GeForce GTX 970", "generation": "maxwell"}}, powerLimit=999)
    assert desired_state(stack).nodes["gpu-1"].memory_mib is None
    assert _mistakes(gpuModels={"gtx-970": {"name": "X", "generation": "maxwell"}}, kernelModules="open")


def test_a_described_model_without_a_limit_is_left_alone() -> None:
    laptop = {"name": "NVIDIA GeForce RTX 5060 Laptop GPU", "generation": "blackwell", "hasLimit": False}
    nodes = [{"name": "gpu-1", "gpu": "rtx-5060-laptop", "count": 1}]
    assert desired_state(settings(nodes=nodes, gpuModels={"rtx-5060-laptop": laptop})).nodes["gpu-1"].limits == ()


@pytest.mark.parametrize(
    ("described", "mistake"),
    [
        ({"generation": "kepler"}, "gpu:gpuModels.gtx-970.generation = kepler: must be maxwell, pascal, volta, turing"),
        ({"memory": 3}, "gpu:gpuModels.gtx-970.memory = 3: is not a key (did you mean memoryMiB?)"),
        (
            {"minWatts": 150},
            "gpu:gpuModels.gtx-970.defaultWatts = 145: is less than minWatts, 150. Fix it: pulumi config",
        ),
        ({"maxWatts": 0}, "gpu:gpuModels.gtx-970.maxWatts = 0: must be at least 1"),
    ],
)
def test_a_mistake_in_a_description_names_the_key_in_it(described: dict[str, Any], mistake: str) -> None:
    found = _mistakes(gpuModels={"gtx-970": GTX_970 | described})
    assert mistake in found[0]


@pytest.mark.parametrize("key", ["name", "generation"])
def test_no_value_is_invented_for_what_only_the_owner_knows(key: str) -> None:
    described = {name: value for name, value in GTX_970.items() if name != key}
    (mistake,) = _mistakes(gpuModels={"gtx-970": described})
    assert f"gpu:gpuModels.gtx-970.{key} = not set: is required" in mistake
    assert mistake.endswith("Fix it: ${EDITOR:-vi} config/Pulumi.fixture.yaml")
