"""When the machine's own Pulumi is used."""

from pathlib import Path

import pytest

from testbed import installed_pulumi
from testbed.go_tools import PROVIDER_VERSION, PULUMI_VERSION

PROVIDER = f"plugins/resource-kubernetes-v{PROVIDER_VERSION}/pulumi-resource-kubernetes"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete installation."""
    for name in ("bin/pulumi", "bin/pulumi-language-python", PROVIDER):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho v{PULUMI_VERSION}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    return tmp_path


def test_a_complete_installation_is_used(home: Path) -> None:
    assert installed_pulumi.provider() == home / PROVIDER


@pytest.mark.parametrize("missing", ["bin/pulumi", "bin/pulumi-language-python", PROVIDER])
def test_an_incomplete_one_is_not(home: Path, missing: str) -> None:
    (home / missing).unlink()
    assert installed_pulumi.provider() is None


def test_an_old_cli_is_not(home: Path) -> None:
    (home / "bin" / "pulumi").write_text("#!/bin/sh\necho v3.100.0\n")
    assert installed_pulumi.provider() is None


@pytest.mark.parametrize(
    ("answer", "usable"),
    [
        ("v3.259.0\n", True),
        ("v3.300.2\n", True),
        ("3.259.1\n", True),
        ("v3.258.9\n", False),
        ("v4.0.0\n", False),
        ("", False),
        ("no such command", False),
    ],
)
def test_a_cli_is_usable_from_the_sdks_version_up_to_the_next_major(answer: str, usable: bool) -> None:
    assert installed_pulumi.is_usable(answer) is usable
