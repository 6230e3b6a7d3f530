"""What must be in place before the first `pulumi up`: programs on this machine, Pulumi's stack, nothing in the way."""

import os
import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from gpuctl.checks.context import NO_PULUMI, Context
from gpuctl.checks.model import Category, Check, Result, Subject, failed, passed, skipped
from gpuctl.preflight.ownership import foreign, of_other_stacks
from gpuctl.preflight.provided import lacking
from gpuctl.settings import config_folder
from gpuctl.settings.project import PROJECT
from gpuctl.settings.talos_tables import KUBERNETES_MINORS, format_minor, minor_of

WORKSTATION = Category("workstation", "this machine")

_DISTRIBUTION = "talos-gpu-sharing"
_MAKE_VENV = "make venv && . .venv/bin/activate"
_STACK_FILE = "PULUMI_OPTION_CONFIG_FILE"
"""Names the stack file that Pulumi reads when it is not the one in config/."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""This machine's word for its architecture -> Kubernetes'; others have the same."""
_PASSPHRASE = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")


@Check(
    "PRE001",
    WORKSTATION,
    "the Pulumi CLI is installed and fits the project's SDK",
    cause="Pulumi is not installed, or its CLI is older than the SDK the project was tested with",
    example="Pulumi CLI v3.100.0 does not fit SDK v3.259.0, which takes v3.259.0 or later, below v4",
    confirm=("pulumi version",),
    fix=("Install the newest CLI: `curl -fsSL https://get.pulumi.com | sh`.",),
)
def pulumi_is_installed(context: Context) -> Iterator[Result]:
    """Only a CLI that is not older than the SDK, of the same major version, is known to run the program."""
    remedy = "curl -fsSL https://get.pulumi.com | sh"
    ran = context.pulumi("version")
    sdk = _pinned().get("pulumi")
    if ran is None:
        yield failed(NO_PULUMI, remedy)
    elif (found := _version(ran.stdout)) is None:
        yield failed(f"the Pulumi CLI does not say its version: {ran.reason}", remedy)
    elif sdk is None:
        yield skipped(f"whether Pulumi CLI {found} fits is not known: gpuctl runs without the project's environment")
    else:
        span = f"SDK v{sdk}, which takes v{sdk} or later, below v{int(sdk.split('.')[0]) + 1}"
        if _numbers(found)[:1] == _numbers(sdk)[:1] and _numbers(found) >= _numbers(sdk):
            yield passed(f"Pulumi CLI {found} fits {span}")
        else:
            yield failed(f"Pulumi CLI {found} does not fit {span}", remedy)


@Check(
    "PRE002",
    WORKSTATION,
    "the program's Python packages are installed",
    cause="The project's Python environment was not made, or not made again after an update",
    example="pulumi-kubernetes is not installed; the project takes 4.25.0",
    confirm=(".venv/bin/pip list",),
    fix=("Make the environment: `make venv`, then `. .venv/bin/activate`.",),
)
def packages_are_installed(_: Context) -> Iterator[Result]:
    """Those that are pinned, because Pulumi's engine and provider go by them; looked up, never imported."""
    for name, wanted in _pinned().items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield failed(f"{name} is not installed; the project takes {wanted}", _MAKE_VENV, Subject(name=name))
            continue
        if found == wanted:
            yield passed(f"{name} is {found}", Subject(name=name))
        else:
            yield failed(f"{name} is {found}; the project takes {wanted}", _MAKE_VENV, Subject(name=name))


@Check(
    "PRE003",
    WORKSTATION,
    "kubectl is installed and fits the cluster's Kubernetes",
    cause="kubectl is not installed, or more than one minor version away from the cluster",
    example="kubectl v1.28.2 does not fit Talos v1.13.9, which runs Kubernetes v1.31 to v1.36",
    confirm=("kubectl version --client",),
    fix=("Install the cluster's own version: https://kubernetes.io/docs/tasks/tools/.",),
    severity="warning",
)
def kubectl_is_installed(context: Context) -> Iterator[Result]:
    """By Kubernetes' version skew policy: one minor version either way. Only the remedies need kubectl."""
    talos = [each for each in context.settings.talos_versions if minor_of(each) in KUBERNETES_MINORS]
    if not talos:
        yield skipped("which Kubernetes the nodes' Talos runs is not known here, nor which kubectl fits it")
        return
    spans = [KUBERNETES_MINORS[minor_of(version)] for version in talos]
    first, last = max(span[0] for span in spans), min(span[1] for span in spans)
    remedy = _kubectl_for(format_minor(last))
    ran = context.programs.run("kubectl", "version", "--client", "-o", "json")
    if ran is None:
        yield failed("kubectl is not installed here; pulumi and gpuctl do without, their hints do not", remedy)
        return
    found = _version(ran.stdout)
    span = f"Talos {' and '.join(talos)}, which runs Kubernetes {format_minor(first)} to {format_minor(last)}"
    if found is None:
        yield failed(f"kubectl does not say its version: {ran.reason}", remedy)
    elif (first[0], first[1] - 1) <= minor_of(found) <= (last[0], last[1] + 1):
        yield passed(f"kubectl {found} fits {span}")
    else:
        yield failed(f"kubectl {found} does not fit {span}", remedy)


