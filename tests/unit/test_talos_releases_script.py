"""The script that refreshes the table of Talos releases, against a local server in GitHub's place."""

import difflib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.fixtures.stack_files import ROOT

SCRIPT = ROOT / ".github" / "scripts" / "talos_releases.py"
VARS = """\
NVIDIA_DRIVER_LTS_VERSION: "580.196.07"
NVIDIA_DRIVER_PRODUCTION_VERSION: 595.112.07
CONTAINER_TOOLKIT_VERSION: v1.19.2
GDRCOPY_VERSION: 2.5.2
"""


class _GitHub(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        text = self.files.get(self.path)
        self.send_response(404 if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def source() -> Iterator[str]:
    """A server with one good release and one whose kernel is another."""
    good = {"extensions/v1.14.7/nvidia-gpu/vars.yaml": VARS, "extensions/v1.14.7/Makefile": "PKGS ?= v1.14.0-40-gabc\n"}
    good["talos/v1.14.7/pkg/machinery/gendata/data/pkgs"] = "v1.14.0-40-gabc"
    other = {path.replace("v1.14.7", "v1.14.8"): text for path, text in good.items()}
    other["talos/v1.14.8/pkg/machinery/gendata/data/pkgs"] = "v1.14.0-41-gdef"
    _GitHub.files = {f"/siderolabs/{path}": text for path, text in (good | other).items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _GitHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script beside a copy of the table."""
    path = tmp_path / ".github" / "scripts" / "talos_releases.py"
    path.parent.mkdir(parents=True)
    path.write_text(SCRIPT.read_text())
    table = Path("gpuctl", "data", "talos_releases.json")
    (tmp_path / table.parent).mkdir(parents=True)
    (tmp_path / table).write_text((ROOT / table).read_text())
    return path


def _run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)


def _changed(diff: str) -> list[str]:
    return [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_a_new_release_is_one_line_of_a_diff_and_the_file_stays(script: Path, source: str) -> None:
    table = script.parents[2] / "gpuctl" / "data" / "talos_releases.json"
    before = table.read_text()
    result = _run(script, "v1.14.7", "--source", source)
    assert (result.returncode, result.stderr) == (0, "")
    assert [line for line in _changed(result.stdout) if "v1.14.7" in line] == [
        '+    "v1.14.7": {"pkgs": "v1.14.0-40-gabc", "production": "595.112.07", "lts": "580.196.07", '
        '"toolkit": "1.19.2", "gdrcopy": "2.5.2"}'
    ]
    assert table.read_text() == before


def test_the_file_is_changed_only_when_asked_for(script: Path, source: str) -> None:
    table = script.parents[2] / "gpuctl" / "data" / "talos_releases.json"
    before = table.read_text()
    _run(script, "v1.14.7", "--source", source, "--write")
    rows = json.loads(table.read_text())["releases"]
    assert list(rows)[-2:] == ["v1.14.6", "v1.14.7"]
    added = [line for line in difflib.ndiff(before.splitlines(), table.read_text().splitlines()) if line[0] in "+-"]
    assert len(added) == 3, "the line before gets a comma"


def test_modules_for_another_kernel_are_named(script: Path, source: str) -> None:
    result = _run(script, "v1.14.8", "--source", source)
    assert result.returncode == 1
    assert "its modules are built for v1.14.0-40-gabc and its kernel is v1.14.0-41-gdef" in result.stderr


def test_a_release_that_cannot_be_read_stays_unknown(script: Path, source: str) -> None:
    result = _run(script, "v1.14.9", "--source", source)
    assert (result.returncode, result.stdout) == (1, "")
    assert "v1.14.9: " in result.stderr
    assert "cannot be read: HTTP Error 404" in result.stderr


def test_a_release_without_one_of_the_versions_stays_unknown(script: Path, source: str) -> None:
    _GitHub.files["/siderolabs/extensions/v1.14.7/nvidia-gpu/vars.yaml"] = "NVIDIA_DRIVER_LTS_VERSION: 1.2.3\n"
    result = _run(script, "v1.14.7", "--source", source)
    assert (result.returncode, result.stdout) == (1, "")
    assert "there is no NVIDIA_DRIVER_PRODUCTION_VERSION at v1.14.7" in result.stderr
