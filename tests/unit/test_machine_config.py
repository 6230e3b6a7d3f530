"""Reading a machine configuration, and what is found in a whole one; tests/talos has the findings in patches."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuctl.desired.schematic import id_of, installer_image, schematic_of
from gpuctl.desired.talos import Form, talos_patch
from gpuctl.machine_config import MachineConfigError, Wanted, check, parse, present
from gpuctl.machine_config.yaml_text import documents_in
from gpuctl.settings import Settings
from tests.fixtures.stack_files import settings

WORKER: dict[str, Any] = {"version": "v1alpha1", "machine": {"type": "worker"}, "cluster": {}}


def _merged(cluster: Settings, **machine: Any) -> str:
    """A worker's configuration with its patch; good enough where the patch is one document of fields."""
    patch = yaml.safe_load(talos_patch(cluster, cluster.nodes[0]))["machine"]
    return yaml.safe_dump(WORKER | {"machine": WORKER["machine"] | patch | machine})


def _codes(text: str, cluster: Settings | None = None, version: str = "v1.13.9") -> list[str]:
    wanted = Wanted(cluster, cluster.nodes[0]) if cluster else None
    return [finding.code for finding in check(parse(text), version, wanted)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0o600", 0o600),
        ("0600", 0o600),
        ("384", 384),
        ('"0600"', "0600"),
        ("0o680", "0o680"),
        ("true", True),
        ("True", "True"),
        ("yes", "yes"),
        ("off", "off"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("~", None),
        ("0.5", 0.5),
    ],
)
def test_texts_are_read_as_talos_reads_them(text: str, value: object) -> None:
    """PyYAML reads YAML 1.1, in which 0o600 is a text and yes is true."""
    assert documents_in(f"a: {text}") == [{"a": value}]


def test_what_talosctl_prints_around_a_configuration_is_taken_off() -> None:
    resource = {"metadata": {"type": "MachineConfigs.config.talos.dev"}, "spec": "machine:\n  type: worker\n"}
    assert parse(yaml.safe_dump(resource)).machine == {"type": "worker"}


def test_the_configurations_of_several_nodes_are_refused_and_not_the_first_one_taken() -> None:
    resource = {"metadata": {"type": "MachineConfigs.config.talos.dev"}, "spec": "machine:\n  type: worker\n"}
    both = yaml.safe_dump_all([{"node": "10.0.0.1"} | resource, {"node": "10.0.0.2"} | resource])
    with pytest.raises(MachineConfigError, match=r"configurations of several nodes, 10\.0\.0\.1, 10\.0\.0\.2"):
        parse(both)


@pytest.mark.parametrize(("text", "reason"), [("a: [", "is not YAML"), ("hello", "is no Talos machine configuration")])
def test_what_is_no_configuration_is_refused(text: str, reason: str) -> None:
    with pytest.raises(MachineConfigError, match=reason):
        parse(text)


@pytest.mark.parametrize(
    "text", ["machine: 5", "machine:\n  files: 7\n  kernel: {modules: {a: b}}", "machine:\n  files: [1]"]
)
def test_nonsense_is_no_reason_to_stumble(text: str) -> None:
    """Its types are for Talos' own validation to refuse."""
    check(parse(text), "v1.13.9")


def test_a_new_worker_lacks_everything() -> None:
    text = yaml.safe_dump(WORKER)
    assert _codes(text) == ["image-missing", "modules-missing"]
    assert _codes(text, version="v1.12.4") == ["image-missing", "modules-missing", "sysctl-missing"]
    cluster = settings(defaultRuntime=True, talosVersion="v1.12.4")
    assert _codes(text, cluster, "v1.12.4")[3:] == ["cri-missing"]
    cluster = settings(labelNodes=False)
    assert _codes(text, cluster)[2:] == ["label-differs", "label-differs"]


@pytest.mark.parametrize("version", ["v1.9.5", "v1.12.4", "v1.13.9"])
def test_a_worker_with_its_patch_lacks_nothing(version: str) -> None:
    cluster = settings(talosVersion=version, defaultRuntime=version != "v1.13.9")
    assert _codes(_merged(cluster), cluster, version) == []