@Check(
    "PRE004",
    WORKSTATION,
    "talosctl is installed and of the nodes' Talos minor version",
    cause="talosctl is not installed, or of another minor version than the nodes",
    example="talosctl v1.9.5 is not of the minor version of Talos v1.13.9",
    confirm=("talosctl version --client",),
    fix=(
        "Install the newest: `curl -sL https://talos.dev/install | sh`.",
        "Or the release of the nodes: https://github.com/siderolabs/talos/releases.",
    ),
    severity="warning",
)
def talosctl_is_installed(context: Context) -> Iterator[Result]:
    """Talos advises the talosctl of the nodes' own version. Patches, upgrades and the kubeconfig need it.

    Where nodes are of several minor versions, no talosctl is of all: that of one of them will do.
    """
    releases = context.settings.talos_versions
    talos = " or ".join(releases)
    remedy = "curl -sL https://talos.dev/install | sh"
    ran = context.programs.run("talosctl", "version", "--client", "--short")
    if ran is None:
        yield failed("talosctl is not installed here; drivers come to the nodes through it", remedy)
    elif (found := _version(ran.stdout + ran.stderr)) is None:
        yield failed(f"talosctl does not say its version: {ran.reason}", remedy)
    elif minor_of(found) in map(minor_of, releases):
        yield passed(f"talosctl {found} is of the minor version of Talos {talos}")
    else:
        yield failed(f"talosctl {found} is not of the minor version of Talos {talos}", remedy)


@Check(
    "PRE005",
    WORKSTATION,
    "Pulumi is logged in to a backend",
    cause="Nobody has said where Pulumi keeps its state",
    example="Pulumi is not logged in: PULUMI_ACCESS_TOKEN must be set for login during non-interactive [...]",
    confirm=("pulumi whoami --verbose",),
    fix=("State on this machine: `pulumi login --local`.", "Or in a bucket or Pulumi Cloud: `pulumi login URL`."),
)
def pulumi_is_logged_in(context: Context) -> Iterator[Result]:
    """Asked without a terminal, Pulumi says that it would have to ask."""
    ran = context.pulumi("whoami")
    if ran is None:
        yield skipped(NO_PULUMI)
    elif ran.exit_code:
        yield failed(f"Pulumi is not logged in: {ran.reason}", "pulumi login --local")
    else:
        yield passed(f"Pulumi is logged in as {ran.stdout.strip()}")


@Check(
    "PRE006",
    WORKSTATION,
    "the stack exists in Pulumi's backend",
    cause="The stack file is there, and the stack itself was not made in this backend",
    example="Pulumi does not know stack lab: no stack named 'lab' found",
    confirm=("pulumi stack ls",),
    fix=("Make it: `pulumi stack init lab`.", "Or log in to the backend that has it: `pulumi login URL`."),
)
def stack_exists(context: Context) -> Iterator[Result]:
    """A stack file alone is none."""
    ran = context.pulumi("stack", "output", "--json", "--stack", context.stack)
    if ran is None:
        yield skipped(NO_PULUMI)
    elif "no stack named" in ran.stderr:
        yield failed(f"Pulumi does not know stack {context.stack}: {ran.reason}", f"pulumi stack init {context.stack}")
    elif ran.exit_code:
        yield skipped(f"whether stack {context.stack} exists is not known: {ran.reason}")
    else:
        yield passed(f"stack {context.stack} exists")


@Check(
    "PRE007",
    WORKSTATION,
    "the passphrase of the stack's secrets is at hand",
    cause="The stack's secrets are encrypted with a passphrase, and no variable names it: pulumi would ask, or end",
    example="stack lab encrypts its secrets with a passphrase, and PULUMI_CONFIG_PASSPHRASE is not set",
    confirm=("grep encryptionsalt config/Pulumi.lab.yaml",),
    fix=(
        "`export PULUMI_CONFIG_PASSPHRASE=...`; an empty one counts if `pulumi stack init` got an empty one.",
        "Or keep it in a file: `export PULUMI_CONFIG_PASSPHRASE_FILE=PATH`.",
    ),
    severity="warning",
)
def passphrase_is_set(context: Context) -> Iterator[Result]:
    """Whether it is the right one only Pulumi finds out. On a terminal it asks."""
    path = Path(os.environ.get(_STACK_FILE) or config_folder() / f"Pulumi.{context.stack}.yaml")
    if not path.exists() or "\nencryptionsalt:" not in f"\n{path.read_text()}":
        yield skipped(f"stack {context.stack} has no secrets that a passphrase encrypts")
    elif known := [name for name in _PASSPHRASE if name in os.environ]:
        yield passed(f"{known[0]} is set")
    else:
        fact = f"stack {context.stack} encrypts its secrets with a passphrase, and {_PASSPHRASE[0]} is not set"
        yield failed(fact, f"read -rs {_PASSPHRASE[0]} && export {_PASSPHRASE[0]}")


