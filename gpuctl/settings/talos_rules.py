"""Rules between Talos, its drivers and the GPUs of the nodes; each raises `SettingRefused` with what fixes it."""

from collections.abc import Sequence

from gpuctl.settings.catalogue import GENERATIONS, Generation
from gpuctl.settings.minor_version import Minor, format_minor, minor_of
from gpuctl.settings.nodes import GpuGroup, GpuNode
from gpuctl.settings.refusal import Remedy, RemoveKey, SettingRefused, SetValue
from gpuctl.settings.talos_tables import KUBERNETES_MINORS, RELEASES, TALOS_MINORS, newest_release

DOCUMENTS_FROM: Minor = (1, 14)
"""From this line on a new node's configuration has documents of their own for what this project sets."""
CDI_FROM: Minor = (1, 13)
"""From this line on a container gets its GPUs through CDI, and nvidia-container-cli is gone."""
CHANNELS = ("production", "lts")

_OPEN_FROM: Generation = "turing"
"""The open modules need the GSP, which came with Turing (NVIDIA driver installation guide, Kernel Modules)."""
_OPEN_ONLY_FROM: Generation = "blackwell"
"""NVIDIA's proprietary modules do not know these cards."""
_LAST_DRIVER = {"maxwell": 580, "pascal": 580, "volta": 580}
"""Generation -> the last driver branch for it (NVIDIA Unix graphics feature deprecation schedule)."""
_FIRST_DRIVER = {"blackwell": 570}
"""Generation -> the first driver branch for it, where a branch of these Talos lines is older."""


def contracts_are_not_newer(contract: str | None, talos_version: str, nodes: Sequence[GpuNode]) -> None:
    """A configuration has the form of the line that wrote it, which is never newer than the node's Talos."""
    newer = f"newer than Talos {talos_version}, which cannot read such a configuration"
    if contract and minor_of(contract) > minor_of(talos_version):
        raise SettingRefused(f"is {newer}", RemoveKey())
    for index, node in enumerate(nodes):
        if node.talos_contract and minor_of(node.talos_contract) > minor_of(talos_version):
            key = f"nodes[{index}].talosContract"
            raise SettingRefused(f"is {node.talos_contract} on node {node.name}: {newer}", RemoveKey(key))


def kubernetes_runs_on_talos(kubernetes: str, talos_version: str) -> None:
    """Talos refuses an upgrade to a Kubernetes it does not know."""
    first, last = KUBERNETES_MINORS[minor_of(talos_version)]
    if not first <= minor_of(kubernetes) <= last:
        nearest = first if minor_of(kubernetes) < first else last
        raise SettingRefused(
            f"does not run on Talos {talos_version}, which takes Kubernetes "
            f"{format_minor(first)} to {format_minor(last)}",
            SetValue(f"{format_minor(nearest)}.0"),
        )


def modules_fit_every_gpu(flavour: str, nodes: Sequence[GpuNode]) -> None:
    """Each GPU of known generation must be one that the flavour of the kernel modules drives."""
    other = "proprietary" if flavour == "open" else "open"
    unfit = [(index, cards) for index, node in enumerate(nodes) for cards in node.cards if not _drives(flavour, cards)]
    if not unfit:
        return
    cards = ", ".join(sorted({f"{each.gpu} ({_generation(each)})" for _, each in unfit}))
    reason = (
        f"do not drive {cards}: open kernel modules need Turing or newer"
        if flavour == "open"
        else f"do not drive {cards}: from Blackwell on a GPU needs the open kernel modules"
    )
    if all(_drives(other, each) for node in nodes for each in node.cards):
        raise SettingRefused(reason, SetValue(other))
    nodes_concerned = [index for index, _ in unfit]
    raise SettingRefused(
        f"{reason}. Other GPUs need {flavour}: give these a stack of their own", *_removed(nodes_concerned)
    )


def driver_knows_every_gpu(channel: str, talos_version: str, nodes: Sequence[GpuNode]) -> None:
    """Each GPU of known generation must be one that the driver of the channel still, or already, supports."""
    unfit = _unfit(channel, talos_version, nodes)
    if not unfit:
        return
    _, cards, wanted = unfit[0]
    driver = RELEASES[talos_version].driver(channel)
    raise SettingRefused(
        f"is driver {driver} on Talos {talos_version}, and {cards.gpu} ({_generation(cards)}) needs {wanted}",
        *_other_driver(talos_version, nodes, [index for index, _, _ in unfit]),
    )


def _other_driver(talos_version: str, nodes: Sequence[GpuNode], unfit: Sequence[int]) -> Sequence[Remedy]:
    """The other channel where that helps, else the nearest newer line and its channel, else a stack of their own."""
    for release in (talos_version, *(newest_release(each) for each in TALOS_MINORS if each > minor_of(talos_version))):
        for channel in CHANNELS:
            if release in RELEASES and not _unfit(channel, release, nodes):
                newer = [SetValue(release, "talosVersion")] if release != talos_version else []
                return [*newer, SetValue(channel)]
    return _removed(unfit)


def _unfit(channel: str, talos_version: str, nodes: Sequence[GpuNode]) -> list[tuple[int, GpuGroup, str]]:
    """GpuGroup that the driver does not know, with the index of their node and the driver they need."""
    if talos_version not in RELEASES:
        return []
    branch = int(RELEASES[talos_version].driver(channel).split(".")[0])
    found: list[tuple[int, GpuGroup, str]] = []
    for index, cards in ((index, cards) for index, node in enumerate(nodes) for cards in node.cards):
        generation = _generation(cards) or ""
        if branch < _FIRST_DRIVER.get(generation, branch):
            found.append((index, cards, f"{_FIRST_DRIVER[generation]} or newer"))
        if branch > _LAST_DRIVER.get(generation, branch):
            found.append((index, cards, f"{_LAST_DRIVER[generation]} or older"))
    return found


def _drives(flavour: str, cards: GpuGroup) -> bool:
    generation = _generation(cards)
    if generation is None:
        return True
    age = GENERATIONS.index(generation)
    return age >= GENERATIONS.index(_OPEN_FROM) if flavour == "open" else age < GENERATIONS.index(_OPEN_ONLY_FROM)


def _generation(cards: GpuGroup) -> Generation | None:
    return cards.model.generation if cards.model else None


def _removed(indices: Sequence[int]) -> list[RemoveKey]:
    """From the last to the first, because each removal moves those behind it."""
    return [RemoveKey(f"nodes[{index}]") for index in sorted(set(indices), reverse=True)]
