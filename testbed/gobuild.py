"""Programs built from the Go module registry, each through a wrapper module under testbed/go.

A wrapper module pins a program and all it needs in go.mod and go.sum; `go install program@version` cannot
be used where a program's own go.mod has replace lines.
"""

import functools
import inspect
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.artifacts import artifact, folder_content, key
from testbed.errors import BedError
from testbed.layout import ARTIFACTS

MODULES = Path(__file__).parent / "go"
_MINIMUM_GO = (1, 26)
_OUTPUT_TAIL_LINES = 20


def _nothing(_module: "Module", _folder: Path) -> None:
    pass


class Module:
    """A copy of a wrapper module, in which go commands run."""

    def __init__(self, directory: Path, *, cgo: bool) -> None:
        self.directory = directory
        self._environment = os.environ | {
            "CGO_ENABLED": "1" if cgo else "0",
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=readonly -buildvcs=false -trimpath",
        }

    def source(self, dependency: str) -> Path:
        """The folder with the source of a module that this one depends on; downloaded when it must be."""
        return Path(json.loads(self.go("mod", "download", "-json", dependency))["Dir"])

    def go(self, *arguments: str) -> str:
        """Runs a go command and returns what it prints.

        Raises:
            BedError: it failed; with the end of its output.
        """
        done = subprocess.run(
            ["go", *arguments],
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            tail = "\n".join(f"  {line}" for line in done.stderr.splitlines()[-_OUTPUT_TAIL_LINES:])
            raise BedError(f"`go {' '.join(arguments)}` failed in a copy of testbed/go/{self.directory.name}:\n{tail}")
        return done.stdout


Hook = Callable[[Module, Path], None]


@dataclass(frozen=True)
class GoTool:
    """Programs from one wrapper module."""

    name: str
    """The wrapper module's folder under testbed/go."""
    title: str
    """What a user calls it, with versions."""
    programs: Mapping[str, str]
    """Program name -> package in or below the wrapper module's dependencies."""
    ldflags: str = ""
    tags: str = ""
    cgo: bool = False
    before: Hook = _nothing
    """Puts generated files into the copy of the module, before the build."""
    after: Hook = _nothing
    """Adds files to the folder with the programs."""


def build(tool: GoTool) -> Path:
    """The folder with the tool's programs, built when it is not there."""
    return built(tool) or artifact(
        tool.name, f"{_inputs(tool)}-{go_version()}", f"building {tool.title}", lambda out: _build(tool, out)
    )


def built(tool: GoTool) -> Path | None:
    """The folder with the tool's programs, if it is there.

    Where tools were unpacked and not built, so without Go, those that any version of Go built will do.
    """
    version = go_version() if shutil.which("go") else "go*"
    return max(ARTIFACTS.glob(f"{tool.name}-{_inputs(tool)}-{version}"), default=None)


def _inputs(tool: GoTool) -> str:
    return key(
        *folder_content(MODULES / tool.name),
        json.dumps(dict(tool.programs)),
        *(tool.ldflags, tool.tags, str(tool.cgo)),
        *(inspect.getsource(hook) for hook in (tool.before, tool.after)),
    )


def _build(tool: GoTool, out: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gpu-testbed-") as scratch:
        copy = Path(scratch) / tool.name
        shutil.copytree(MODULES / tool.name, copy)
        module = Module(copy, cgo=tool.cgo)
        tool.before(module, out)
        for program, package in tool.programs.items():
            ldflags = f"-s -w {tool.ldflags}"
            module.go("build", "-tags", tool.tags, "-ldflags", ldflags, "-o", str(out / program), package)
        tool.after(module, out)


@functools.cache
def go_version() -> str:
    """The version of Go on PATH, such as go1.26.8."""
    go = shutil.which("go")
    if go is None:
        raise BedError(
            "Go is missing: the test bed builds Kubernetes and the Pulumi CLI from the Go module registry. "
            f"Install Go {_MINIMUM_GO[0]}.{_MINIMUM_GO[1]} or later and put it on PATH; see: go version"
        )
    local = os.environ | {"GOTOOLCHAIN": "local"}
    version = subprocess.run([go, "env", "GOVERSION"], env=local, capture_output=True, text=True, check=True)
    match = re.match(r"go(\d+)\.(\d+)", version.stdout)
    if match is None or (int(match[1]), int(match[2])) < _MINIMUM_GO:
        raise BedError(
            f"{go} is {version.stdout.strip()}: the pinned modules need Go "
            f"{_MINIMUM_GO[0]}.{_MINIMUM_GO[1]} or later. Put a newer one first on PATH; see: go version"
        )
    return version.stdout.split()[0]
