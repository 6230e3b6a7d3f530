"""The catalogue of GPUs: product lines, boards of one name, and what is meant by a slip."""

import pytest
from pydantic import TypeAdapter

from gpuctl.settings import CATALOGUE, GpuModel, SettingsError
from gpuctl.settings.catalogue import key_of, meant
from tests.fixtures.stack_files import settings


def _with(gpu: str, **keys: object) -> list[str]:
    """The mistakes of a stack with this GPU."""
    try:
        settings(nodes=[{"name": "gpu-1", "gpu": gpu, "count": 1}], powerManagement=False, **keys)
    except SettingsError as error:
        return [mistake.command for mistake in error.mistakes]
    return []


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("RTX 3090 TI SUPER", "rtx-3090-ti"),
        ("rtx-3091", "rtx-3090"),
        ("GeForce RTX 4091", "rtx-4090"),
        ("NVIDIA-RTX-A6001", "rtx-a6000"),
    ],
)
def test_a_slip_is_answered_with_a_card_of_the_same_series(written: str, key: str) -> None:
    assert meant(written) == key


@pytest.mark.parametrize("written", ["p41", "gtx-9", "rtx-7000", "a400", "matrox-millennium", "k80", "x1070"])
def test_no_card_of_another_product_line_is_suggested(written: str) -> None:
    """`p40` is a GPU of 2016 and `l40` one of 2022: they share no driver."""
    key = meant(written)
    assert key is None or key[0] == written[0]
    assert key not in ("l40", "rtx-4070", "a40", "l4")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA GeForce RTX 3090", "rtx-3090"),
        ("nvidia l4", "l4"),
        ("NVIDIA GeForce RTX 4060 Ti", "rtx-4060-ti"),
        ("NVIDIA GeForce RTX 3060", "rtx-3060"),
        ("something", "something"),
    ],
)
def test_the_name_that_nvidia_smi_prints_is_a_key(name: str, key: str) -> None:
    assert key_of(name) == key
    (node,) = settings(nodes=[{"name": "gpu-1", "gpu": name, "count": 1}], powerManagement=False).nodes
    assert [(group.gpu, group.count) for group in node.cards] == [(key, 1)]


@pytest.mark.parametrize(
    ("key", "memory", "name"),
    [
        ("rtx-3060", 12288, "NVIDIA GeForce RTX 3060"),
        ("rtx-3060-8gb", 8192, "NVIDIA GeForce RTX 3060"),
        ("rtx-3080", 10240, "NVIDIA GeForce RTX 3080"),
        ("rtx-3080-12gb", 12288, "NVIDIA GeForce RTX 3080"),
        ("rtx-4060-ti", 8188, "NVIDIA GeForce RTX 4060 Ti"),
        ("rtx-4060-ti-16gb", 16380, "NVIDIA GeForce RTX 4060 Ti"),
        ("rtx-5060-ti", 16311, "NVIDIA GeForce RTX 5060 Ti"),
        ("rtx-5060-ti-8gb", 8192, "NVIDIA GeForce RTX 5060 Ti"),
    ],
)
def test_boards_of_one_name_have_a_key_for_each_size_of_memory(key: str, memory: int, name: str) -> None:
    assert (CATALOGUE[key].memory_mib, CATALOGUE[key].name) == (memory, name)


@pytest.mark.parametrize("gpu", ["gtx-1070", "gtx-1080-ti", "p40", "v100-pcie-16gb", "m40-24gb", "titan-v"])
def test_a_card_before_turing_needs_proprietary_modules_and_a_driver_up_to_580(gpu: str) -> None:
    assert len(_with(gpu)) == 2
    assert _with(gpu, kernelModules="proprietary", driverChannel="lts") == []


@pytest.mark.parametrize("gpu", ["gtx-1660", "rtx-2080-ti", "titan-rtx", "quadro-rtx-4000", "rtx-pro-6000", "rtx-5070"])
def test_a_card_from_turing_on_runs_with_the_defaults(gpu: str) -> None:
    assert _with(gpu) == []


@pytest.mark.parametrize("version", ["v1.9.6", "v1.10.9", "v1.11.6"])
@pytest.mark.parametrize("gpu", ["rtx-3070", "gtx-1660", "rtx-a5000", "quadro-rtx-4000"])
def test_open_modules_before_545_refuse_geforce_and_workstation_cards(gpu: str, version: str) -> None:
    """Open nvidia.ko is only ready for use on Data Center GPUs."""
    (command,) = _with(gpu, talosVersion=version, driverChannel="lts")
    assert command.endswith("gpu:kernelModules proprietary")
    assert _with(gpu, talosVersion=version, driverChannel="lts", kernelModules="proprietary") == []


@pytest.mark.parametrize(
    ("gpu", "version", "channel"),
    [
        ("l4", "v1.10.9", "lts"),
        ("t4", "v1.10.9", "lts"),
        ("rtx-3070", "v1.9.6", "production"),
        ("rtx-3070", "v1.12.4", "lts"),
    ],
)
def test_open_modules_drive_data_center_cards_and_from_545_on_all(gpu: str, version: str, channel: str) -> None:
    assert _with(gpu, talosVersion=version, driverChannel=channel) == []


@pytest.mark.parametrize("flavour", ["open", "proprietary"])
@pytest.mark.parametrize("gpu", ["gb10", "jetson-orin"])
def test_a_chip_with_gpu_and_cpu_has_modules_of_its_own_rules(gpu: str, flavour: str) -> None:
    assert _with(gpu, kernelModules=flavour) == []


@pytest.mark.parametrize("gpu", ["gb10", "jetson-orin", "rtx-4080-laptop"])
def test_a_card_that_takes_no_limit_is_taken_with_a_warning(gpu: str) -> None:
    nodes = [{"name": "gpu-1", "gpu": gpu, "count": 1}]
    (warning,) = settings(nodes=nodes).warnings
    assert warning.startswith(f"node gpu-1: GPU '{gpu}' is not known to take a power limit")
    assert settings(nodes=nodes, powerManagement=False).warnings == []
    assert not CATALOGUE[gpu].has_limit


ROWS = {
    "geforce": 61,
    "workstation": 23,
    "datacenter": 29,
    "jetson": 2,
}


@pytest.mark.parametrize("product", ROWS)
def test_no_row_of_the_catalogue_goes_missing(product: str) -> None:
    assert sum(model.product == product for model in CATALOGUE.values()) == ROWS[product]


@pytest.mark.parametrize("key", CATALOGUE)
def test_each_row_of_the_catalogue_is_of_its_types(key: str) -> None:
    model = CATALOGUE[key]
    assert TypeAdapter(GpuModel).validate_python(model, strict=True) == model
    assert model.memory_mib is None or model.memory_mib > 0


@pytest.mark.parametrize("key", CATALOGUE)
def test_what_is_not_captured_states_no_more_than_a_data_sheet(key: str) -> None:
    """The least watts a GPU takes stand in no data sheet."""
    model = CATALOGUE[key]
    if model.confidence == "partial":
        assert model.watts.minimum is None or model.watts.maximum is None
    assert model.has_limit == (model.watts.default is not None)
