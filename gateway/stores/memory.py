"""
The default store: the log in this process's memory, nothing to install.

A restart loses everything and starts a new epoch; readers are told so and begin from a
snapshot. Everything else the port promises holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.domain.errors import ExpectationFailed
from gateway.ports import Clock, Draft, Entry, Reader
from gateway.stores.ring import Ring
from gateway.stores.stamp import stamp

__all__ = ["MemoryLog"]

# How many subjects' last offsets are remembered, as a multiple of the entries kept. A subject
# may live on in silence for longer (a breaker that stays closed for months), and decisions about
# it have to go on: see ``_forgotten``.
_SUBJECTS_PER_EVENT = 2


class MemoryLog:
    """
    An ``EventLog`` in memory; see the port for what it guarantees.

    Args:
        epoch: The name of this log; a new one for each.
        clock: Gives the time of acceptance and the age of entries.
        events_max: Entries kept at the most.
        bytes_max: Bytes kept at the most.
        age_max_s: Seconds an entry is kept at the most.
    """

    def __init__(
        self, *, epoch: str, clock: Clock, events_max: int, bytes_max: int, age_max_s: float
    ) -> None:
        self._epoch = epoch
        self._clock = clock
        self._ring = Ring(events_max=events_max, bytes_max=bytes_max, age_max_s=age_max_s)
        self._head = 0
        self._last_at = 0.0
        self._subjects: dict[str, int] = {}
        self._subjects_max = events_max * _SUBJECTS_PER_EVENT
        # No forgotten subject has an entry after this offset.
        self._forgotten = 0
        self._readers: dict[object, Reader] = {}

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def head(self) -> int:
        return self._head

    @property
    def oldest(self) -> int:
        self._ring.trim(self._clock.wall())
        return self._ring.oldest or self._head + 1

    @property
    def events(self) -> int:
        """Entries kept now."""
        return len(self._ring)

    @property
    def bytes(self) -> int:
        """Bytes kept now."""
        return self._ring.size

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        assert drafts
        for subject, offset in (expected or {}).items():
            actual = self._subjects.get(subject)
            # Of a forgotten subject only this is known: that nothing was written to it lately.
            agreed = offset <= self._forgotten if actual is None else offset == actual
            if not agreed:
                raise ExpectationFailed(subject, expected=offset, actual=actual or 0)
        # The log's time never goes back, whatever the wall clock does.
        self._last_at = max(self._last_at, self._clock.wall())
        entries = [
            stamp(draft, epoch=self._epoch, offset=self._head + place, at=self._last_at)
            for place, draft in enumerate(drafts, 1)
        ]
        for entry in entries:
            self._ring.add(entry)
            # Deleted and set again: the least recently written subject is the first to go.
            self._subjects.pop(entry.subject, None)
            self._subjects[entry.subject] = entry.offset
        while len(self._subjects) > self._subjects_max:
            self._forgotten = self._subjects.pop(next(iter(self._subjects)))
        for entry in entries:
            self._head = entry.offset
            for key, reader in tuple(self._readers.items()):
                if key in self._readers:  # another reader may have ended it just now
                    reader(entry)
        return self._head

    async def read(
        self,
        *,
        after: int,
        topics: Iterable[str] | None,
        limit: int,
        until: int | None = None,
        size_max: int | None = None,
    ) -> list[Entry]:
        self._ring.trim(self._clock.wall())
        return self._ring.read(
            after=after,
            topics=topics,
            limit=limit,
            until=self._head if until is None else min(until, self._head),
            size_max=size_max,
        )

    def count(self, *, after: int, topics: Iterable[str] | None) -> int:
        self._ring.trim(self._clock.wall())
        return self._ring.count(after=after, topics=topics, until=self._head)

    def newest(self, topics: Iterable[str] | None) -> int:
        self._ring.trim(self._clock.wall())
        return self._ring.newest(topics, until=self._head)

    def last_offset(self, subject: str) -> int:
        return self._subjects.get(subject, 0)

    def follow(self, reader: Reader) -> Callable[[], None]:
        key = object()
        self._readers[key] = reader

        def end() -> None:
            self._readers.pop(key, None)

        return end

    async def close(self) -> None:
        self._readers.clear()
