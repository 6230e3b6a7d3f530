"""Which power limit is for which GPU, as the settings tell GPUs apart: by UUID, by node, by model."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gpuctl.settings import Settings


class Limit(NamedTuple):
    """A power limit, and the GPUs it is for."""

    watts: int | None
    """None for GPUs that are left alone."""
    uuid: str = ""
    """The one GPU."""
    node: str = ""
    model: str = ""
    """The node's GPUs that the driver calls so; empty: all of the node that nothing more exact is for."""


def limits(settings: Settings) -> Iterator[Limit]:
    """The limit of every GPU.

    Only a node whose GPUs have different limits tells them apart by model. What is for the rest of it is then for a
    GPU whose name the driver writes in another way: the lowest, unless a model without a name in the catalogue makes
    the stack's own necessary.
    """
    for uuid, watts in settings.limits_by_uuid.items():
        yield Limit(watts, uuid=uuid)
    for node in settings.nodes:
        by_cards = {cards: settings.limit_of(node, cards) for cards in node.cards}
        different = len(set(by_cards.values())) > 1
        rest = _lowest(by_cards.values())
        named = all(cards.model for cards in by_cards)
        yield Limit(rest if named or not different else settings.power_limit, node=node.name)
        if different:
            by_name: dict[str, list[int | None]] = {}  # boards of one name differ in memory alone
            for cards, watts in by_cards.items():
                if cards.model:
                    by_name.setdefault(cards.model.name, []).append(watts)
            yield from (Limit(_lowest(found), node=node.name, model=name) for name, found in by_name.items())


def _lowest(limits: Iterable[int | None]) -> int | None:
    """The lowest of some limits; None where there is none."""
    return min((watts for watts in limits if watts is not None), default=None)
