"""The Python language host, asked as the Pulumi engine asks it."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

pytest.importorskip("pulumi", reason="the language host runs under the Python that has pulumi installed")

from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import language_pb2 as lang

from testbed import language_host
from testbed.language_host import PROGRAM_REPORTED, Host


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the SDK's executor."""
    path = tmp_path / "executor.py"
    monkeypatch.setattr(language_host, "EXECUTOR", path)
    return path


def request(directory: Path, virtualenv: str | None = None) -> lang.RunRequest:
    options = Struct()
    if virtualenv:
        options["virtualenv"] = virtualenv
    info = lang.ProgramInfo(root_directory=str(directory), program_directory=str(directory), options=options)
    return lang.RunRequest(info=info, project="gpu", stack="dev", monitor_address="127.0.0.1:2")


def run(directory: Path, virtualenv: str | None = None) -> lang.RunResponse:
    return Host("127.0.0.1:1").Run(request(directory, virtualenv), Mock())


def test_a_program_that_succeeds_has_no_error(executor: Path, tmp_path: Path) -> None:
    executor.write_text("")
    assert run(tmp_path) == lang.RunResponse()


def test_a_program_that_reported_its_error_itself_is_not_reported_twice(executor: Path, tmp_path: Path) -> None:
    executor.write_text(f"raise SystemExit({PROGRAM_REPORTED})")
    assert run(tmp_path) == lang.RunResponse(bail=True)


def test_a_program_that_crashes_is_an_error_with_its_exit_code(executor: Path, tmp_path: Path) -> None:
    executor.write_text("raise SystemExit(3)")
    assert "code 3" in run(tmp_path).error


def test_the_executor_is_told_project_stack_and_engine(executor: Path, tmp_path: Path) -> None:
    executor.write_text("import sys, pathlib; pathlib.Path('arguments').write_text(' '.join(sys.argv[1:]))")
    assert not run(tmp_path).error
    arguments = (tmp_path / "arguments").read_text()
    assert "--monitor 127.0.0.1:2 --engine 127.0.0.1:1 --project gpu --stack dev" in arguments
    assert "--dry_run false" in arguments
    assert arguments.endswith(" .")


def test_a_missing_virtual_environment_is_named_with_the_command_that_makes_it(executor: Path, tmp_path: Path) -> None:
    executor.write_text("")
    assert f"python3 -m venv {tmp_path}/.venv" in run(tmp_path, virtualenv=".venv").error


def test_the_program_runs_under_its_virtual_environment(executor: Path, tmp_path: Path) -> None:
    executor.write_text("")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 7\n")
    python.chmod(0o755)
    assert "code 7" in run(tmp_path, virtualenv=".venv").error


def test_the_kubernetes_provider_is_among_the_required_packages(tmp_path: Path) -> None:
    pytest.importorskip("pulumi_kubernetes", reason="its provider is what is looked for")
    query = lang.GetRequiredPackagesRequest(info=request(tmp_path).info)
    assert 'name: "kubernetes"' in str(Host("").GetRequiredPackages(query, Mock()))


def test_what_a_plugin_prints_on_both_streams_comes_through(tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("import sys; print('out'); print('err', file=sys.stderr); sys.exit(5)")
    query = lang.RunPluginRequest(info=request(tmp_path).info, kind="resource", pwd=str(tmp_path))
    answers = list(Host("").RunPlugin(query, Mock()))
    assert {answer.stdout for answer in answers} >= {b"out\n"}
    assert {answer.stderr for answer in answers} >= {b"err\n"}
    assert answers[-1].exitcode == 5


def test_a_program_that_still_runs_is_ended_with_its_host(executor: Path, tmp_path: Path) -> None:
    """Without its engine it would wait for ever."""
    executor.write_text("import time; time.sleep(60)")
    host = Host("127.0.0.1:1")
    answers: list[lang.RunResponse] = []
    running = threading.Thread(target=lambda: answers.append(host.Run(request(tmp_path), Mock())))
    running.start()
    while running.is_alive():
        host.end_programs()
        running.join(0.05)
    assert answers == [lang.RunResponse(error="Program exited with code -9")]


def test_the_host_ends_when_the_engine_that_started_it_is_killed(tmp_path: Path) -> None:
    """It would go on for ever: an engine that is killed tells nobody."""
    script = f"{sys.executable} {language_host.__file__} 127.0.0.1:1 >{tmp_path}/port & echo $! >{tmp_path}/pid; wait"
    engine = subprocess.Popen(["sh", "-c", script])
    try:
        _until((tmp_path / "port").exists)
        _until(lambda: bool((tmp_path / "port").read_text()))
        host = int((tmp_path / "pid").read_text())
    finally:
        engine.kill()
        engine.wait()
    _until(lambda: not _runs(host))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
