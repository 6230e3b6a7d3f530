"""Values of Pulumi ESC environments count as for Pulumi, which resolves them; where it cannot, that is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpuctl.cli.options import silent_settings_of
from gpuctl.settings import Settings, SettingsError
from gpuctl.settings.stack_file import parse_stack
from tests.fixtures.stack_files import STACK

LEAST = """\
environment: [prod]
config:
  gpu:context: admin@lab
  gpu:nodes: [{name: gpu-1, gpu: rtx-3090, count: 2}]
"""
NO_SERVICE = (
    "error: backend vm does not support environments; Pulumi ESC environments require the Pulumi Cloud backend, use "
    "`pulumi login` without arguments to log into the Pulumi Cloud backend"
)
"""What Pulumi 3.259.0 says where its records lie in a folder."""


def _answer(**keys: Any) -> dict[str, Any]:
    """As `pulumi config --json` has it, with the project's own empty default."""
    given: dict[str, Any] = {
        f"gpu:{key}": {"objectValue": value} if isinstance(value, list | dict) else {"value": value}
        for key, value in keys.items()
    }
    return {"gpu:kubeconfig": {"value": "", "secret": False}, "aws:region": {"value": "b"}, **given}


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in Pulumi's place; tests write what it says."""
    script = tmp_path / "bin" / "pulumi"
    script.parent.mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: gpu\nstackConfigDir: config\n")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "Pulumi.lab.yaml").write_text(LEAST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    return script


def _says(script: Path, text: str, *, to: str = "1", code: int = 0) -> None:
    (script.parent / "text").write_text(text)
    script.write_text(f'#!/bin/sh\necho "$@" >>{script.parent}/asked\ncat {script.parent}/text >&{to}\nexit {code}\n')
    script.chmod(0o755)


def _read(text: str, **answer: Any) -> Settings:
    values = {f"gpu:{key}": value for key, value in answer.items()}
    return parse_stack(STACK, text, "the file", lambda stack: values if stack == STACK else {})


def test_what_an_environment_sets_counts(pulumi: Path) -> None:
    _says(pulumi, json.dumps(_answer(slices="8")))
    settings = silent_settings_of("lab")
    assert (settings.slices, settings.warnings) == (8, [])
    assert (pulumi.parent / "asked").read_text() == "config --json --non-interactive --stack lab\n"


def test_the_file_goes_before_the_environment() -> None:
    assert _read(f"{LEAST}  gpu:slices: 2\n", slices="8").slices == 2


def test_mappings_of_both_are_one_as_pulumi_makes_it() -> None:
    two = LEAST.replace("}]", "}, {name: gpu-2, gpu: rtx-4090, count: 1}]")
    limits = _read(f"{two}  gpu:powerLimits: {{rtx-3090: 300}}\n", powerLimits={"rtx-3090": 300, "rtx-4090": 320})
    assert limits.power_limits == {"rtx-3090": 300, "rtx-4090": 320}


@pytest.mark.parametrize(
    ("said", "to", "code", "reason"),
    [
        (NO_SERVICE, "2", 1, "backend vm does not support environments; Pulumi ESC environments require the Pulumi"),
        ("error: no stack named 'lab' found\n", "2", 255, "no stack named 'lab' found"),
        ("", "2", 7, "pulumi ended with 7"),
        ("not JSON", "1", 0, "the answer of `pulumi config --json` could not be read"),
        ("[1]", "1", 0, "the answer of `pulumi config --json` could not be read"),
        ('{"gpu:slices": 8}', "1", 0, "the answer of `pulumi config --json` could not be read"),
    ],
)
def test_where_pulumi_does_not_resolve_it_its_reason_is_said(
    said: str, to: str, code: int, reason: str, pulumi: Path
) -> None:
    _says(pulumi, said, to=to, code=code)
    settings = silent_settings_of("lab")
    (warning,) = settings.warnings
    assert settings.slices == 4
    assert warning.startswith(
        f"config/Pulumi.lab.yaml takes values from the Pulumi environment prod, which is not resolved here ({reason}"
    )


def test_so_it_is_where_pulumi_is_not_installed(pulumi: Path) -> None:
    assert not pulumi.exists()
    (warning,) = silent_settings_of("lab").warnings
    assert "(pulumi is not installed)" in warning


def test_a_program_of_that_name_that_the_system_does_not_run_is_said(pulumi: Path) -> None:
    pulumi.write_bytes(b"\x7fELF")
    pulumi.chmod(0o755)
    (warning,) = silent_settings_of("lab").warnings
    assert "(pulumi cannot be run: Exec format error)" in warning


def test_a_required_key_that_an_unresolved_environment_may_set_says_so(pulumi: Path) -> None:
    _says(pulumi, NO_SERVICE, to="2", code=1)
    (pulumi.parents[1] / "config" / "Pulumi.lab.yaml").write_text("environment: [prod]\n")
    with pytest.raises(SettingsError) as error:
        silent_settings_of("lab")
    assert "is required, and the environment prod, which may set it, is not resolved here" in str(error.value)


def test_a_secret_of_an_environment_is_one_and_is_shown_nowhere() -> None:
    read = _read(LEAST, talosClientConfiguration={"secure": ""}, talosMachineConfiguration={"secure": ""})
    assert read.talos_client_configuration is not None


def test_a_value_that_only_opening_reveals_is_named() -> None:
    (warning,) = _read(LEAST, kubeconfig="[unknown]", powerLimits={"l4": "[unknown]"}).warnings
    assert warning == (
        "the file takes gpu:kubeconfig, gpu:powerLimits from the Pulumi environment prod, which is not resolved here "
        "(known once it is opened): what `pulumi up` uses may differ from what is said here; see: "
        "pulumi config --stack fixture --open"
    )


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ("[prod]", "pulumi env edit prod"),
        ("['team/prod@stable']", "pulumi env edit team/prod"),
        ("[{'a b; id': {merge: false}}]", "pulumi env edit 'a b; id'"),
        ("[prod, more]", "pulumi config env ls --stack fixture"),
        ("{values: {pulumiConfig: {}}}", "pulumi config env ls --stack fixture"),
        ('["a\\nb"]', "pulumi config env ls --stack fixture"),
    ],
)
def test_a_mistake_of_an_environment_is_fixed_where_it_is(environment: str, command: str) -> None:
    with pytest.raises(SettingsError) as error:
        _read(LEAST.replace("[prod]", environment), slices="99")
    (mistake,) = error.value.mistakes
    assert (mistake.key, mistake.value, mistake.command) == ("gpu:slices", "99", command)
    assert str(mistake).isprintable()


@pytest.mark.parametrize("environment", ["[]", "null", "{}", "''"])
def test_without_environments_nobody_is_asked(environment: str) -> None:
    def ask(stack: str) -> dict[str, object]:
        raise AssertionError(stack)

    assert parse_stack(STACK, LEAST.replace("[prod]", environment), "the file", ask).warnings == []
