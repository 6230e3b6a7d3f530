"""Who may import whom, so that one half of the project can be understood, and started, without the other."""

import ast
from pathlib import Path

import pytest

from tests.fixtures.stack_files import ROOT

OWN = ("gpuctl", "components", "dashboard", "policy", "testbed", "demo", "tests")
MAY_IMPORT = {
    "gpuctl/settings": {"gpuctl.settings"},
    "gpuctl/desired": {"gpuctl.settings", "gpuctl.desired"},
    "gpuctl/machine_config": {"gpuctl.settings", "gpuctl.desired", "gpuctl.machine_config"},
    "gpuctl/cluster": {"gpuctl.cluster"},
    "gpuctl/power": {"gpuctl.power"},
    "gpuctl/sharing": {"gpuctl.settings", "gpuctl.desired", "gpuctl.cluster", "gpuctl.sharing"},
    "gpuctl/preflight": {"gpuctl.settings", "gpuctl.desired", "gpuctl.cluster", "gpuctl.preflight"},
    "gpuctl/checks": {
        "gpuctl.preflight",
        "gpuctl.settings",
        "gpuctl.desired",
        "gpuctl.cluster",
        "gpuctl.power",
        "gpuctl.sharing",
        "gpuctl.checks",
    },
    "gpuctl/plan": {"gpuctl.settings", "gpuctl.desired", "gpuctl.cluster", "gpuctl.plan"},
    "gpuctl/report": {"gpuctl.desired", "gpuctl.sharing", "gpuctl.checks", "gpuctl.report"},
    "gpuctl/status": {
        "gpuctl.settings",
        "gpuctl.desired",
        "gpuctl.cluster",
        "gpuctl.power",
        "gpuctl.checks",
        "gpuctl.report",
        "gpuctl.status",
    },
    "gpuctl/cli": {"gpuctl"},
    "dashboard": {"dashboard", "gpuctl.desired"},
    "components": {"components", "gpuctl.settings", "gpuctl.desired", "gpuctl.cluster", "gpuctl.preflight"},
    "testbed": {"testbed"},
}
FILES = [
    pytest.param(path, allowed, id=str(path.relative_to(ROOT)))
    for folder, allowed in MAY_IMPORT.items()
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            found |= {name.name for name in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path} imports relatively"
            found |= {f"{statement.module}.{name.name}" for name in statement.names}
    return found


def _is_within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize(("path", "allowed"), FILES)
def test_a_module_imports_only_what_its_package_may_know(path: Path, allowed: set[str]) -> None:
    own = {module for module in _imports(path) if module.split(".")[0] in OWN}
    assert {module for module in own if not _is_within(module, allowed)} == set()


def test_every_package_of_gpuctl_has_a_rule() -> None:
    packages = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "gpuctl").glob("*/__init__.py")}
    assert packages <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", sorted((ROOT / "gpuctl").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_gpuctl_runs_without_pulumi(path: Path) -> None:
    """It answers at once, and where no Pulumi is installed."""
    assert {module for module in _imports(path) if module.startswith("pulumi")} == set()


@pytest.mark.parametrize("folder", ["gpuctl/settings", "gpuctl/desired"])
def test_settings_and_desired_state_never_talk_to_a_cluster(folder: str) -> None:
    network = {"lightkube", "httpx2", "socket", "subprocess", "urllib", "http"}
    modules = set[str]().union(*(_imports(path) for path in (ROOT / folder).rglob("*.py")))
    assert {module for module in modules if _is_within(module, network)} == set()
