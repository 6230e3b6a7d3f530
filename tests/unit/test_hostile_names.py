"""Whatever a stack file is called, or a command line says: it shows, and steers neither a terminal nor a CI system."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuctl.cli.app import app
from gpuctl.cli.options import known_stacks
from gpuctl.forms.output import complain
from gpuctl.forms.text import harmless
from gpuctl.settings import SettingsError
from tests.fixtures.stack_files import ROOT

NAMES = (
    *("esc\x1b[31mape", "new\n::error::line", "return\r::warning::x", "bidi\u202egnp", "bell\x07", "next\x85line"),
    *("##[error]azure", "::error::first", "\u2028::set-output name=a::b", "[bold]rich", "e|f`g", "<b>html", "$(id)"),
    *("@octocat", "with blank", "\udcff", "x" * 150),
)
SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which every stack file has one of these names, but for `lab`."""
    (tmp_path / "config").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: gpu\nstackConfigDir: config\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "x"], check=True)
    for name in ("lab", *NAMES):
        (tmp_path / "config" / f"Pulumi.{name}.yaml").write_bytes((ROOT / "config" / "Pulumi.lab.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _said(*words: str, colored: bool = False) -> tuple[int, str]:
    """The exit code, and all that is printed; styles of ours are left out."""
    environment = {"FORCE_COLOR": "1" if colored else None, "COLUMNS": "200", "PULUMI_HOME": "/nonexistent"}
    done = CliRunner().invoke(app, words, env=environment)
    if isinstance(done.exception, SettingsError):
        return 2, harmless(str(done.exception))  # as main() says it
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, SGR.sub("", done.output) if colored else done.output


def _assert_it_is_text(said: str) -> None:
    for line in said.split("\n"):
        assert line.isprintable(), ascii(line)
        assert not line.lstrip().startswith("::"), line
        assert "##[" not in line, line


@pytest.mark.parametrize("colored", [False, True])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["stacks"], 2),
        (["plan"], 2),
        (["plan", "--diff"], 2),
        (["plan", "-o", "markdown"], 2),
        (["plan", "--stack", "nowhere"], 2),
        (["capacity", "--stack", "nowhere"], 2),
        (["capacity", "--help"], 0),
        (["verify", "--help"], 0),
        (["talos", "check", "--help"], 0),
    ],
    ids=str,
)
def test_names_of_stack_files_are_text_wherever_they_are_shown(words: list[str], code: int, colored: bool) -> None:
    ended, said = _said(*words, colored=colored)
    assert ended == code
    _assert_it_is_text(said)


@pytest.mark.parametrize(
    "words",
    [
        *(["capacity", "--stack", name] for name in NAMES),
        *(["plan", "--stack", f"no{name}"] for name in NAMES[:6]),
        *(["plan", "--base", name] for name in NAMES[:9]),
        *([name] for name in NAMES[:6]),
        *([f"--{name}"] for name in NAMES[:6]),
        *(["capacity", name] for name in NAMES[:6]),
        *(["verify", "--stack", "lab", "--check", name] for name in NAMES[:9]),
        *(["verify", "--stack", "lab", "--node", name] for name in NAMES[:9]),
        *(["verify", "--stack", "lab", "--junit", f"/nonexistent/{name}"] for name in NAMES[:9]),
        *(["talos", "check", f"/nonexistent/{name}"] for name in NAMES[:9]),
    ],
    ids=ascii,
)
def test_a_refusal_quotes_the_command_line_as_text(words: list[str]) -> None:
    ended, said = _said(*words)
    assert ended == 2
    _assert_it_is_text(said)


def test_machines_get_the_names_as_they_are() -> None:
    _, stacks = _said("stacks", "-o", "json")
    assert {each["stack"] for each in json.loads(stacks)} == {"lab", *NAMES}
    _, plan = _said("plan", "-o", "json")
    assert {each["stack"] for each in json.loads(plan)["stacks"]} == {"lab", *NAMES}


def test_a_file_that_is_not_called_as_a_stack_can_be_is_named_with_the_way_out() -> None:
    """A file is there, so that there was none would be wrong."""
    _, said = _said("stacks")
    assert "is not called as a stack can be: up to 100 letters" in said
    assert "Fix it: mv -- 'config/Pulumi.with blank.yaml' config/Pulumi.NAME.yaml" in said
    assert "Fix it: ls -lb config" in said
    assert "does not exist" not in said


def test_only_what_can_be_named_is_offered(project: Path) -> None:
    assert known_stacks() == f"lab, {'x' * 150}"
    for number in range(30):
        (project / "config" / f"Pulumi.s{number:02}.yaml").touch()
    assert known_stacks().endswith(", s18, and 12 more")


def test_what_a_machine_configuration_says_is_text(project: Path) -> None:
    hostile = "a\x1b[31m\u202e"
    machine = {
        "type": "worker",
        "kernel": {"modules": [{"name": "nvidia"}, {"name": "nvidia"}]},
        "install": {"image": f"ghcr.io/{hostile}/##[error]installer:v1.13.9"},
        "nodeLabels": {f"nvidia.com/{hostile}": "\n::error::x"},
    }
    (project / f"n{hostile}.yaml").write_text(json.dumps({"machine": machine}))
    _, checked = _said("talos", "check", f"n{hostile}.yaml", "--stack", "lab", "--node", "gpu-1")
    _, patched = _said("talos", "patch", "--stack", "lab", "--node", "gpu-1", "--config", f"n{hostile}.yaml")
    for said in (checked, patched):
        assert said
        _assert_it_is_text(said)


def test_a_complaint_about_a_name_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        complain(f"{name}: {os.fsencode(name)!r}")
    _assert_it_is_text(capsys.readouterr().err)
