"""Circuits: what a breaker allows the nodes behind it, and whether their power limits keep to it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydantic import ValidationInfo, field_validator

from gpuctl.settings.nodes import GpuGroup, GpuNode
from gpuctl.settings.refusal import Remedy, RemoveKey, SettingRefused, SetValue, step
from gpuctl.settings.sharing import Sharing
from gpuctl.settings.values import MOST_WATTS, BaseWatts, CircuitWatts


class Circuit(NamedTuple):
    """The nodes behind one breaker, with what they may draw."""

    nodes: tuple[GpuNode, ...]
    base_watts: int
    """What the nodes draw besides their GPUs."""
    gpu_watts: int | None
    """What their GPUs may draw; None where a card's own default counts and is not known."""
    allowed_watts: int

    @property
    def name(self) -> str:
        """Its nodes, because a circuit has no name in a stack file."""
        return ", ".join(node.name for node in self.nodes)

    @property
    def used_watts(self) -> int | None:
        """What is drawn when every GPU is at its limit."""
        return None if self.gpu_watts is None else self.base_watts + self.gpu_watts


class Circuits(Sharing):
    """Which circuits feed the nodes: the keys of a stack file that are about the mains."""

    node_base_watts: BaseWatts = 150
    """Watts that a node draws besides its GPUs; counted on its circuit."""
    circuit_watts: CircuitWatts = 0
    """Watts of the circuit that feeds all nodes without one of their own; 0: not known, so not checked."""

    def base_of(self, node: GpuNode) -> int:
        """Watts that a node draws besides its GPUs."""
        return self.node_base_watts if node.base_watts is None else node.base_watts

    @property
    def circuits(self) -> tuple[Circuit, ...]:
        """The circuits that are known: the one of the stack, then those of single nodes."""
        shared = tuple(node for node in self.nodes if node.circuit_watts is None)
        known = [(shared, self.circuit_watts)] if shared and self.circuit_watts else []
        known += [((node,), node.circuit_watts) for node in self.nodes if node.circuit_watts]
        return tuple(
            Circuit(nodes, sum(map(self.base_of, nodes)), self.most_watts(nodes), watts) for nodes, watts in known
        )

    def most_watts(self, nodes: Iterable[GpuNode], cap: int = MOST_WATTS) -> int | None:
        """What the GPUs of some nodes may draw together; None without limits, where a card's default is not known.

        Which card has a UUID is not known here, so a limit by UUID counts only where it is higher: as if the card with
        the lowest limit, of those that take it, were meant. The sum is therefore never less than what may be drawn.

        Args:
            nodes: of the cluster.
            cap: limits above it count as lowered to it, as far as the cards can be.
        """
        cards = [(each, self.watts_of(node, each, cap)) for node in nodes for each in node.cards]
        known = [(each, watts) for each, watts in cards if watts is not None]
        if len(known) < len(cards):
            return None
        by_uuid = self.limits_by_uuid.values() if self.power_management else ()
        return sum(each.count * watts for each, watts in known) + sum(
            max(0, watts - min((lower for each, lower in known if _takes(each, watts)), default=watts))
            for watts in (min(watts, cap) for watts in by_uuid)
        )

    def watts_of(self, node: GpuNode, cards: GpuGroup, cap: int = MOST_WATTS) -> int | None:
        """What each of these cards may draw: its limit, or without power management its default, if that is known."""
        if not self.power_management:
            return cards.model.watts.default if cards.model else None
        return min(self.limit_of(node, cards), cards.model.watts.nearest(cap) if cards.model else cap)

    @field_validator("circuit_watts")
    @classmethod
    def _no_circuit_is_overloaded(cls, watts: int, info: ValidationInfo) -> int:
        needed = ("nodes", "power_management", "power_limits", "power_limit", "node_base_watts")
        if not all(key in info.data for key in needed):  # these have mistakes of their own
            return watts
        settings = cls.model_construct(**info.data, circuit_watts=watts)
        over = [each for each in settings.circuits if each.used_watts and each.used_watts > each.allowed_watts]
        if over:
            raise SettingRefused("; ".join(_sum(settings, each) for each in over), *_remedies(settings, over))
        return watts


def _sum(settings: Circuits, circuit: Circuit) -> str:
    """Such as `2 x 300 W + 150 W base on gpu-1 = 750 W > 700 W`."""
    terms: list[str] = []
    by_uuid = circuit.gpu_watts or 0
    for node in circuit.nodes:
        for cards in node.cards:
            watts = settings.watts_of(node, cards) or 0
            terms.append(f"{cards.count} x {watts} W")
            by_uuid -= cards.count * watts
        terms.append(f"{settings.base_of(node)} W base on {node.name}")
    if by_uuid:
        terms.append(f"{by_uuid} W more by UUID")
    why = "" if settings.power_management else " at the cards' default limits, which only gpu:powerManagement lowers"
    if settings.power_management and _highest_cap(settings, circuit) is None:
        why = ", and the lowest limits of these cards are too much as well: take some off this circuit"
    return f"{' + '.join(terms)} = {circuit.used_watts} W > {circuit.allowed_watts} W{why}"


def _remedies(settings: Circuits, over: Iterable[Circuit]) -> list[Remedy]:
    """The highest limits that fit; a circuit that not even the lowest ones fit is left out of account."""
    if not settings.power_management:
        return [SetValue("true", "powerManagement")]
    lowered: dict[str, int] = {}
    left_out: list[Remedy] = []
    for circuit in over:
        cap = _highest_cap(settings, circuit)
        if cap is None:
            own = f"{_path(settings, circuit.nodes[0])}." if circuit.nodes[0].circuit_watts else ""
            left_out.append(RemoveKey(f"{own}circuitWatts"))
            continue
        for key, watts in _lowered(settings, circuit, cap):
            lowered[key] = min(watts, lowered.get(key, watts))
    return [*(SetValue(str(watts), key) for key, watts in lowered.items()), *left_out]


def _highest_cap(settings: Circuits, circuit: Circuit) -> int | None:
    gpus = circuit.allowed_watts - circuit.base_watts
    return next(
        (cap for cap in range(MOST_WATTS, 0, -1) if (settings.most_watts(circuit.nodes, cap) or 0) <= gpus), None
    )


def _lowered(settings: Circuits, circuit: Circuit, cap: int) -> Iterator[tuple[str, int]]:
    """The keys with a limit above the cap, and the limit below it."""
    for node in circuit.nodes:
        for cards in node.cards:
            watts = settings.watts_of(node, cards, cap) or cap
            if watts < settings.limit_of(node, cards):
                yield _key(settings, node, cards, watts), watts
    for uuid, watts in settings.limits_by_uuid.items():
        if watts > cap:
            yield f"powerLimits{step(uuid)}", cap


def _key(settings: Circuits, node: GpuNode, cards: GpuGroup, watts: int) -> str:
    """Where a new limit for these cards belongs: where the present one is, unless other cards there do not take it."""
    others = [each for other in settings.nodes if other.power_limit is None for each in other.cards]
    if node.power_limit is None and cards.gpu in settings.power_limits:
        return f"powerLimits{step(cards.gpu)}"
    if node.power_limit is None and all(_takes(each, watts) for each in others):
        return "powerLimit"
    return (
        f"{_path(settings, node)}.powerLimit"
        if node.power_limit or not cards.model
        else f"powerLimits{step(cards.gpu)}"
    )


def _path(settings: Circuits, node: GpuNode) -> str:
    return f"nodes[{settings.nodes.index(node)}]"


def _takes(cards: GpuGroup, watts: int) -> bool:
    return cards.model is None or cards.model.watts.nearest(watts) == watts
