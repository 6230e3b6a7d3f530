"""Rules between nodes, their GPUs, slices and power limits; each yields what it finds wrong, with what fixes it."""

import difflib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gpuctl.settings.catalogue import CATALOGUE, GpuModel, PowerRange, nearest_common
from gpuctl.settings.circuits import takes
from gpuctl.settings.nodes import GpuGroup, GpuNode
from gpuctl.settings.refusal import NOT_SET, Path, Problem, Remedy, RemoveKey, SetValue, listed
from gpuctl.settings.talos_tables import minor_of
from gpuctl.settings.values import NO_LIMIT, is_a_gpu_uuid

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings

_MOST_REMOVED = 50
"""Entries that one command removes; the rest is reported in the next run."""


def there_are_nodes(settings: "Settings") -> Iterator[Problem]:
    """A stack without nodes has nothing to do."""
    if not settings.nodes:
        yield Problem(("nodes",), [], "must name at least one node", example_node())


def example_node() -> list[Remedy]:
    """The commands that set all required keys of a first node."""
    examples = {field.alias: field.examples for field in GpuNode.model_fields.values() if field.examples}
    needed = ("name", "gpu", "count")
    return [SetValue(str((examples[key] or [""])[0]), ("nodes", 0, key)) for key in needed]


def names_are_different(settings: "Settings", named: Mapping[int, str]) -> Iterator[Problem]:
    """A node that is declared twice would count double.

    Args:
        settings: of the stack.
        named: index of each node whose name is sound -> the name.
    """
    entries = defaultdict[str, list[int]](list)
    for index, name in named.items():
        entries[name].append(index)
    doubled = {name: found for name, found in entries.items() if len(found) > 1}
    if not doubled:
        return
    times = [f"{name} {len(found)} times (entries {listed(list(map(str, found)))})" for name, found in doubled.items()]
    more = sorted((index for found in doubled.values() for index in found[1:]), reverse=True)
    whose = "its" if len(doubled) == 1 else "their"
    yield Problem(
        ("nodes",),
        settings.nodes,
        f"declares {listed(times)}; {whose} GPUs would count double",
        [RemoveKey(("nodes", index)) for index in more[:_MOST_REMOVED]],
    )


def other_nodes_are_not_the_stacks(settings: "Settings") -> Iterator[Problem]:
    """A node is served by the stack or by others, never by both."""
    own = {node.name for node in settings.nodes}
    for index, name in enumerate(settings.other_gpu_nodes):
        if name in own:
            reason = "is in gpu:nodes too: either the stack serves a node, or others do"
            yield Problem(("otherGpuNodes", index), name, reason, [RemoveKey()])


def gpus_are_declared_in_one_way(index: int, given: frozenset[str], values: Mapping[str, object]) -> Iterator[Problem]:
    """A node has `gpu` and `count`, or `gpus`.

    Args:
        index: of the node.
        given: which of the three keys the stack file has, sound or not.
        values: their values, where they are sound.
    """
    for key in ("gpu", "count"):
        if ("gpus" in given) == (key in given):
            path: Path = ("nodes", index, key)
            if key in given:
                value = values.get(key)
                yield Problem(path, value, "stands beside gpus, which says it already", [RemoveKey()])
            else:
                yield Problem(path, NOT_SET, "is required", [])


def node_limits_are_within_range(settings: "Settings") -> Iterator[Problem]:
    """A node's own limit must be one that all its GPUs take, and one that is held."""
    for index, node in enumerate(settings.nodes):
        ranges = {cards.gpu: cards.model.watts for cards in node.cards if cards.model}
        watts = node.power_limit
        if watts and not node.power_management:
            reason = "stands beside powerManagement: false, which leaves the node's GPUs alone"
            yield Problem(("nodes", index, "powerLimit"), watts, reason, [RemoveKey()])
            continue
        unfit = [cards for cards in node.cards if watts and not takes(cards, watts)]
        if watts and unfit:
            nearest = nearest_common(watts, ranges.values())
            reason = " and of ".join(f"{cards.gpu}, which takes {ranges[cards.gpu]}" for cards in unfit)
            fix = RemoveKey() if nearest is None else SetValue(str(nearest))
            yield Problem(("nodes", index, "powerLimit"), watts, f"is not a limit of {reason}", [fix])


def limit_is_within_every_range(settings: "Settings") -> Iterator[Problem]:
    """`powerLimit` must be legal for every GPU that has no other limit."""
    known = _known(settings)
    by_model = {_meant(key, known) or key for key in settings.limits_by_model}
    concerned = [
        cards
        for node in settings.nodes
        if node.power_limit is None
        for cards in node.cards
        if cards.gpu not in by_model and settings.limit_of(node, cards)
    ]
    watts = settings.power_limit
    unfit = {cards.gpu: cards.model.watts for cards in concerned if cards.model and not takes(cards, watts)}
    if settings.power_management and unfit:
        reason = ", ".join(sorted(f"{gpu} takes {span}" for gpu, span in unfit.items()))
        yield Problem(
            ("powerLimit",), watts, f"is no limit for every GPU: {reason}", _legal_limits(watts, concerned, unfit)
        )


def _legal_limits(watts: int, concerned: list[GpuGroup], unfit: Mapping[str, PowerRange]) -> list[Remedy]:
    """One limit for all where none of the GPUs takes the present one, else one for each model that does not."""
    nearest = nearest_common(watts, unfit.values())
    if nearest is not None and all(cards.gpu in unfit for cards in concerned):
        return [SetValue(str(nearest))]
    return [SetValue(str(span.nearest(watts)), ("powerLimits", gpu)) for gpu, span in unfit.items()]


