"""The wheel: gpuctl starts from it in an environment where no checkout is in reach."""

import ast
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fixtures.stack_files import ROOT

IGNORED = shutil.ignore_patterns("__pycache__", ".*")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that what an earlier build left is not in it."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for folder in ("gpuctl", "components"):
        shutil.copytree(ROOT / folder, source / folder, ignore=IGNORED)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    _run(source, sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), ".")
    (built,) = wheels.iterdir()
    return built


@pytest.fixture
def environment(wheel: Path, tmp_path: Path) -> Path:
    """An environment with the wheel and this one's other packages; returns its folder of programs."""
    _run(tmp_path, sys.executable, "-m", "venv", "--without-pip", "venv")
    programs = tmp_path / "venv" / "bin"
    _run(
        tmp_path, sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-deps", str(wheel)
    )
    (site,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join([*others, sysconfig.get_path("purelib")]))
    return programs


def _run(folder: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=folder, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gpuctl_starts_from_the_wheel_and_finds_its_tables(environment: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "config").mkdir(parents=True)
    shutil.copy(ROOT / "Pulumi.yaml", project)
    shutil.copy(ROOT / "config" / "Pulumi.lab.yaml", project / "config")
    version, *_ = _run(project, str(environment / "gpuctl"), "--version").splitlines()
    assert version == f"gpuctl {metadata.version('talos-gpu-sharing')}"
    assert "rtx-3090" in _run(project, str(environment / "gpuctl"), "capacity", "--stack", "lab")
    assert "/agent/agent.sh" in _run(project, str(environment / "gpuctl"), "render", "--stack", "lab")
    where = _run(project, str(environment / "python"), "-c", "import gpuctl; print(gpuctl.__file__)")
    assert Path(where).is_relative_to(tmp_path), "else it was the checkout that started"


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    folders = [ROOT / "gpuctl", ROOT / "components"]
    files = {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*.*") if path.is_file()}
    expected = {file for file in files if not file.endswith(".pyc")}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {"gpuctl/data/gpus.yaml", "gpuctl/desired/dashboard.json"} <= found


def test_what_gpuctl_imports_is_what_it_asks_for() -> None:
    """Pulumi is an extra, which only the program needs."""
    modules = {name for path in (ROOT / "gpuctl").rglob("*.py") for name in _imported(path)}
    third = modules - set(sys.stdlib_module_names) - {"gpuctl"}
    owners = {canonicalize_name(metadata.packages_distributions()[name][0]) for name in third}
    asked = {Requirement(line).name for line in PROJECT["dependencies"]}
    brought = {"pydantic-core"}  # pydantic names the exact version of it
    assert owners - brought - asked == set()
    assert asked - owners == set()
    assert {Requirement(line).name for line in PROJECT["optional-dependencies"]["pulumi"]} == {
        "pulumi",
        "pulumi-kubernetes",
    }


def _imported(path: Path) -> set[str]:
    statements = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for each in statements if isinstance(each, ast.Import) for alias in each.names}
    parts = {each.module for each in statements if isinstance(each, ast.ImportFrom) and each.module}
    return {name.split(".")[0] for name in plain | parts}
