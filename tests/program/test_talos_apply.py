"""The Talos patches that a stack applies itself: declared under mocks, with the real package of the provider.

The provider is not run: no node has ever been given a patch by these tests.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import program
from components.stack import GpuStack
from gpuctl.desired.desired import desired_state
from gpuctl.desired.talos import provider_patches
from gpuctl.settings import Settings
from gpuctl.settings.model import SECRET_FIELDS
from testbed.artifacts import artifact, key
from tests.fixtures.pulumi_program import Deployment, Resource, deploy
from tests.fixtures.stack_files import ROOT, settings

PACKAGE = "pulumiverse_talos"
MARK = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
"""By which a value that goes to Pulumi's engine is a secret."""
TALOSCONFIG = yaml.safe_dump(
    {"context": "lab", "contexts": {"lab": {"endpoints": ["192.0.2.10"], "ca": "Q0E=", "crt": "Q1JU", "key": "S0VZ"}}}
)
APPLIED: dict[str, Any] = {
    "talosApply": True,
    "talosEndpoint": "192.0.2.10",
    "talosClientConfiguration": TALOSCONFIG,
    "talosMachineConfiguration": "machine:\n  type: worker\n",
    "nodes": [
        {"name": "gpu-1", "gpu": "rtx-3090", "count": 2, "address": "192.0.2.11"},
        {"name": "gpu-2", "gpu": "l4", "count": 4, "slices": 2, "powerLimit": 72},
    ],
}


@pytest.fixture(scope="module")
def installed() -> Path:
    """The folder with the provider's package, which is in no environment: Pulumi would fetch its provider each time."""
    requirements = ROOT / "requirements-talos.txt"

    def install(out: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "--target", str(out), "-r", str(requirements)], check=True)

    try:
        return artifact(PACKAGE, key(requirements.read_bytes()), "fetching pulumiverse-talos", install)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"pulumiverse-talos cannot be fetched: {error}")


@pytest.fixture
def provider(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package can be imported."""
    monkeypatch.setattr(sys, "path", [str(installed), *sys.path])


@pytest.fixture
def no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not installed: importing it fails."""
    monkeypatch.setitem(sys.modules, f"{PACKAGE}.machine", None)


def _declare(cluster: Settings) -> Deployment:
    return deploy(lambda: GpuStack("gpu", desired_state(cluster)))


def _applied(deployment: Deployment) -> dict[str, Resource]:
    """Node -> what gives it its patch."""
    return {each.name: each for each in deployment.resources if each.type.startswith("talos:")}


@pytest.mark.usefixtures("provider")
def test_every_node_gets_its_patch_through_the_provider() -> None:
    cluster = settings(**APPLIED)
    deployment = _declare(cluster)
    applied = _applied(deployment)
    assert set(applied) == {"gpu-1", "gpu-2"}
    for name, address in (("gpu-1", "192.0.2.11"), ("gpu-2", "gpu-2")):
        assert applied[name].type == "talos:machine/configurationApply:ConfigurationApply"
        assert applied[name].parent == "talos-patches"
        inputs = applied[name].inputs
        assert (inputs["node"], inputs["endpoint"]) == (address, "192.0.2.10")
        assert inputs["configPatches"] == [provider_patches(cluster)[name]]
        assert inputs["applyMode"] == "staged_if_needing_reboot"
        assert "onDestroy" not in inputs, "taking the stack down resets no node"


@pytest.mark.usefixtures("provider")
def test_what_is_secret_stays_secret() -> None:
    """In Pulumi's state and on its screen: the engine encrypts what arrives marked so."""
    inputs = _applied(_declare(settings(**APPLIED)))["gpu-1"].inputs
    client = {"caCertificate": "Q0E=", "clientCertificate": "Q1JU", "clientKey": "S0VZ"}
    assert inputs["clientConfiguration"] == MARK | {"value": client}
    assert inputs["machineConfigurationInput"] == MARK | {"value": "machine:\n  type: worker\n"}
    shown = repr(settings(**APPLIED))
    assert "S0VZ" not in shown
    assert "type: worker" not in shown


@pytest.mark.usefixtures("provider")
def test_on_v1_14_the_provider_gets_the_fields_it_knows() -> None:
    """Its library is that of v1.13, which refuses the documents of v1.14."""
    cluster = settings(**APPLIED, talosVersion="v1.14.1", talosContract="v1.12")
    (patch,) = _applied(_declare(cluster))["gpu-1"].inputs["configPatches"]
    (document,) = yaml.safe_load_all(patch)
    assert list(document) == ["machine"]
    assert {"install", "kernel"} <= set(document["machine"])


@pytest.mark.usefixtures("no_provider")
def test_a_plain_stack_does_not_even_import_the_provider() -> None:
    deployment = _declare(settings())
    assert deployment.refusal is None
    assert _applied(deployment) == {}
    assert deployment.named("talos-patches").type == "gpu:index:TalosPatches"


@pytest.mark.usefixtures("no_provider")
def test_without_the_package_the_command_that_installs_it_is_told() -> None:
    refusal = _declare(settings(**APPLIED)).refusal or ""
    assert refusal.startswith("gpu:talosApply = true: needs the package pulumiverse-talos")
    assert refusal.endswith("pip install --no-deps --require-hashes -r requirements-talos.txt")


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("text", ["certificates: [S0VZ", "context: lab", "context: lab\ncontexts: {lab: {ca: S0VZ}}"])
def test_what_is_no_talosconfig_is_told_without_its_content(text: str) -> None:
    refusal = _declare(settings(**APPLIED | {"talosClientConfiguration": text})).refusal or ""
    assert "gpu:talosClientConfiguration is no talosconfig with a current context and its ca, crt and key" in refusal
    assert "S0VZ" not in refusal


@pytest.mark.parametrize("key", ["gpu:talosClientConfiguration", "gpu:talosMachineConfiguration"])
def test_a_secret_in_plain_text_is_refused(key: str) -> None:
    keys = {f"gpu:{name}": _text(value) for name, value in APPLIED.items()} | {"gpu:context": "admin@lab"}
    others = [name for name in SECRET_FIELDS.values() if name != key]
    refusal = deploy(program.stack_settings, keys, secrets=others).refusal or ""
    assert refusal.startswith(f"{key} is stored as plain text")
    assert "S0VZ" not in refusal


def _text(value: Any) -> str:
    """A value as Pulumi passes it."""
    return value if isinstance(value, str) else json.dumps(value)
