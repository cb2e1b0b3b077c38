"""
The kept part of a log in memory: entries in order, an index by topic, three bounds.

The oldest entries go first, whichever bound is passed: count, bytes or age. A topic without a
kept entry costs no memory.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from gateway.ports import Entry

__all__ = ["Ring"]

# Dead cells at the front of an index are cut off when there are this many and they are the
# larger part, so that dropping the oldest entry costs constant time on average.
_DEAD_CELLS_MIN = 1024


class _Offsets:
    """Offsets in growing order; appended at the end, dropped at the front."""

    __slots__ = ("cells", "start")

    def __init__(self) -> None:
        self.cells: list[int] = []
        self.start = 0

    def __len__(self) -> int:
        return len(self.cells) - self.start

    def drop_first(self) -> None:
        self.start += 1
        if self.start >= _DEAD_CELLS_MIN and self.start * 2 > len(self.cells):
            del self.cells[: self.start]
            self.start = 0

    def after(self, offset: int, until: int) -> Iterator[int]:
        cells = self.cells
        at = bisect_right(cells, offset, lo=self.start)
        while at < len(cells) and cells[at] <= until:
            yield cells[at]
            at += 1


class Ring:
    """
    The newest entries of one log.

    Args:
        events_max: How many entries are kept at the most.
        bytes_max: How many bytes of entries are kept at the most; the newest entry stays even
            when it alone is larger.
        age_max_s: How long an entry is kept at the most, in seconds.

    Attributes:
        size: Bytes kept now.
        dropped: The newest offset that was dropped; 0: none.
        aged: The newest offset that was dropped for its age; 0: none.
    """

    def __init__(self, *, events_max: int, bytes_max: int, age_max_s: float) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._age_max_s = age_max_s
        self._entries: dict[int, Entry] = {}
        self._all = _Offsets()
        self._by_topic: dict[str, _Offsets] = {}
        self.size = 0
        self.dropped = 0
        self.aged = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def oldest(self) -> int | None:
        """The smallest offset kept; None when nothing is."""
        return self._all.cells[self._all.start] if len(self._all) else None

    def add(self, entry: Entry) -> None:
        """Take the next entry, whose offset is over all before it."""
        assert not self._all.cells or entry.offset > self._all.cells[-1]
        self._entries[entry.offset] = entry
        self._all.cells.append(entry.offset)
        for topic in entry.topics:
            index = self._by_topic.get(topic)
            if index is None:
                index = self._by_topic[topic] = _Offsets()
            index.cells.append(entry.offset)
        self.size += entry.size
        self.trim(entry.at)

    def pass_over(self, entry: Entry, now: float) -> None:
        """Know the next entry as dropped: so many follow that it would not stay."""
        self.dropped = entry.offset
        if entry.at < now - self._age_max_s:
            self.aged = entry.offset

    def trim(self, now: float) -> None:
        """Drop the entries that are over a bound; ``now`` is seconds since the Unix epoch."""
        too_old = now - self._age_max_s
        entries, offsets = self._entries, self._all
        while kept := len(entries):
            entry = entries[offsets.cells[offsets.start]]
            aged = entry.at < too_old
            over = kept > self._events_max or (self.size > self._bytes_max and kept > 1)
            if not aged and not over:
                return
            del entries[entry.offset]
            offsets.drop_first()
            self.dropped = entry.offset
            if aged:
                self.aged = entry.offset
            self.size -= entry.size
            for topic in entry.topics:
                index = self._by_topic[topic]
                index.drop_first()
                if not index:
                    del self._by_topic[topic]

    def read(
        self,
        *,
        after: int,
        topics: Iterable[str] | None,
        limit: int,
        until: int,
        size_max: int | None,
    ) -> list[Entry]:
        """Read entries in order; see ``EventLog.read``."""
        found: list[Entry] = []
        size = 0
        for offset in self._offsets(after, topics, until):
            entry = self._entries[offset]
            size += len(entry.public)
            if len(found) == limit or (found and size_max is not None and size > size_max):
                break
            found.append(entry)
        return found

    def _indexes(self, topics: Iterable[str] | None) -> list[_Offsets]:
        if topics is None:
            return [self._all] if self._all else []
        return [index for topic in topics if (index := self._by_topic.get(topic)) is not None]

    def _offsets(self, after: int, topics: Iterable[str] | None, until: int) -> Iterator[int]:
        runs = [index.after(after, until) for index in self._indexes(topics)]
        if len(runs) == 1:
            yield from runs[0]
            return
        last = 0
        for offset in heapq.merge(*runs):
            if offset != last:
                yield offset
                last = offset
