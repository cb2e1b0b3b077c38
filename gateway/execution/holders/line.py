"""
The line of claims that wait: called one after another, and no more of them than there is to take.

What is new calls the one that waits longest. When it has taken something the next is called, and
when it has found nothing, the next that could take something else: claims of one kind take from
the same tasks, so that what one of them does not find is not there for the others. A task that
comes is so looked at by the claim that takes it and by one more of each kind, however many wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import Hashable, Iterator

__all__ = ["Line", "Place"]


@dataclasses.dataclass(eq=False, slots=True)
class Place:
    """
    The place of one claim.

    Attributes:
        number: Grows along the line.
        kind: What the claim could take.
        called: Set when it is its turn to look.
        knows: The number of the newest news that it has looked at; -1: it has not looked yet.
    """

    number: int
    kind: Hashable
    called: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    knows: int = -1


class Line:
    """
    Calls the claims that wait.

    Attributes:
        looks: How often a claim was called to look.
    """

    def __init__(self) -> None:
        self.looks = 0
        self._numbers = itertools.count()
        self._news = 0
        # In the order in which they came: those that have not looked yet, and the others by kind.
        self._new: dict[Place, None] = {}
        self._waiting: dict[Hashable, dict[Place, None]] = {}
        # Kinds for which there was nothing at the newest news.
        self._nothing_for: set[Hashable] = set()
        self._called: Place | None = None

    def __len__(self) -> int:
        return len(self._new) + sum(len(places) for places in self._waiting.values())

    def news(self) -> None:
        """There may be something to take, for any kind."""
        self._news += 1
        self._nothing_for.clear()
        self._call()

    @contextlib.contextmanager
    def place(self, kind: Hashable) -> Iterator[Place]:
        """Stand in line; the first look comes as soon as those before have looked."""
        place = Place(next(self._numbers), kind)
        self._new[place] = None
        self._call()
        try:
            yield place
        finally:
            self._leave(place)

    def look(self, place: Place) -> int:
        """Begin the look that ``place`` was called for; gives the number of the newest news."""
        place.called.clear()
        self.looks += 1
        return self._news

    def found_nothing(self, place: Place, news: int, *, for_all: bool) -> None:
        """
        End a look that has found nothing.

        Args:
            news: What ``look`` gave.
            for_all: Whether no other claim of this kind would have found anything.
        """
        self._new.pop(place, None)
        self._waiting.setdefault(place.kind, {})[place] = None
        place.knows = news
        if for_all and news == self._news:
            self._nothing_for.add(place.kind)
        self._called = None
        self._call()

    # --- how --------------------------------------------------------------------------------

    def _leave(self, place: Place) -> None:
        self._new.pop(place, None)
        places = self._waiting.get(place.kind, {})
        if places.pop(place, ...) is None and not places:
            del self._waiting[place.kind]
            self._nothing_for.discard(place.kind)
        if self._called is place:
            self._called = None
            self._call()

    def _call(self) -> None:
        """Call the first in line that may find something, unless one is looking."""
        if self._called is not None:
            return
        first = next(iter(self._new), None)
        for kind, places in self._waiting.items():
            if kind in self._nothing_for:
                continue
            place = next((place for place in places if place.knows < self._news), None)
            if place is not None and (first is None or place.number < first.number):
                first = place
        if first is not None:
            self._called = first
            first.called.set()