def limits_are_of_cards_that_are_there(settings: "Settings", *, all_known: bool) -> Iterator[Problem]:
    """Each key of `powerLimits` is a model that some node has, or a UUID, and its limit is legal.

    Args:
        settings: of the stack.
        all_known: whether the GPUs of every node are sound; else a model that seems to be nowhere may be on another.
    """
    known, limits = _known(settings), settings.power_limits
    models = {**CATALOGUE, **settings.described}

    def may_be_elsewhere(key: str) -> bool:
        return (
            not all_known
            and settings.key_of(key) not in known
            and (settings.key_of(key) in models or is_a_gpu_uuid(key))
        )

    judged = [key for key in limits if not may_be_elsewhere(key)] if any(node.cards for node in settings.nodes) else []
    found = [_wrong_limit(settings, key, known) for key in judged]
    wrong = [each for each in found if each]
    if wrong:
        reasons = [reason for reason, _ in wrong]
        yield Problem(
            ("powerLimits",),
            {key: NO_LIMIT if watts is None else watts for key, watts in settings.power_limits.items()},
            listed(reasons, separator="; "),
            [remedy for _, remedies in wrong[:_MOST_REMOVED] for remedy in remedies],
        )


def _known(settings: "Settings") -> dict[str, GpuModel]:
    """The models of the nodes' GPUs, by key, but for those of which nothing is known."""
    return {cards.gpu: cards.model for node in settings.nodes for cards in node.cards if cards.model}


def _meant(key: str, known: Mapping[str, GpuModel]) -> str | None:
    """The model of some node that a key of `powerLimits` is a misspelling of."""
    if is_a_gpu_uuid(key) or key in known:
        return None
    close = difflib.get_close_matches(key[:100].lower().replace(" ", "-"), sorted(known), n=1)
    return close[0] if close else None


def _wrong_limit(settings: "Settings", key: str, known: Mapping[str, GpuModel]) -> tuple[str, list[Remedy]] | None:
    """What is wrong with one entry of `powerLimits`, and what fixes it.

    A GPU's UUID says nothing about its model: such a limit must be one that some declared GPU takes.
    """
    limits, here, by_uuid = settings.power_limits, ("powerLimits", key), is_a_gpu_uuid(key)
    watts, gpu = limits[key], settings.key_of(key)
    if not by_uuid and gpu not in known:
        return _of_no_gpu(settings, key, known)
    if next(other for other in limits if settings.key_of(other) == gpu) != key:
        return f"names {gpu} twice, also as {key}", [RemoveKey(here)]
    if watts is None or not settings.power_management:
        return None
    ranges = {each: model.watts for each, model in sorted(known.items()) if by_uuid or each == gpu}
    nearest = min((span.nearest(watts) for span in ranges.values()), key=lambda each: abs(each - watts), default=watts)
    all_known = all(cards.model for node in settings.nodes for cards in node.cards)
    if nearest == watts or (by_uuid and not all_known):
        return None
    takes_them = ", ".join(f"{each} takes {span}" for each, span in ranges.items())
    return f"gives {key} {watts} W, and {takes_them}", [SetValue(str(nearest), here)]


def _of_no_gpu(settings: "Settings", key: str, known: Mapping[str, GpuModel]) -> tuple[str, list[Remedy]]:
    """What is wrong with an entry of `powerLimits` that is for no GPU of the stack."""
    limits, gpu, close = settings.power_limits, settings.key_of(key), _meant(key, known)
    what = (
        "a model that no node has"
        if gpu in CATALOGUE or gpu in settings.described
        else "neither a model of the catalogue nor a GPU's UUID"
    )
    meant = f" (did you mean {close}?)" if close else ""
    moved = [SetValue(str(limits[key] or NO_LIMIT), ("powerLimits", close))] if close and close not in limits else []
    return f"names {key[:100]}, {what}{meant}", [*moved, RemoveKey(("powerLimits", key))]


def policy_is_known_to_the_plugin(settings: "Settings") -> Iterator[Problem]:
    """Device plugins before v0.20 know no allocation policy."""
    version = settings.device_plugin_version
    if settings.allocation_policy and minor_of(version) < (0, 20):
        reason = f"needs device plugin v0.20 or newer; {version} would silently ignore it"
        yield Problem(("allocationPolicy",), settings.allocation_policy, reason, [RemoveKey()])


def use_is_watched(settings: "Settings") -> Iterator[Problem]:
    """Metrics and budget are of what the usage watcher sees."""
    if settings.usage:
        return
    if settings.usage_metrics:
        words = "are those of the usage watcher, which gpu:usage does not deploy"
        yield Problem(("usageMetrics",), True, words, [SetValue("false")])
    if settings.memory_budget != "none":
        words = "is judged by what the usage watcher sees, which gpu:usage does not deploy"
        yield Problem(("memoryBudget",), settings.memory_budget, words, [SetValue("none")])


def renaming_is_for_shared_gpus(settings: "Settings") -> Iterator[Problem]:
    """The plugin renames only what it shares, so a node of whole GPUs would offer another resource."""
    whole = [node.name for node in settings.nodes if settings.slices_of(node) == 1]
    if settings.rename_by_default and whole:
        verb = "shares" if len(whole) == 1 else "share"
        yield Problem(
            ("renameByDefault",),
            True,
            f"renames shared GPUs only, and {listed(whole)} {verb} none (1 slice): the cluster would offer two "
            "resources",
            [SetValue("false")],
        )
