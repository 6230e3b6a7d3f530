"""Rules between Talos, its drivers and the GPUs of the nodes; each yields what it finds wrong, with what fixes it."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from gpuctl.settings.catalogue import GENERATIONS, Generation
from gpuctl.settings.cri_fragment import default_runtime_of, fragment_problems, loaded
from gpuctl.settings.nodes import GpuGroup, GpuNode
from gpuctl.settings.refusal import EditFile, Path, Problem, Remedy, RemoveKey, SetValue, listed
from gpuctl.settings.talos_tables import (
    KUBERNETES_MINORS,
    RELEASES,
    TALOS_MINORS,
    Minor,
    format_minor,
    minor_of,
    newest_release,
)

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings

DOCUMENTS_FROM: Minor = (1, 14)
"""From this line on a new node's configuration has documents of their own for what this project sets."""
CDI_FROM: Minor = (1, 13)
"""From this line on a container gets its GPUs through CDI, and nvidia-container-cli is gone."""
CHANNELS = ("production", "lts")
_ANY: tuple[Minor, Minor] = ((1, 0), (1, 999))
"""What a line that is not in the table may run."""

_OPEN_FROM: Generation = "turing"
"""The open modules need the GSP, which came with Turing (NVIDIA driver installation guide, Kernel Modules)."""
_OPEN_ONLY_FROM: Generation = "blackwell"
"""NVIDIA's proprietary modules do not know these GPUs."""
_OPEN_FOR_ALL_FROM = 545
"""Before it the open modules refuse GeForce and workstation GPUs without NVreg_OpenRmEnableUnsupportedGpus (nv-reg.h
of open-gpu-kernel-modules 535.247.01; ignored from 545.23.06 on)."""
_LAST_DRIVER = {"maxwell": 580, "pascal": 580, "volta": 580}
"""Generation -> the last driver branch for it (NVIDIA Unix graphics feature deprecation schedule)."""
_FIRST_DRIVER = {"blackwell": 570}
"""Generation -> the first driver branch for it, where a branch of these minor versions is older."""


def contracts_are_not_newer(settings: "Settings") -> Iterator[Problem]:
    """A configuration has the form of the minor version that wrote it, which is never newer than the node's Talos."""
    newer = "is newer than Talos {}, which cannot read such a configuration"
    versions = [settings.talos_version_of(node) for node in settings.nodes if node.talos_contract is None]
    oldest = min(versions or [settings.talos_version], key=minor_of)
    if settings.talos_contract and minor_of(settings.talos_contract) > minor_of(oldest):
        yield Problem(("talosContract",), settings.talos_contract, newer.format(oldest), [RemoveKey()])
    for index, node in enumerate(settings.nodes):
        version = settings.talos_version_of(node)
        if node.talos_contract and minor_of(node.talos_contract) > minor_of(version):
            path: Path = ("nodes", index, "talosContract")
            yield Problem(path, node.talos_contract, newer.format(version), [RemoveKey()])


def kubernetes_runs_on_talos(settings: "Settings") -> Iterator[Problem]:
    """Talos refuses an upgrade to a Kubernetes it does not know."""
    kubernetes = settings.kubernetes_version
    for version in settings.talos_versions:
        first, last = KUBERNETES_MINORS.get(minor_of(version), _ANY)
        if kubernetes and not first <= minor_of(kubernetes) <= last:
            nearest = first if minor_of(kubernetes) < first else last
            reason = (
                f"does not run on Talos {version}, which takes Kubernetes {format_minor(first)} to {format_minor(last)}"
            )
            yield Problem(("kubernetesVersion",), kubernetes, reason, [SetValue(f"{format_minor(nearest)}.0")])
            return


