"""
Shares: what is kept of many owners within one bound, and whose oldest leaves at the bound.

The rule: who has more than a quarter of all of it loses its own oldest first, so that one owner who
adds without end pushes out nobody else's. It follows from what was added alone, in any order of
nodes and restarts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

__all__ = ["SHARE", "Shares"]

# An owner's part of the whole, as a divisor; the queue's default is the same.
SHARE = 4

Item = TypeVar("Item")


class Shares(Generic[Item]):
    """Items by key, in the order in which they were added."""

    def __init__(self) -> None:
        # Key → the item, its owner, its weight. A plain dict is slow to give its first, once many
        # that came before it have left.
        self._kept: OrderedDict[str, tuple[Item, str, int]] = OrderedDict()
        self._of: dict[str, OrderedDict[str, None]] = {}
        self._weights: dict[str, int] = {}
        self._weight = 0
        # Negative weights and owners, the heaviest first; of each owner the newest one counts.
        self._heaviest: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shares) and self._kept == other._kept

    def __iter__(self) -> Iterator[Item]:
        return (item for item, _, _ in self._kept.values())

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    @property
    def weight(self) -> int:
        """What all items weigh together."""
        return self._weight

    @property
    def oldest(self) -> Item:
        """The item that was added first."""
        return next(iter(self))

    def get(self, key: str) -> Item | None:
        """Give the item of a key; None: there is none."""
        kept = self._kept.get(key)
        return None if kept is None else kept[0]

    def remove(self, key: str) -> Item | None:
        """Let go of one item, and give it; None: there is none."""
        return self._remove(key) if key in self._kept else None

    def add(self, key: str, item: Item, *, owner: str, weight: int = 1) -> None:
        """Keep one more item, under a key that is new."""
        self._kept[key] = item, owner, weight
        self._of.setdefault(owner, OrderedDict())[key] = None
        self._weighs(owner, weight)

    def pop(self) -> Item:
        """Let go of the oldest of the owner that has most, if that is over its share."""
        weight, owner = self._heaviest[0]
        while self._weights.get(owner) != -weight:
            heappop(self._heaviest)
            weight, owner = self._heaviest[0]
        if -weight * SHARE > self._weight:
            return self._remove(next(iter(self._of[owner])))
        return self.pop_oldest()

    def pop_oldest(self) -> Item:
        """Let go of the oldest, whoever's it is."""
        return self._remove(next(iter(self._kept)))

    def _weighs(self, owner: str, more: int) -> None:
        self._weight += more
        now = self._weights[owner] = self._weights.get(owner, 0) + more
        heappush(self._heaviest, (-now, owner))
        if len(self._heaviest) > 2 * len(self._weights) + 16:
            self._heaviest = [(-weight, owner) for owner, weight in self._weights.items()]
            heapify(self._heaviest)

    def _remove(self, key: str) -> Item:
        item, owner, weight = self._kept.pop(key)
        self._weighs(owner, -weight)
        del self._of[owner][key]
        if not self._of[owner]:
            del self._of[owner], self._weights[owner]
        return item
