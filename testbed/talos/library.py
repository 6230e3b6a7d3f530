"""Talos' configuration library, built once per line, and what it says about a configuration with patches.

The library is the Go module pkg/machinery of github.com/siderolabs/talos, at the versions in testbed/go/talos-LINE. It
parses, merges and validates; it does not boot a node, so what it accepts may still have no effect.
"""

import functools
import inspect
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from testbed.artifacts import artifact, folder_content, key
from testbed.errors import BedError
from testbed.gobuild import MODULES, Module, go_version
from testbed.layout import ARTIFACTS

_MODULE = "github.com/siderolabs/talos/pkg/machinery"


def _release(line: str) -> str:
    requirement = re.search(rf"^require {_MODULE} (\S+)$", (MODULES / f"talos-{line}" / "go.mod").read_text(), re.M)
    assert requirement, line
    return requirement[1]


LINES = ("1.9", "1.10", "1.11", "1.12", "1.13", "1.14")
"""The lines of Talos whose library can be had, oldest first."""
RELEASES = {line: _release(line) for line in LINES}
"""Line -> the release whose library it is."""
CONTRACTS = {line: LINES[: LINES.index(line) + 1] for line in LINES}
"""Line -> the lines whose form of configuration its nodes may have, from their installation."""

Role = Literal["worker", "controlplane"]

_ROLES: tuple[Role, ...] = ("worker", "controlplane")
_MAIN = Path(__file__).with_name("main.go")
_PROGRAM = "talos-config"


@dataclass(frozen=True)
class Verdict:
    """What a line's library says."""

    stage: str
    """What failed: `load` (of a patch), `apply`, `reload` (of the result), `validate`, `panic`; empty when nothing."""
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    merged: str
    """The configuration with the patches; empty when there is none. Keys and certificates in it are throw-away ones."""


def base(line: str, contract: str, role: Role = "worker") -> Path:
    """A configuration as the line's library generates it for a new node of an older or the same line."""
    return library(line) / f"{role}-{contract}.yaml"


def check(line: str, config: Path, patches: Sequence[str]) -> Verdict:
    """The verdict of a line's library on a configuration with patches, each a text, in their order.

    Raises:
        BedError: the library of that line cannot be built, or the configuration is none.
    """
    verdict = json.loads(_run(line, "check", config, patches))
    if verdict["stage"] == "base":
        raise BedError(f"{config} is no configuration of Talos {line}: {'; '.join(verdict['errors'])}")
    return Verdict(verdict["stage"], tuple(verdict["errors"]), tuple(verdict["warnings"]), verdict["merged"])


def merge(line: str, config: Path, patches: Sequence[str]) -> str:
    """A configuration with patches, as the line's library writes it.

    Raises:
        BedError: it refuses them.
    """
    return _run(line, "patch", config, patches)


def _run(line: str, verb: str, config: Path, patches: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="gpu-testbed-") as scratch:
        files = [Path(scratch) / f"{number}.yaml" for number in range(len(patches))]
        for file, patch in zip(files, patches, strict=True):
            file.write_text(patch)
        return _output(library(line), verb, str(config), *map(str, files))


@functools.cache
def library(line: str) -> Path:
    """The folder with a line's program and, as ROLE-CONTRACT.yaml, the configurations that it generates."""
    name = f"talos-{line}"
    inputs = key(_MAIN.read_bytes(), inspect.getsource(_build), *folder_content(MODULES / name))
    if not shutil.which("go"):  # where tools were unpacked and not built, any Go version's build will do
        built = sorted(ARTIFACTS.glob(f"{name}-{inputs}-go*"))
        if built:
            return built[-1]
    what = f"building the configuration library of Talos {line}"
    return artifact(name, f"{inputs}-{go_version()}", what, lambda out: _build(line, out))


def _build(line: str, out: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gpu-testbed-") as scratch:
        copy = Path(scratch) / f"talos-{line}"
        shutil.copytree(MODULES / copy.name, copy)
        shutil.copy(_MAIN, copy)
        Module(copy, cgo=False).go("build", "-ldflags", "-s -w", "-o", str(out / _PROGRAM), ".")
    for contract in CONTRACTS[line]:
        for role in _ROLES:
            (out / f"{role}-{contract}.yaml").write_text(_output(out, "generate", f"v{contract}", role))


def _output(library: Path, *arguments: str) -> str:
    done = subprocess.run([library / _PROGRAM, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BedError(f"{library.name}: {done.stderr.strip()}")
    return done.stdout
