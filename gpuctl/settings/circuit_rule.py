"""The rule that no circuit is overloaded, and the highest limits that fit one that is."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from gpuctl.settings.circuits import Circuit, circuits, most_watts, takes, watts_of
from gpuctl.settings.nodes import GpuGroup, GpuNode
from gpuctl.settings.refusal import EditFile, Path, Problem, Remedy, SetValue, listed
from gpuctl.settings.values import MOST_WATTS

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings


class _Limit(NamedTuple):
    """A limit to be lowered, and where it stands."""

    path: Path
    watts: int


class _Stack:
    """What is asked of all nodes for each circuit, counted once."""

    def __init__(self, settings: "Settings") -> None:
        self.settings = settings
        self.index = {id(node): at for at, node in enumerate(settings.nodes)}
        self.users = _users(settings, settings.nodes)
        self.lowered: dict[Path, int] = {}
        """By circuits before this one; a limit by UUID counts on every circuit."""


def _users(settings: "Settings", nodes: Iterable[GpuNode]) -> Counter[str]:
    """Model -> how many nodes have it, held at a limit that is not the node's own."""
    return Counter(
        cards.gpu
        for node in nodes
        if node.power_limit is None
        for cards in node.cards
        if settings.limit_of(node, cards) is not None
    )


def no_circuit_is_overloaded(settings: "Settings") -> Iterator[Problem]:
    """One problem for each circuit on which more may be drawn than it allows.

    Only limits of its own nodes are lowered: no key that another circuit's nodes depend on, and never the check itself.
    """
    stack = _Stack(settings)
    for circuit in circuits(settings):
        if not circuit.used_watts or circuit.used_watts <= circuit.allowed_watts:
            continue
        first = circuit.nodes[0]
        path: Path = ("nodes", stack.index[id(first)], "circuitWatts") if first.circuit_watts else ("circuitWatts",)
        why, remedies = _remedies(stack, circuit)
        yield Problem(path, circuit.allowed_watts, f"{_sum(settings, circuit)}{why}", remedies)


def _sum(settings: "Settings", circuit: Circuit) -> str:
    """Such as `2 x 300 W + 150 W base on gpu-1 = 750 W > 700 W`."""
    terms: list[str] = []
    by_uuid = circuit.gpu_watts or 0
    for node in circuit.nodes:
        for cards in node.cards:
            watts = watts_of(settings, node, cards) or 0
            terms.append(f"{cards.count} x {watts} W")
            by_uuid -= cards.count * watts
        terms.append(f"{settings.base_of(node)} W base on {node.name}")
    if by_uuid:
        terms.append(f"{by_uuid} W more by UUID")
    return f"{listed(terms, 20, ' + ')} = {circuit.used_watts} W > {circuit.allowed_watts} W"


def _remedies(stack: _Stack, circuit: Circuit) -> tuple[str, list[Remedy]]:
    """What to add to the reason, and the highest limits that fit."""
    if not stack.settings.power_management:
        why = " at the GPUs' default limits, which only gpu:powerManagement lowers"
        return why, [SetValue("true", ("powerManagement",))]
    cap = highest_cap(stack.settings, circuit)
    if cap is None:
        why = ", and the lowest limits of these GPUs are too much as well: take some off this circuit"
        return why, [EditFile()]
    limits = _limits(stack, circuit, cap)
    if limits is None:
        return f", and at most {cap} W for each GPU would fit: give these GPUs limits of their own", [EditFile()]
    lowered = stack.lowered
    for path, watts in limits:
        lowered[path] = min(watts, lowered.get(path, watts))
    return "", [SetValue(str(lowered[path]), path) for path in dict.fromkeys(path for path, _ in limits)]


def highest_cap(settings: "Settings", circuit: Circuit) -> int | None:
    """The highest limit for all GPUs of a circuit with which it holds; None where not even the lowest does."""
    fitting, too_much = 0, MOST_WATTS
    while too_much - fitting > 1:
        cap = (fitting + too_much) // 2
        if (most_watts(settings, circuit.nodes, cap) or 0) <= circuit.allowed_watts - circuit.base_watts:
            fitting = cap
        else:
            too_much = cap
    return fitting or None


def _limits(stack: _Stack, circuit: Circuit, cap: int) -> list[_Limit] | None:
    """The limits above a cap, lowered to it where they stand; None where that would touch nodes of other circuits."""
    settings, inside = stack.settings, _users(stack.settings, circuit.nodes)
    found: list[_Limit] = []
    for node in circuit.nodes:
        for cards in node.cards:
            watts, limit = watts_of(settings, node, cards, cap) or cap, settings.limit_of(node, cards)
            if limit is None or watts >= limit:
                continue
            path = None if node.power_limit else _shared_key(stack, circuit, inside, cards, watts)
            lower = _Limit(path, watts) if path else _node_limit(settings, node, stack.index[id(node)], cap)
            if lower is None:
                return None
            found.append(lower)
    uuids = (uuid for uuid, watts in settings.limits_by_uuid.items() if watts and watts > cap)
    return [*found, *(_Limit(("powerLimits", uuid), cap) for uuid in uuids)]


def _shared_key(stack: _Stack, circuit: Circuit, inside: Counter[str], cards: GpuGroup, watts: int) -> Path | None:
    """The key of the whole stack that gives GPUs their limit, if only GPUs of this circuit depend on it."""
    limits = stack.settings.limits_by_model
    is_free = stack.users[cards.gpu] == inside[cards.gpu]
    if cards.gpu not in limits:
        by_default = [each for node in circuit.nodes if node.power_limit is None for each in node.cards]
        by_default = [each for each in by_default if each.gpu not in limits and inside[each.gpu]]
        default_is_free = all(count == inside[gpu] for gpu, count in stack.users.items() if gpu not in limits)
        if default_is_free and all(takes(each, watts) for each in by_default):
            return ("powerLimit",)
    key = next((key for key in stack.settings.power_limits if stack.settings.key_of(key) == cards.gpu), cards.gpu)
    return ("powerLimits", key) if is_free and (cards.gpu in limits or cards.model) else None


def _node_limit(settings: "Settings", node: GpuNode, index: int, cap: int) -> _Limit | None:
    """One limit for all GPUs of a node; None where one of them does not take it, is left alone, or would be raised."""
    if any(settings.limit_of(node, cards) is None for cards in node.cards):
        return None
    watts = {cards: watts_of(settings, node, cards, cap) or cap for cards in node.cards}
    lowest = min(watts.values())
    fits = all(takes(cards, lowest) for cards in watts)
    return _Limit(("nodes", index, "powerLimit"), lowest) if fits else None
