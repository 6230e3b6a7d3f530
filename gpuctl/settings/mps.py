"""The rules for MPS: which GPUs take it, for how many pods, and what the keys of a slice may say."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpuctl.settings.catalogue import GENERATIONS
from gpuctl.settings.nodes import GpuNode
from gpuctl.settings.refusal import Path, Problem, RemoveKey, SetValue
from gpuctl.settings.talos_tables import minor_of

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings

_FIRST = GENERATIONS.index("volta")
_CLIENTS = 48
_CLIENTS_OF_BLACKWELL = 60
"""Programs that MPS serves on one GPU at once."""


def mps_is_possible(settings: "Settings") -> Iterator[Problem]:
    """Every GPU that is shared by MPS has limits, and serves that many pods, which the device plugin sends there."""
    found: dict[Path, Problem] = {}
    for index, node in enumerate(settings.nodes):
        if settings.sharing_of(node).mps:
            for problem in _of_node(settings, node, index):
                found.setdefault(problem.path, problem)  # a key of the stack is at fault once
    yield from found.values()


def mps_keys_are_for_mps(settings: "Settings") -> Iterator[Problem]:
    """What says how much a slice may use is for MPS alone: time slices have no limits."""
    served = [bool(settings.sharing_of(node).mps) for node in settings.nodes]
    if settings.sharing == "mps" and not any(served):
        reason = "is how pods share a GPU, and no node has more than 1 slice per GPU that is shared in this way"
        yield Problem(("sharing",), "mps", reason, [RemoveKey()])
    if settings.nodes and not any(served):
        yield from _without_mps((), settings.memory_per_slice_mib, settings.threads_per_slice_percent)
    for index, (node, is_served) in enumerate(zip(settings.nodes, served, strict=True)):
        if is_served:
            continue
        here: Path = ("nodes", index)
        if node.sharing_mode == "mps":
            reason = "is how pods share a GPU, and with 1 slice per GPU none is shared"
            yield Problem((*here, "sharing"), "mps", reason, [RemoveKey()])
        yield from _without_mps(here, node.memory_per_slice_mib, node.threads_per_slice_percent)


def mps_takes_one_slice_for_a_pod(settings: "Settings") -> Iterator[Problem]:
    """Device plugins before v0.20 refuse a pod that asks for several in any case."""
    version = settings.device_plugin_version
    if settings.fail_requests_greater_than_one or minor_of(version) >= (0, 20):
        return
    if any(settings.sharing_of(node).mps for node in settings.nodes):
        reason = f"needs device plugin v0.20 or newer with mps; {version} would silently ignore it"
        yield Problem(("failRequestsGreaterThanOne",), False, reason, [RemoveKey()])


def _without_mps(here: Path, memory: int | None, threads: int | None) -> Iterator[Problem]:
    reason = "limits a slice, and time slices have no limits: only with sharing mps has a slice its own"
    for key, value in (("memoryPerSliceMiB", memory), ("threadsPerSlicePercent", threads)):
        if value:
            yield Problem((*here, key), value, reason, [RemoveKey()])


def _of_node(settings: "Settings", node: GpuNode, index: int) -> Iterator[Problem]:
    here: Path = ("nodes", index)
    mode: Path = (*here, "sharing") if node.sharing_mode else ("sharing",)
    instead = [SetValue("time-slicing", (*here, "sharing"))]
    slices = settings.slices_of(node)
    if (backend := settings.backend_of(node)) != "device-plugin":
        reason = f"needs backend device-plugin, and {node.name} has {backend}, whose pods take turns"
        yield Problem(mode, "mps", reason, instead)
        return
    for cards in node.cards:
        if (model := cards.model) is None:
            continue
        if GENERATIONS.index(model.generation) < _FIRST:
            reason = (
                f"needs GPUs of Volta or newer: before it MPS limits no memory, and {node.name} has {cards.gpu} "
                f"({model.generation.capitalize()})"
            )
            yield Problem(mode, "mps", reason, instead)
        elif model.product == "jetson":
            reason = f"needs GPUs with memory of their own, and {cards.gpu} of {node.name} shares that of the CPU"
            yield Problem(mode, "mps", reason, instead)
        most = _CLIENTS_OF_BLACKWELL if model.generation == "blackwell" else _CLIENTS
        if slices > most:
            reason = f"are more pods than MPS serves on one GPU: {cards.gpu} of {node.name} takes {most}"
            yield Problem((*here, "slices") if node.slices else ("slices",), slices, reason, [SetValue(str(most))])
    yield from _memory(settings, node, here, mode)


def _memory(settings: "Settings", node: GpuNode, here: Path, mode: Path) -> Iterator[Problem]:
    mps, slices = settings.sharing_of(node).mps, settings.slices_of(node)
    limit = mps.memory_mib if mps else 0
    key: Path = (*here, "memoryPerSliceMiB")
    if not limit and len(node.cards) > 1:
        reason = (
            f"needs memoryPerSliceMiB where a node has GPUs of several models, as {node.name}: CUDA and the driver "
            "number them in different orders, so a share of each could become the limit of another"
        )
        yield Problem(mode, "mps", reason, [SetValue("time-slicing", (*here, "sharing"))])
    for cards in node.cards:
        memory = cards.model.memory_mib if cards.model else None
        if limit and memory and slices * limit > memory:
            reason = f"is too much: {slices} slices of it are {slices * limit} MiB, and {cards.gpu} has {memory}"
            path: Path = key if node.memory_per_slice_mib else ("memoryPerSliceMiB",)
            yield Problem(path, limit, reason, [SetValue(str(memory // slices))])
            return