def modules_fit_every_gpu(settings: "Settings") -> Iterator[Problem]:
    """Each known GPU must be one that the flavour of its node's kernel modules drives."""

    def fits(node: GpuNode, flavour: str) -> bool:
        return not any(_not_driven(flavour, cards, _driver_of(settings, node)) for cards in node.cards)

    unfit = [index for index, node in enumerate(settings.nodes) if not fits(node, settings.kernel_modules_of(node))]
    for path, flavour, nodes in _where(settings, "kernelModules", unfit):
        judged = ((each, _driver_of(settings, node)) for node in nodes for each in node.cards)
        cards = [(each, why) for each, driver in judged if (why := _not_driven(flavour, each, driver))]
        names = listed(sorted({f"{each.gpu} ({_generation(each)})" for each, _ in cards}))
        other = "proprietary" if flavour == "open" else "open"
        remedies = _per_node(settings, "kernelModules", path, unfit, other, functools.partial(fits, flavour=other))
        yield Problem(path, flavour, f"do not drive {names}: {cards[0][1]}", remedies)


def driver_knows_every_gpu(settings: "Settings") -> Iterator[Problem]:
    """Each GPU of known generation must be one that the driver of its node's channel still, or already, supports."""
    unfit = [
        index
        for index, node in enumerate(settings.nodes)
        if _unfit(settings.driver_channel_of(node), settings.talos_version_of(node), node)
    ]
    for path, channel, nodes in _where(settings, "driverChannel", unfit):
        release = settings.talos_version_of(nodes[0])
        cards, wanted = _unfit(channel, release, nodes[0])[0]
        driver = RELEASES[release].driver(channel)
        reason = f"is driver {driver} on Talos {release}, and {cards.gpu} ({_generation(cards)}) needs {wanted}"
        yield Problem(path, channel, reason, _other_driver(settings, path, unfit, channel, release))


def _where(settings: "Settings", key: str, unfit: Sequence[int]) -> Iterator[tuple[Path, str, list[GpuNode]]]:
    """For each place that says what does not fit: where it is, what it says, and the nodes it does not fit."""
    own = {"kernelModules": "kernel_modules", "driverChannel": "driver_channel"}[key]
    shared = [settings.nodes[index] for index in unfit if getattr(settings.nodes[index], own) is None]
    if shared:
        yield (key,), getattr(settings, own), shared
    for index in unfit:
        said: str | None = getattr(settings.nodes[index], own)
        if said is not None:
            yield ("nodes", index, key), said, [settings.nodes[index]]


def _per_node(
    settings: "Settings", key: str, path: Path, unfit: Iterable[int], value: str, fits: Callable[[GpuNode], bool]
) -> list[Remedy]:
    """Another value where the present one stands if it fits all nodes it is for, else for each node of its own."""
    own = {"kernelModules": "kernel_modules", "driverChannel": "driver_channel"}[key]
    if len(path) > 1:
        return [SetValue(value)] if fits(settings.nodes[int(path[1])]) else [EditFile()]
    shared = [index for index, node in enumerate(settings.nodes) if getattr(node, own) is None]
    if all(fits(settings.nodes[index]) for index in shared):
        return [SetValue(value)]
    concerned = [index for index in unfit if index in shared]
    if not all(fits(settings.nodes[index]) for index in concerned):
        return [EditFile()]
    return [SetValue(value, ("nodes", index, key)) for index in concerned]


def _other_driver(
    settings: "Settings", path: Path, unfit: Sequence[int], channel: str, release: str
) -> Sequence[Remedy]:
    """The other channel where that helps, else the nearest newer Talos and its channel."""
    other = next(each for each in CHANNELS if each != channel)
    remedies = _per_node(
        settings,
        "driverChannel",
        path,
        unfit,
        other,
        lambda node: not _unfit(other, settings.talos_version_of(node), node),
    )
    if remedies != [EditFile()]:
        return remedies
    concerned = [settings.nodes[int(path[1])]] if len(path) > 1 else list(settings.nodes)
    if any(node.talos_version for node in concerned) or len(path) > 1:
        return remedies
    for newer in (newest_release(each) for each in TALOS_MINORS if each > minor_of(release)):
        for each in CHANNELS:
            if newer in RELEASES and not any(_unfit(each, newer, node) for node in concerned):
                return [SetValue(newer, ("talosVersion",)), SetValue(each)]
    return remedies


