"""Pulumi's own code for stack files, as the judge of what gpuctl makes of one.

The program beside this file is built in a copy of the wrapper module of the Pulumi CLI, so that both are one version.
"""

import inspect
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed.artifacts import artifact, folder_content, key
from testbed.go_tools import PULUMI
from testbed.gobuild import MODULES, Module, go_version

_MAIN = Path(__file__).with_name("main.go")
_PROGRAM = "pulumi-config"


@dataclass(frozen=True)
class Edit:
    """One `pulumi config set` or `pulumi config rm`."""

    verb: str
    key: str
    path: bool = False
    value: str = ""
    secret: bool = False


@dataclass(frozen=True)
class Answer:
    """What Pulumi makes of a stack file."""

    stage: str
    """What failed: `load`, `edit`, `validate`, `panic`; empty when nothing."""
    error: str
    config: Mapping[str, str]
    """Full key -> value after the edits, a structure as JSON; None where it got no further than reading."""
    passed: Mapping[str, str]
    """The same with the project's defaults, as a program gets it; None where it was refused."""


def ask(project: Path, requests: Iterable[tuple[str, Sequence[Edit]]]) -> list[Answer]:
    """What Pulumi makes of stack files, each with edits that are carried out first.

    Args:
        project: its Pulumi.yaml.
        requests: text of a stack file, edits.

    Raises:
        BedError: the program cannot be built.
    """
    lines = [json.dumps({"text": text, "edits": [asdict(edit) for edit in edits]}) for text, edits in requests]
    done = subprocess.run(
        [program(), project], input="\n".join(lines), capture_output=True, encoding="utf-8", check=True
    )
    return [Answer(**json.loads(line)) for line in done.stdout.splitlines()]


def program() -> Path:
    """The program, built when it is not there."""
    inputs = key(_MAIN.read_bytes(), inspect.getsource(_build), *folder_content(MODULES / PULUMI.name))
    what = f"building {PULUMI.title}'s reader of stack files"
    return artifact(_PROGRAM, f"{inputs}-{go_version()}", what, _build) / _PROGRAM


def _build(out: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gpu-testbed-") as scratch:
        copy = Path(scratch) / PULUMI.name
        shutil.copytree(MODULES / copy.name, copy)
        shutil.copy(_MAIN, copy)
        Module(copy, cgo=False).go("build", "-tags", PULUMI.tags, "-ldflags", "-s -w", "-o", str(out / _PROGRAM), ".")
