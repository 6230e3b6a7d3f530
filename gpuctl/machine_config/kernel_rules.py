"""Rules about kernel modules and kernel parameters."""

import re
from collections import Counter
from collections.abc import Iterator

from gpuctl.desired.talos import MODULES, SYSCTL
from gpuctl.machine_config.document import mapping
from gpuctl.machine_config.finding import Finding, Rule, Subject
from gpuctl.machine_config.presence import modules
from gpuctl.settings.talos_rules import CDI_FROM

_MODULES_OF_NVIDIA = {*MODULES, "nvidia_peermem"}
_MODULE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_WHERE = "kernel modules"


def _modules_are_named_right(subject: Subject) -> Iterator[Finding]:
    for name in modules(subject.config):
        if not _MODULE_NAME.fullmatch(name):
            yield Finding("module-name", _WHERE, f"{name!r} is no name of a module", "write one name for each entry")
        elif name.startswith("nvidia") and name not in _MODULES_OF_NVIDIA:
            problem = f"{name} is none of NVIDIA's, so it never loads"
            yield Finding("module-name", _WHERE, problem, f"there are {', '.join(MODULES)}")


def _modules_are_named_once(subject: Subject) -> Iterator[Finding]:
    """The last entry of a name counts, so that parameters of an earlier one are lost."""
    names = [str(entry.get("name", "")) for entry in subject.config.entries("kernel", "modules")]
    for name, times in Counter(names).items():
        if times > 1:
            problem = f"{name} stands there {times} times, as after a patch that was applied twice"
            yield Finding("module-twice", "machine.kernel.modules", problem, "keep one entry")


def _all_modules_are_loaded(subject: Subject) -> Iterator[Finding]:
    missing = [name for name in MODULES if name not in modules(subject.config)]
    if subject.config.is_whole and missing:
        problem = f"{', '.join(missing)} missing, and none loads by itself"
        yield Finding("modules-missing", _WHERE, problem, "gpuctl talos patch adds them")


def _bpf_is_as_the_line_needs_it(subject: Subject) -> Iterator[Finding]:
    key, value = SYSCTL
    settings = _sysctls(subject)
    where = f"sysctl {key}"
    if key not in settings:
        if subject.config.is_whole and subject.minor < CDI_FROM:
            problem = "is missing: containers with GPUs do not start"
            yield Finding("sysctl-missing", where, problem, f'set it to "{value}"')
    elif settings[key] is None or isinstance(settings[key], bool):
        problem = f"is {str(settings[key]).lower()}, which Talos turns into a text the kernel does not take"
        yield Finding("sysctl-value", where, problem, f'set it to "{value}"')
    elif str(settings[key]) != value and subject.minor < CDI_FROM:
        yield Finding("sysctl-value", where, f"is {settings[key]} and must be {value}", f'set it to "{value}"')
    if key in settings and subject.minor >= CDI_FROM:
        problem = "is not needed from Talos v1.13 on, and weakens the node"
        yield Finding("sysctl-needless", where, problem, "remove it")


def _sysctls(subject: Subject) -> dict[str, object]:
    found = dict(mapping(subject.config.below("sysctls")))
    for document in subject.config.of_kind("SysctlConfig"):
        found |= mapping(document.get("params"))
    return found


RULES: tuple[Rule, ...] = (
    _modules_are_named_right,
    _modules_are_named_once,
    _all_modules_are_loaded,
    _bpf_is_as_the_line_needs_it,
)