def fragment_can_be_merged(settings: "Settings") -> Iterator[Problem]:
    """What the nodes' containerd configuration says besides must be TOML, and name no other default runtime."""
    text = settings.cri_customization
    if not text:
        return
    problems = fragment_problems(text)
    if problems:
        yield Problem(("criCustomization",), text, problems[0], [RemoveKey()])
        return
    runtime = default_runtime_of(loaded(text))
    if settings.default_runtime and runtime not in (None, "nvidia"):
        reason = f"makes {runtime} the default runtime and gpu:defaultRuntime makes it nvidia"
        yield Problem(("criCustomization",), text, reason, [RemoveKey()])


def apply_has_what_it_needs(settings: "Settings") -> Iterator[Problem]:
    """Applying the patches takes the three other keys, and configurations that the provider can read."""
    if not settings.talos_apply:
        return
    needed = {
        "talosEndpoint": settings.talos_endpoint,
        "talosClientConfiguration": settings.talos_client_configuration,
        "talosMachineConfiguration": settings.talos_machine_configuration,
    }
    missing = [f"gpu:{key}" for key, value in needed.items() if value is None]
    if missing:
        reason = f"needs {', '.join(missing)} as well"
    elif any(settings.contract_of(node) >= DOCUMENTS_FROM for node in settings.nodes):
        reason = (
            "goes through pulumiverse_talos, which cannot read a configuration written by Talos v1.14 or newer; "
            "apply the patches with talosctl, see: gpuctl talos patch --help"
        )
    else:
        return
    yield Problem(("talosApply",), True, reason, [SetValue("false")])


def _unfit(channel: str, talos_version: str, node: GpuNode) -> list[tuple[GpuGroup, str]]:
    """The GPUs of a node that the driver does not know, with the driver they need."""
    if talos_version not in RELEASES:
        return []
    branch = int(RELEASES[talos_version].driver(channel).split(".")[0])
    found: list[tuple[GpuGroup, str]] = []
    for cards in node.cards:
        generation = _generation(cards) or ""
        if branch < _FIRST_DRIVER.get(generation, branch):
            found.append((cards, f"{_FIRST_DRIVER[generation]} or newer"))
        if branch > _LAST_DRIVER.get(generation, branch):
            found.append((cards, f"{_LAST_DRIVER[generation]} or older"))
    return found


def _driver_of(settings: "Settings", node: GpuNode) -> str | None:
    """The driver of a node; None where its release is not known."""
    release = settings.release_of(node)
    return release.driver(settings.driver_channel_of(node)) if release else None


def _not_driven(flavour: str, cards: GpuGroup, driver: str | None) -> str | None:
    """Why a flavour of the kernel modules does not drive a GPU; None where it does, or where that is not known."""
    model = cards.model
    if model is None or model.product == "jetson":
        return None
    age = GENERATIONS.index(model.generation)
    if flavour == "proprietary":
        needed = "from Blackwell on a GPU needs the open kernel modules"
        return needed if age >= GENERATIONS.index(_OPEN_ONLY_FROM) else None
    if age < GENERATIONS.index(_OPEN_FROM):
        return "open kernel modules need Turing or newer"
    branch = int(driver.split(".")[0]) if driver else _OPEN_FOR_ALL_FROM
    is_known = branch >= _FIRST_DRIVER.get(model.generation, branch)  # else another rule asks for a newer driver
    if is_known and branch < _OPEN_FOR_ALL_FROM and model.product in ("geforce", "workstation"):
        return f"open kernel modules before {_OPEN_FOR_ALL_FROM} are for data-center GPUs, and the driver is {driver}"
    return None


def _generation(cards: GpuGroup) -> Generation | None:
    return cards.model.generation if cards.model else None
