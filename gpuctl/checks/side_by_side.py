"""Asks many nodes or pods at the same time: each answers after a while, and a cluster may have a thousand."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_AT_ONCE = 16

_Subject = TypeVar("_Subject")
_Answer = TypeVar("_Answer")


def side_by_side(ask: Callable[[_Subject], _Answer], subjects: Iterable[_Subject]) -> Iterator[_Answer]:
    """The answers, in the order of the subjects. What several of them need is to be read before."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(ask, subjects)
