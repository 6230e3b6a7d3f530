"""Rules about containerd's configuration on a node."""

import tomllib
from collections.abc import Iterator
from typing import Any

from gpuctl.desired.names import RUNTIME_CLASS
from gpuctl.desired.talos import CRI_DOCUMENT, CRI_FILE
from gpuctl.machine_config.finding import EDIT, Finding, Rule, Subject
from gpuctl.machine_config.presence import cri_files
from gpuctl.settings.cri_fragment import CRI_PLUGIN, default_runtime_of, fragment_problems, table_in
from gpuctl.settings.talos_rules import CDI_FROM

_OPERATIONS = ("create", "append", "overwrite")
_HIGHEST_MODE = 0o777
_KIND = "CRICustomizationConfig"
_RESERVED = "customization"


def _files_can_be_written(subject: Subject) -> Iterator[Finding]:
    for index, file in enumerate(subject.config.entries("files")):
        where, path, operation = f"machine.files[{index}]", str(file.get("path", "")), file.get("op")
        if operation not in _OPERATIONS:
            problem = f"op is {operation}: the node fails to boot when it writes its files"
            yield Finding("file-op", where, problem, f"write {', '.join(_OPERATIONS)}")
        if not path.startswith("/"):
            yield Finding("file-path", where, f"path {path} is relative", "start it with /")
        elif operation == "create" and not path.startswith("/var/") and path != CRI_FILE:
            problem = f"{path} may not be created: the node fails to boot when it writes its files"
            yield Finding("file-path", where, problem, f"only {CRI_FILE} and files below /var may be")
        yield from _mode(where, file.get("permissions"))


def _mode(where: str, mode: Any) -> Iterator[Finding]:
    fix = "write permissions: 0o600"
    if isinstance(mode, str):
        yield Finding("file-mode", where, f"permissions are the text {mode!r}, which Talos refuses", fix)
    elif isinstance(mode, int) and mode > _HIGHEST_MODE:
        yield Finding("file-mode", where, f"permissions are the decimal {mode}, which is {mode:#o}", fix)


def _one_owner(subject: Subject) -> Iterator[Finding]:
    entries = cri_files(subject.config)
    if len(entries) > 1:
        problem = (
            f"has {len(entries)} entries: up to Talos v1.13 the second fails the boot, from v1.14 on it is ignored"
        )
        yield Finding("file-twice", CRI_FILE, problem, f"join their contents in one entry: {EDIT}")


def _documents_are_named_right(subject: Subject) -> Iterator[Finding]:
    if any(document.get("name") == _RESERVED for document in subject.config.of_kind(_KIND)):
        problem = "has a name that Talos keeps for the file of that name"
        yield Finding("cri-name", f"{_KIND}/{_RESERVED}", problem, f"call it {CRI_DOCUMENT}")


def _fragments_work(subject: Subject) -> Iterator[Finding]:
    for where, content in _fragments(subject):
        if not content:
            yield Finding("cri-empty", where, "has no content", "remove it")
        for problem in fragment_problems(content):
            yield Finding("cri-content", where, problem, "correct it")


def _cdi_stays_on(subject: Subject) -> Iterator[Finding]:
    for where, content in _readable_fragments(subject):
        if subject.minor >= CDI_FROM and table_in(content, "plugins", CRI_PLUGIN).get("enable_cdi") is False:
            problem = "switches CDI off, by which containers get their GPUs from Talos v1.13 on"
            yield Finding("cri-content", where, problem, "remove enable_cdi")


def _default_runtime_is_set(subject: Subject) -> Iterator[Finding]:
    runtimes = [default_runtime_of(content) for _, content in _readable_fragments(subject)]
    if subject.default_runtime and subject.config.is_whole and RUNTIME_CLASS not in runtimes:
        problem = f"{RUNTIME_CLASS} is not the default runtime, and gpu:defaultRuntime is true"
        yield Finding("cri-missing", "containerd", problem, "gpuctl talos patch sets it")


def _readable_fragments(subject: Subject) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, content in _fragments(subject):
        if not fragment_problems(content):
            yield where, tomllib.loads(content)


def _fragments(subject: Subject) -> Iterator[tuple[str, str]]:
    for file in cri_files(subject.config):
        yield CRI_FILE, str(file.get("content") or "")
    for document in subject.config.of_kind(_KIND):
        yield f"{_KIND}/{document.get('name')}", str(document.get("content") or "")


RULES: tuple[Rule, ...] = (
    _files_can_be_written,
    _one_owner,
    _documents_are_named_right,
    _fragments_work,
    _cdi_stays_on,
    _default_runtime_is_set,
)
