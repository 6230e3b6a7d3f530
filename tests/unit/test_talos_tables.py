"""The tables of Talos releases and lines, and what follows for settings."""

import pytest
from pydantic import TypeAdapter

from gpuctl.settings.talos_tables import (
    CHANNELS_BY_MINOR,
    KUBERNETES_MINORS,
    RELEASES,
    TALOS_MINORS,
    UNUSABLE,
    UPGRADE_FROM,
    Release,
    minor_of,
    newest_release,
)
from tests.fixtures.stack_files import settings


@pytest.mark.parametrize(
    ("release", "production", "lts", "toolkit"),
    [
        ("v1.9.0", "550.127.08", "535.216.03", "1.17.2"),
        ("v1.9.6", "550.144.03", "535.230.02", "1.17.3"),
        ("v1.10.9", "570.148.08", "535.247.01", "1.17.8"),
        ("v1.11.6", "570.172.08", "535.247.01", "1.17.8"),
        ("v1.12.11", "570.211.01", "580.126.20", "1.18.2"),
        ("v1.13.9", "595.91.07", "580.178.04", "1.19.1"),
        ("v1.14.0-rc.1", "595.91.07", "580.178.04", "1.19.1"),
    ],
)
def test_a_release_has_these_drivers(release: str, production: str, lts: str, toolkit: str) -> None:
    """Read at the tags of siderolabs/extensions, a second time."""
    row = RELEASES[release]
    assert (row.driver("production"), row.driver("lts"), row.toolkit) == (production, lts, toolkit)


def test_the_tables_are_of_their_types() -> None:
    """They are read as plain values, because each start of gpuctl would pay for their validation."""
    minor = tuple[int, int]
    for kind, value in (
        (dict[str, Release], RELEASES),
        (dict[str, str], UNUSABLE),
        (dict[minor, dict[str, tuple[str, ...]]], CHANNELS_BY_MINOR),
        (dict[minor, tuple[minor, minor]], KUBERNETES_MINORS),
        (dict[minor, minor], UPGRADE_FROM),
    ):
        assert TypeAdapter(kind).validate_python(value, strict=True) == value


def test_gdrcopy_comes_with_v1_12() -> None:
    assert {minor_of(name) for name, row in RELEASES.items() if row.gdrcopy} == {(1, 12), (1, 13), (1, 14)}


def test_the_tables_are_of_the_same_lines() -> None:
    assert tuple((1, minor) for minor in range(9, 15)) == TALOS_MINORS
    assert {minor_of(release) for release in RELEASES} == set(TALOS_MINORS)
    assert set(KUBERNETES_MINORS) == set(UPGRADE_FROM) == set(TALOS_MINORS)


def test_the_newest_release_is_final_and_usable() -> None:
    assert [newest_release(each) for each in TALOS_MINORS[3:]] == ["v1.12.11", "v1.13.9", "v1.14.6"]
    assert set(UNUSABLE) == {"v1.13.0-alpha.2", "v1.13.1"}
    assert not {newest_release(each) for each in TALOS_MINORS} & set(UNUSABLE)


@pytest.mark.parametrize("release", ["v1.14.1", "v1.13.99"])
def test_a_release_that_is_not_in_the_table_is_taken_with_a_warning(release: str) -> None:
    (warning,) = settings(talosVersion=release).warnings
    assert warning.startswith(f"Talos {release} is not in gpuctl/data/talos_releases.json")


@pytest.mark.parametrize("flavour", ["open", "proprietary"])
@pytest.mark.parametrize("gpu", ["t4", "rtx-3090", "rtx-4090", "h100-sxm"])
def test_from_turing_to_hopper_both_flavours_of_kernel_modules_will_do(gpu: str, flavour: str) -> None:
    nodes = [{"name": "gpu-1", "gpu": gpu, "count": 1}]
    assert settings(nodes=nodes, kernelModules=flavour, powerManagement=False).kernel_modules == flavour


@pytest.mark.parametrize("kubernetes", ["v1.28.0", "v1.33.9"])
def test_the_first_and_the_last_kubernetes_of_a_talos_line_are_taken(kubernetes: str) -> None:
    assert settings(talosVersion="v1.10.9", kubernetesVersion=kubernetes).kubernetes_version == kubernetes


def test_the_default_runtime_is_taken_with_a_warning_from_v1_13_on() -> None:
    assert settings(talosVersion="v1.12.11", defaultRuntime=True).warnings == []
    (warning,) = settings(talosVersion="v1.13.9", defaultRuntime=True).warnings
    assert warning.startswith("gpu:defaultRuntime is not documented for Talos v1.13.9")


def test_a_secret_is_taken_as_pulumi_stores_it_and_never_shown() -> None:
    cluster = settings(talosClientConfiguration={"secure": "v1:abc"}, talosMachineConfiguration="machine: {}")
    assert cluster.talos_client_configuration is not None
    assert "v1:abc" not in repr(cluster)
    assert "machine: {}" not in repr(cluster)
