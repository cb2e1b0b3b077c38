"""
The default store: the log in this process's memory, with nothing to install.

A restart loses everything and begins a new epoch, so readers are told that their position is of
another log. Everything else that the port promises holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.ports import Clock, Draft, Entry, Progress, Reader, Snapshot
from gateway.stores.followers import Followers
from gateway.stores.ring import Ring
from gateway.stores.stamp import stamp
from gateway.stores.steady import Steady
from gateway.stores.subjects import Subjects

__all__ = ["MemoryLog"]


class MemoryLog:
    """
    An ``EventLog`` in memory; see the port for what it guarantees.

    Args:
        epoch: The name of this log; each log needs a new one.
        clock: Its wall clock tells when the log begins; from there on its monotonic time counts.
        events_max: How many entries are kept at the most.
        bytes_max: How many bytes of entries are kept at the most.
        age_max_s: How long an entry is kept at the most, in seconds.
    """

    def __init__(
        self, *, epoch: str, clock: Clock, events_max: int, bytes_max: int, age_max_s: float
    ) -> None:
        self._epoch = epoch
        self._clock = clock
        self._steady = Steady(clock)
        self._ring = Ring(events_max=events_max, bytes_max=bytes_max, age_max_s=age_max_s)
        self._head = 0
        self._subjects = Subjects(events_max=events_max)
        self._readers: Followers[Entry] = Followers()

    async def open(self) -> None:
        pass

    async def start(self, *, after: int = 0, progress: Progress | None = None) -> None:
        pass

    @property
    def available(self) -> bool:
        return True

    @property
    def reason(self) -> str | None:
        return None

    @property
    def takes_at_once(self) -> bool:
        return True

    @property
    def stale(self) -> bool:
        return False

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def head(self) -> int:
        return self._head

    @property
    def oldest(self) -> int:
        self._ring.trim(self._now())
        return self._ring.oldest or self._head + 1

    @property
    def events(self) -> int:
        self._ring.trim(self._now())
        return len(self._ring)

    @property
    def bytes(self) -> int:
        self._ring.trim(self._now())
        return self._ring.size

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        assert drafts
        self._subjects.check(expected or {})
        at = self._now()
        entries = [
            stamp(draft, epoch=self._epoch, offset=self._head + place, at=at)
            for place, draft in enumerate(drafts, 1)
        ]
        for entry in entries:
            self._ring.add(entry)
            self._subjects.wrote(entry.subject, entry.offset)
        for entry in entries:
            self._head = entry.offset
            self._readers.tell(entry)
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
        self._ring.trim(self._now())
        return self._ring.read(
            after=after,
            topics=topics,
            limit=limit,
            until=self._head if until is None else min(until, self._head),
            size_max=size_max,
        )

    async def scan(
        self, *, after: int, topics: Iterable[str] | None, limit: int
    ) -> tuple[list[Entry], int | None]:
        found = await self.read(after=after, topics=topics, limit=limit)
        return found, found[-1].offset if len(found) == limit else None

    def last_offset(self, subject: str) -> int:
        return self._subjects.last(subject)

    def follow(self, reader: Reader) -> Callable[[], None]:
        return self._readers.add(reader)

    async def time(self) -> float:
        return self._now()

    def _now(self) -> float:
        if not self._steady.known:  # not before: a log may be made before its loop runs
            self._steady.seen(self._clock.wall())
        return self._steady.now()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        pass

    async def load_snapshot(self) -> Snapshot | None:
        return None

    async def close(self) -> None:
        self._readers.clear()
