"""Rules about kernel modules and kernel parameters."""

import re
from collections import Counter
from collections.abc import Iterator

from gpuctl.desired.talos import MODULES, SYSCTL
from gpuctl.machine_config.document import Document, mapping, sequence
from gpuctl.machine_config.finding import EDIT, Finding, Rule, Subject
from gpuctl.machine_config.presence import modules
from gpuctl.settings.talos_rules import CDI_FROM

_MODULES_OF_NVIDIA = {*MODULES, "nvidia_peermem"}
_MODULE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_WHERE = "kernel modules"
_NVREG = "NVreg_"
"""Begins the parameters of the module nvidia."""
_OWNERS = {"fbdev": "nvidia_drm", "uvm_disable_hmm": "nvidia_uvm"}
"""Parameters whose name tells no module -> the one that has them."""


def _modules_are_named_right(subject: Subject) -> Iterator[Finding]:
    for name in modules(subject.config):
        if not _MODULE_NAME.fullmatch(name):
            yield Finding("module-name", _WHERE, f"{name!r} is no name of a module", "write one name for each entry")
        elif name.lower().startswith("nvidia") and name not in _MODULES_OF_NVIDIA:
            problem = f"{name} is none of NVIDIA's, so it never loads"
            yield Finding("module-name", _WHERE, problem, f"there are {', '.join(MODULES)}")


def _modules_are_named_once(subject: Subject) -> Iterator[Finding]:
    """The last entry of a name counts, so that parameters of an earlier one are lost."""
    names = [str(entry.get("name", "")) for entry in subject.config.entries("kernel", "modules")]
    for name, times in Counter(names).items():
        if times > 1:
            problem = f"{name} stands there {times} times, as after a patch that was applied twice"
            yield Finding("module-twice", "machine.kernel.modules", problem, f"keep one entry: {EDIT}")


def _parameters_are_at_their_module(subject: Subject) -> Iterator[Finding]:
    """A module that does not know a parameter ignores it."""
    for entry in _module_entries(subject):
        for parameter in map(str, sequence(entry.get("parameters"))):
            owner = _owner(parameter)
            if owner and owner != entry.get("name"):
                problem = f"{parameter} is a parameter of {owner}, and {entry.get('name')} ignores it"
                yield Finding("module-parameter", _WHERE, problem, f"move it to the entry of {owner}")
    for key in map(str, _sysctls(subject)):
        if key.startswith(_NVREG):
            problem = f"{key} is a parameter of the module nvidia and no kernel parameter of that name"
            yield Finding("module-parameter", f"sysctl {key}", problem, "move it to the entry of nvidia")


def _no_argument_against_the_modules(subject: Subject) -> Iterator[Finding]:
    configured = sequence(subject.config.below("install", "extraKernelArgs"))
    places = {"machine.install.extraKernelArgs": configured, "kernel arguments": subject.config.kernel_arguments}
    for where, argument in ((where, str(each)) for where, arguments in places.items() for each in arguments):
        key, _, names = argument.partition("=")
        if key in ("module_blacklist", "modprobe.blacklist") and set(names.split(",")) & {*MODULES}:
            problem = f"{argument} keeps the modules from loading"
            yield Finding("kernel-argument", where, problem, "remove it")
        elif key.startswith(_NVREG):
            problem = f"{argument} names no module, so the kernel ignores it"
            yield Finding("kernel-argument", where, problem, "make it a parameter in the entry of nvidia")


def _no_other_driver(subject: Subject) -> Iterator[Finding]:
    if "nouveau" in modules(subject.config):
        problem = "nouveau takes the GPUs before NVIDIA's driver can"
        yield Finding("module-conflict", _WHERE, problem, "remove it")


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


def _module_entries(subject: Subject) -> list[Document]:
    return [*subject.config.entries("kernel", "modules"), *subject.config.of_kind("KernelModuleConfig")]


def _owner(parameter: str) -> str | None:
    name = parameter.partition("=")[0]
    return "nvidia" if name.startswith(_NVREG) else _OWNERS.get(name)


def _sysctls(subject: Subject) -> dict[str, object]:
    found = dict(mapping(subject.config.below("sysctls")))
    for document in subject.config.of_kind("SysctlConfig"):
        found |= mapping(document.get("params"))
    return found


RULES: tuple[Rule, ...] = (
    _modules_are_named_right,
    _modules_are_named_once,
    _parameters_are_at_their_module,
    _no_argument_against_the_modules,
    _no_other_driver,
    _all_modules_are_loaded,
    _bpf_is_as_the_line_needs_it,
)
