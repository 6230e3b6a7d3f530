"""Building Go programs, with a stand-in for the go command: what is tested is everything around it."""

import dataclasses
import re
from pathlib import Path

import pytest

from testbed import artifacts, go_tools, gobuild
from testbed.errors import BedError
from testbed.gobuild import GoTool, build

FAKE_GO = """\
#!/bin/sh
echo "$GOFLAGS $GOTOOLCHAIN $CGO_ENABLED $*" >>"$FAKE_GO_LOG"
case $1 in
env) echo "$FAKE_GO_VERSION" ;;
build)
    [ -z "$FAKE_GO_FAILS" ] || { echo "main.go:3: no such thing" >&2; exit 1; }
    while [ "$1" != -o ]; do shift; done; echo program >"$2" ;;
esac
"""
TOOL = GoTool("wrapper", "a tool", {"program": "example.invalid/cmd"})


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in first on PATH, an empty store, one wrapper module; returns the log of go commands."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    module = tmp_path / "modules" / "wrapper"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module wrapper\n")
    monkeypatch.setattr(gobuild, "MODULES", module.parent)
    for user in (artifacts, gobuild):
        monkeypatch.setattr(user, "ARTIFACTS", tmp_path / "store")
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_GO_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.26.8")
    gobuild.go_version.cache_clear()
    return tmp_path / "log"


def builds(log: Path) -> int:
    return sum(" build " in line for line in log.read_text().splitlines())


def test_a_program_is_built_once(log: Path) -> None:
    folder = build(TOOL)
    assert (folder / "program").read_text() == "program\n"
    assert build(TOOL) == folder
    assert builds(log) == 1


def test_a_changed_module_flag_or_go_version_builds_again(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(TOOL)
    (tmp_path / "modules" / "wrapper" / "go.sum").write_text("sums\n")
    build(TOOL)
    build(dataclasses.replace(TOOL, ldflags="-X main.version=2"))
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.27.0")
    gobuild.go_version.cache_clear()
    build(TOOL)
    assert builds(log) == 4


def test_modules_are_read_only_and_no_other_toolchain_is_fetched(log: Path) -> None:
    """go.sum decides what is built; a build must not complete it by itself."""
    build(TOOL)
    assert re.search(r"^-mod=readonly .*-trimpath local 0 build ", log.read_text(), re.MULTILINE)


def test_a_failed_build_tells_what_go_said_and_leaves_nothing(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GO_FAILS", "1")
    with pytest.raises(BedError, match=r"(?s)go build .* failed .*testbed/go/wrapper.*no such thing"):
        build(TOOL)
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["lock"]
    assert builds(log) == 1


def test_a_go_that_is_too_old_is_refused(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.25.9")
    with pytest.raises(BedError, match=r"go1\.25\.9: the pinned modules need Go 1\.26 or later"):
        build(TOOL)
    assert builds(log) == 0


@pytest.mark.usefixtures("log")
def test_without_go_what_was_built_elsewhere_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = build(TOOL)
    monkeypatch.setenv("PATH", str(tmp_path))
    gobuild.go_version.cache_clear()
    assert build(TOOL) == folder


@pytest.mark.usefixtures("log")
def test_without_go_and_without_a_build_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BedError, match=r"Go is missing.*Install Go 1\.26"):
        build(TOOL)


@pytest.mark.parametrize(
    ("tool", "dependency", "version"),
    [
        (go_tools.PULUMI, "github.com/pulumi/pulumi/pkg/v3", go_tools.PULUMI_VERSION),
        (go_tools.PULUMI, "github.com/pulumi/pulumi/sdk/v3", go_tools.PULUMI_VERSION),
        (go_tools.PROVIDER, "github.com/pulumi/pulumi-kubernetes/sdk/v4", go_tools.PROVIDER_VERSION),
        (go_tools.KUBERNETES, "k8s.io/kubernetes", go_tools.KUBERNETES_VERSION),
        (go_tools.KWOK, "sigs.k8s.io/kwok", go_tools.KWOK_VERSION),
        (go_tools.PLUGIN, "github.com/NVIDIA/k8s-device-plugin", go_tools.PLUGIN_VERSION),
        (go_tools.TOOLKIT, "github.com/NVIDIA/nvidia-container-toolkit", go_tools.TOOLKIT_VERSION),
        (go_tools.ACTIONLINT, "github.com/rhysd/actionlint", go_tools.ACTIONLINT_VERSION),
    ],
)
def test_a_program_states_the_version_that_its_module_pins(tool: GoTool, dependency: str, version: str) -> None:
    pinned = (gobuild.MODULES / tool.name / "go.mod").read_text()
    assert re.search(rf"^(require|\t) ?{re.escape(dependency)} v{re.escape(version)}$", pinned, re.MULTILINE)
    assert version in tool.title