@Check(
    "PRE008",
    WORKSTATION,
    "no foreign object has a name the stack needs",
    cause="The namespace or the RuntimeClass exists already, made by hand, by another tool or by another stack",
    example="RuntimeClass nvidia exists already and was not made by this project: it would be taken over, [...]",
    confirm=("kubectl --context admin@lab get runtimeclass nvidia -o yaml",),
    fix=(
        "Another tool owns the RuntimeClass, so use it as it is: "
        "`pulumi config set gpu:createRuntimeClass false --stack lab`.",
        "Or hand it over: `kubectl --context admin@lab label runtimeclass nvidia "
        "app.kubernetes.io/part-of=gpu-sharing`; `pulumi destroy` then deletes it.",
        "A namespace: or choose another with `pulumi config set gpu:namespace NAME --stack lab`.",
    ),
)
def nothing_is_in_the_way(context: Context) -> Iterator[Result]:
    """`pulumi up` refuses for the same reason."""
    found = foreign(context.desired, context.stack, context.get)
    for each in found:
        yield failed(each.fact, each.remedy, Subject(name=f"{each.kind} {each.name}"))
    own = f"{PROJECT}/{context.stack}"
    others = of_other_stacks(context.desired, own, context.get, context.nodes.values())
    for other in others:
        yield failed(other.reason, "pulumi stack ls --all", Subject(name=other.stack))
    if not found and not others:
        yield passed("no object of others has a name that the stack needs")


@Check(
    "PRE009",
    WORKSTATION,
    "what the stack leaves to others is there",
    cause="gpu:createRuntimeClass or gpu:labelNodes is false, or gpu:monitoring is true, and what others should "
    "provide is missing",
    example="gpu:createRuntimeClass is false, and context admin@lab has no RuntimeClass nvidia: [...]",
    confirm=(
        "kubectl --context admin@lab get runtimeclass nvidia -o yaml",
        "kubectl --context admin@lab get nodes --show-labels",
    ),
    fix=(
        "Let its owner create the RuntimeClass with the handler `nvidia`, or the stack: "
        "`pulumi config set gpu:createRuntimeClass true --stack lab`.",
        "Labels: apply the node's Talos patch, or let the stack set them: "
        "`pulumi config set gpu:labelNodes true --stack lab`.",
    ),
)
def what_others_provide_is_there(context: Context) -> Iterator[Result]:
    """`pulumi up` refuses for the same reason: no pod of the stack would be made, and nothing would wait for one."""
    found = list(lacking(context.desired, context.stack, context.get, context.nodes.values()))
    for each in found:
        yield failed(each.fact, each.remedy, Subject(name=each.name))
    if not found:
        yield passed("nothing that the stack leaves to others is missing")


def _pinned() -> dict[str, str]:
    """Package -> the one version that the project takes; nothing where the project itself is not installed."""
    try:
        required = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:
        return {}
    exact = (each.partition(";")[0].strip() for each in required if "==" in each.partition(";")[0])
    return dict(each.split("==") for each in exact)


def _kubectl_for(minor: str) -> str:
    """The command that fetches the newest kubectl of a minor version for this machine."""
    system, machine = platform.system().lower(), platform.machine()
    release = f"$(curl -Ls https://dl.k8s.io/release/stable-{minor.removeprefix('v')}.txt)"
    return f"curl -LO https://dl.k8s.io/release/{release}/bin/{system}/{_ARCHITECTURES.get(machine, machine)}/kubectl"


def _version(text: str) -> str | None:
    found = re.search(r"v\d+\.\d+\.\d+[-\w.]*", text)
    return found[0] if found else None


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]


PROGRAMS = (pulumi_is_installed, packages_are_installed)
"""What needs no stack file."""
STACK = (kubectl_is_installed, talosctl_is_installed, pulumi_is_logged_in, stack_exists, passphrase_is_set)
"""What needs no cluster."""
CLUSTER = (nothing_is_in_the_way, what_others_provide_is_there)
CHECKS = (*PROGRAMS, *STACK, *CLUSTER)