def test_another_image_than_the_stacks_is_found() -> None:
    assert _codes(_merged(settings(driverChannel="lts")), settings()) == ["image-differs"]


def test_labels_belong_into_the_configuration_only_where_the_stack_sets_none() -> None:
    ours, of_talos = settings(), settings(labelNodes=False)
    present = {"nvidia.com/gpu.present": "false"}
    assert _codes(_merged(ours, nodeLabels=present), ours) == ["label-owner"]
    assert _codes(_merged(of_talos, nodeLabels=present), of_talos) == ["label-differs", "label-differs"]
    assert _codes(_merged(of_talos), of_talos) == []


def test_a_label_may_be_written_without_quotes() -> None:
    cluster = settings(labelNodes=False)
    config = _merged(cluster)
    written = "nvidia.com/gpu.present: 'true'"
    assert written in config
    assert _codes(config.replace(written, "nvidia.com/gpu.present: true"), cluster) == []
    assert _codes(config.replace(written, "nvidia.com/gpu.present: True"), cluster) == ["label-differs"]
    assert _codes(config.replace(written, "nvidia.com/gpu.present:"), cluster) == ["label-value", "label-differs"]


@pytest.mark.parametrize(
    ("image", "codes"),
    [
        ("ghcr.io/siderolabs/installer:v1.13.9", ["image"]),
        ("factory.talos.dev/metal-installer/not-an-id:v1.13.9", ["image"]),
        ("an installer", ["image"]),
        (installer_image(settings()), []),
        (installer_image(settings(secureBoot=True, imageFactory="factory.lab.example:8443")), []),
        (f"factory.talos.dev/installer/{'a' * 64}:v1.13.9", ["image-unknown"]),
    ],
)
def test_an_image_without_a_schematic_has_no_driver(image: str, codes: list[str]) -> None:
    """Of one with a schematic that is not known here it could not be determined."""
    assert _codes(_merged(settings(), install={"image": image})) == codes


@pytest.mark.parametrize(("modules", "toolkit"), [("lts", "production"), ("production", "lts")])
def test_a_schematic_of_two_channels_is_known_by_its_id(modules: str, toolkit: str) -> None:
    names = [f"siderolabs/nonfree-kmod-nvidia-{modules}", f"siderolabs/nvidia-container-toolkit-{toolkit}"]
    image = f"factory.talos.dev/metal-installer/{id_of(schematic_of(names))}:v1.13.9"
    assert _codes(_merged(settings(), install={"image": image})) == ["channels-mixed"]


def test_a_release_that_no_gpu_node_can_run_is_found() -> None:
    assert _codes(_merged(settings()), version="v1.13.1") == ["release"]


@pytest.mark.parametrize(
    ("documents", "form"),
    [
        ([WORKER], Form.MIXED),
        ([WORKER, {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "stable"}], Form.MIXED),
        ([WORKER, {"apiVersion": "v1alpha1", "kind": "KubeNodeConfig"}], Form.DOCUMENTS),
        ([WORKER, {"apiVersion": "v1alpha1", "kind": "UnattendedInstallConfig"}], Form.DOCUMENTS),
    ],
)
def test_the_form_of_a_v1_14_configuration_is_told_by_its_documents(documents: list[Any], form: Form) -> None:
    config = parse(yaml.safe_dump_all(documents))
    assert present(config, "v1.14.1").form is form
    assert present(config, "v1.13.9").form is Form.FIELDS


def test_every_finding_is_in_the_documentation() -> None:
    root = Path(__file__).parents[2]
    rules = "".join(path.read_text() for path in (root / "gpuctl" / "machine_config").glob("*.py"))
    codes = {part.split('"')[1] for part in rules.split("Finding(")[1:] if part.strip().startswith('"')}
    documentation = (root / "docs" / "talos.md").read_text()
    assert {code for code in codes if f"`{code}`" not in documentation} == set()
