"""Which power limit is for which GPU, as the settings tell GPUs apart: by UUID, by node, by model."""

from collections.abc import Iterator
from typing import NamedTuple

from gpuctl.settings import Settings


class Limit(NamedTuple):
    """A power limit, and the GPUs it is for."""

    watts: int
    uuid: str = ""
    """The one GPU."""
    node: str = ""
    model: str = ""
    """The node's GPUs that the driver calls so; empty: all of the node that nothing more exact is for."""


def limits(settings: Settings) -> Iterator[Limit]:
    """The limit of every GPU.

    Only a node whose GPUs have different limits tells them apart by model. What is for the rest of it is then for a
    card whose name the driver writes in another way: the lowest, unless a model without a name in the catalogue makes
    the stack's own necessary.
    """
    for uuid, watts in settings.limits_by_uuid.items():
        yield Limit(watts, uuid=uuid)
    for node in settings.nodes:
        by_cards = {cards: settings.limit_of(node, cards) for cards in node.cards}
        lowest, highest = min(by_cards.values()), max(by_cards.values())
        rest = lowest if all(cards.model for cards in by_cards) or lowest == highest else settings.power_limit
        yield Limit(rest, node=node.name)
        if lowest != highest:
            by_name: dict[str, int] = {}  # boards of one name differ in memory alone
            for cards, watts in by_cards.items():
                if cards.model:
                    by_name[cards.model.name] = min(watts, by_name.get(cards.model.name, watts))
            yield from (Limit(watts, node=node.name, model=name) for name, watts in by_name.items())
