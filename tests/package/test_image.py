"""What the image of the Containerfile holds, by the rules of a builder: no builder is here to ask."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from tests.fixtures.stack_files import ROOT

CONTAINERFILE = (ROOT / "Containerfile").read_text()
IGNORE = [
    line.strip()
    for line in (ROOT / ".containerignore").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]
PRIVATE = (
    *("config/Pulumi.prod.yaml", "Pulumi.prod.yaml", "gpuctl/Pulumi.prod.yaml", "gpuctl/data/Pulumi.prod.yaml"),
    *(".git/config", "gpuctl/.git", ".venv/pyvenv.cfg", "gpuctl/.env", "gpuctl/cli/.verify.py.swp"),
    *("patches/gpu-1.yaml", "worker.yaml", "secrets.yaml", "talosconfig", "kubeconfig", "plan/comment.md"),
    *("tests/conftest.py", "testbed/__init__.py", "components/program.py", "requirements.txt", "policy/__main__.py"),
    *("gpuctl/__pycache__/__main__.cpython-313.pyc", "gpuctl/cli/__pycache__/app.cpython-313.pyc"),
)
"""What people have beside the product, whether or not it is there."""


def _files(*options: str) -> set[str]:
    words = ["git", "-C", str(ROOT), "ls-files", "-z", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git repository")
    return {name for name in done.stdout.split("\0") if name}


def _matches(pattern: str, file: str) -> bool:
    """Whether a pattern of .containerignore names a file or a folder above it, as moby's patternmatcher has it."""
    parts = re.split(r"(\*\*/?|\*|\?)", pattern.strip("/"))
    meanings = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    expression = re.compile("".join(meanings.get(part, re.escape(part)) for part in parts))
    path = PurePosixPath(file)
    return any(expression.fullmatch(str(each)) for each in (path, *path.parents) if each.name)


def _is_sent(file: str) -> bool:
    """Whether the builder gets a file; the last pattern that names it counts."""
    sent = True
    for pattern in IGNORE:
        if _matches(pattern.removeprefix("!"), file):
            sent = pattern.startswith("!")
    return sent


def _copied() -> Iterator[tuple[str, str]]:
    """Source and target of each COPY."""
    for line in CONTAINERFILE.splitlines():
        word, *rest = line.split() or [""]
        assert word != "ADD", "which also fetches and unpacks"
        if word == "COPY":
            assert not [option for option in rest if option.startswith("-")], "not understood by this test"
            *sources, target = rest
            yield from ((source, target) for source in sources)


@pytest.mark.parametrize(
    ("pattern", "file", "is_named"),
    [
        ("*", "a/b/c", True),
        ("**/__pycache__", "gpuctl/cli/__pycache__/a.pyc", True),
        ("**/__pycache__", "__pycache__/a.pyc", True),
        ("**/.*", "gpuctl/.env", True),
        ("**/.*", "gpuctl/a.py", False),
        ("gpuctl", "gpuctl/a.py", True),
        ("gpuctl", "gpuctl2/a.py", False),
        ("gpuctl", "a/gpuctl/b.py", False),
        ("*.md", "docs/a.md", False),
    ],
)
def test_patterns_mean_what_they_mean_to_a_builder(pattern: str, file: str, is_named: bool) -> None:
    assert _matches(pattern, file) is is_named


def test_the_builder_gets_the_package_and_nothing_that_is_not_in_the_repository() -> None:
    tracked = _files()
    sent = {file for file in tracked | _files("--others") if _is_sent(file)}
    product = {file for file in tracked if file.startswith("gpuctl/")}
    assert sent & tracked == {"requirements-gpuctl.txt", *product}
    assert not [file for file in sent - tracked if not file.startswith("gpuctl/")]


@pytest.mark.parametrize("file", PRIVATE)
def test_what_people_have_beside_it_is_not_sent(file: str) -> None:
    assert not _is_sent(file)


def test_the_image_takes_named_things_only_and_all_that_is_sent() -> None:
    assert list(_copied()) == [("requirements-gpuctl.txt", "./"), ("gpuctl", "gpuctl")]
    assert "\nUSER 65532:65532\n" in CONTAINERFILE


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["capacity", "--stack", "lab"],
        ["render", "--stack", "lab"],
        ["talos", "schematic", "--stack", "lab", "--node", "gpu-1"],
        ["verify", "--in-cluster", "--stack", "lab"],
        ["doctor", "--stack", "lab"],
        ["power", "history", "--stack", "lab"],
    ],
    ids=" ".join,
)
def test_gpuctl_runs_from_what_the_image_holds(words: list[str], tmp_path: Path) -> None:
    """With no file of the repository beside it: the stack file comes from a ConfigMap."""
    for file in filter(_is_sent, _files()):
        target = tmp_path / "image" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, target)
    here = "import gpuctl, sys; assert gpuctl.__file__.startswith(sys.argv.pop(1)); from gpuctl.__main__ import main"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path / "image"),
        "PULUMI_OPTION_CONFIG_FILE": str(ROOT / "config" / "Pulumi.lab.yaml"),
        "KUBECONFIG": "/nonexistent/kubeconfig",
    }
    command = [sys.executable, "-c", f"{here}; main()", str(tmp_path / "image"), *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 3), done.stderr
