"""
Gateways on one log that outlives them, in time that the test owns: nodes that come, die and return.

The log is kept in this process, yet as strange as the durable one: its offsets have gaps, a node
remembers of a subject only what it has read itself, and each node has its own way to the store,
which a test may cut, delay or let fail.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gateway.app.gateway import Gateway
from gateway.domain.errors import StoreUnavailable
from gateway.domain.settings import Settings
from gateway.execution.engine import Engine
from gateway.execution.parts import Parts
from gateway.execution.record.state import State
from gateway.ports import Clock, Draft, Entry, Hearer, Progress, Pulse, Reader, Snapshot
from gateway.stores.followers import Followers
from gateway.stores.memory import MemoryLog
from gateway.stores.subjects import Subjects
from tests.execution.world import Ids, VirtualClock

__all__ = ["Cluster", "KeptLog", "Node", "SharedLog", "SharedPulse", "until_killed"]

# Offsets of one append, as in JetStream: its last entry has the last of them.
SLOTS = 16

Hook = Callable[[Sequence[Draft]], Awaitable[None]]


class SharedLog(MemoryLog):
    """What the nodes share; offsets have gaps."""

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        self._subjects.check(expected or {})
        self._head += -len(drafts) % SLOTS
        return await super().append(drafts, expected=expected)

    @property
    def oldest(self) -> int:
        self._ring.trim(self._clock.wall())
        return self._ring.dropped + 1


class KeptLog:
    """
    One node's way to the shared log.

    Attributes:
        before: Called with what is appended, before it is; may wait, or raise.
        after: The same, when it is in the log.
        save_errors: What is raised by the next ``save_snapshot`` calls, one each.
        another_epoch: The name of another log that stands in its place; None: none does.
    """

    def __init__(self, shared: SharedLog, snapshots: list[Snapshot], settings: Settings) -> None:
        self._shared = shared
        self._snapshots = snapshots
        self._events_max = settings.log_events
        self._subjects = Subjects(events_max=self._events_max)
        self._readers: Followers[Entry] = Followers()
        self._watchers: Followers[[]] = Followers()
        self._head = 0
        self._started = False
        self._away = False
        self._stale = False
        self._unseen: list[Entry] | None = None
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.save_errors: list[Exception] = []
        self.another_epoch: str | None = None
        self._unfollow: Callable[[], None] = lambda: None

    # --- for tests --------------------------------------------------------------------------

    @property
    def away(self) -> bool:
        """Whether the store does not answer this node."""
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        self._watchers.tell()

    @property
    def behind(self) -> bool:
        """Whether this node sees nothing of what is new; afterwards it sees all of it at once."""
        return self._unseen is not None

    @behind.setter
    def behind(self, behind: bool) -> None:
        unseen, self._unseen = self._unseen, [] if behind else None
        for entry in unseen or ():
            self._take(entry)

    def begin_anew(self) -> None:
        """Entries were dropped before this node had seen them."""
        self._stale = True
        self._watchers.tell()

    # --- an EventLog ------------------------------------------------------------------------

    def _take(self, entry: Entry) -> None:
        if self._unseen is not None:
            self._unseen.append(entry)
        elif self._started and not self._stale and entry.offset > self._head:
            self._see(entry)

    def _see(self, entry: Entry) -> None:
        self._head = entry.offset
        self._subjects.wrote(entry.subject, entry.offset)
        self._readers.tell(entry)

    async def open(self) -> None:
        self._unfollow = self._shared.follow(self._take)

    async def start(self, *, after: int = 0, progress: Progress | None = None) -> None:
        self._stale = False
        self._head = after
        self._subjects = Subjects(events_max=self._events_max, forgotten=after)
        for entry in await self._shared.read(after=after, topics=None, limit=10**6):
            self._see(entry)
        self._started = True

    @property
    def available(self) -> bool:
        return not (self._away or self._stale)

    @property
    def reason(self) -> str | None:
        return None if self.available else "the store is away"

    @property
    def takes_at_once(self) -> bool:
        return False  # `before` and `after` may wait

    @property
    def stale(self) -> bool:
        return self._stale

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        return self._watchers.add(watcher)

    @property
    def epoch(self) -> str:
        return self.another_epoch or self._shared.epoch

    @property
    def head(self) -> int:
        return self._head

    @property
    def oldest(self) -> int:
        return self._shared.oldest

    @property
    def events(self) -> int:
        return self._shared.events

    @property
    def bytes(self) -> int:
        return self._shared.bytes

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        if not self.available:
            raise StoreUnavailable("the store is away")
        if self.before is not None:
            await self.before(drafts)
        self._subjects.check(expected or {})
        offset = await self._shared.append(drafts, expected=expected)
        if self.after is not None:
            await self.after(drafts)
        return offset

    async def read(
        self,
        *,
        after: int,
        topics: Iterable[str] | None,
        limit: int,
        until: int | None = None,
        size_max: int | None = None,
    ) -> list[Entry]:
        until = self._head if until is None else min(until, self._head)
        return await self._shared.read(
            after=after, topics=topics, limit=limit, until=until, size_max=size_max
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
        if self._away:
            raise StoreUnavailable("the store is away")
        return await self._shared.time()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        if self.save_errors:
            raise self.save_errors.pop(0)
        self._snapshots.append(snapshot)

    async def load_snapshot(self) -> Snapshot | None:
        return self._snapshots[-1] if self._snapshots else None

    async def close(self) -> None:
        self._unfollow()
        self._readers.clear()
        self._started = False


class NoPulse:
    """A ``Pulse`` in which every signal is lost."""

    async def publish(self, subject: str, body: bytes) -> None:
        pass

    def follow(self, hearer: Hearer) -> Callable[[], None]:
        return lambda: None


class SharedPulse:
    """A ``Pulse`` in this process: every node hears each signal at once, its sender too."""

    def __init__(self) -> None:
        self._hearers: Followers[str, bytes] = Followers()

    async def publish(self, subject: str, body: bytes) -> None:
        self._hearers.tell(subject, body)

    def follow(self, hearer: Hearer) -> Callable[[], None]:
        return self._hearers.add(hearer)


class Node(NamedTuple):
    """One gateway of a cluster, and its way to the log."""

    gateway: Gateway
    engine: Engine
    log: KeptLog

    @property
    def state(self) -> State:
        """What the folds of this node know."""
        return self.engine.parts.state


class Cluster:
    """
    A log, its snapshots, and the nodes on it.

    Args:
        changes: Settings.

    Attributes:
        entries: What the log has accepted, in order.
        snapshots: Those that were saved, in order.
    """

    def __init__(self, **changes: Any) -> None:
        self.clock = VirtualClock()
        self.settings = Settings(**changes)
        self.shared = SharedLog(
            epoch=Ids(self.clock, 99).uuid7(),
            clock=self.clock,
            events_max=self.settings.log_events,
            bytes_max=self.settings.log_bytes,
            age_max_s=self.settings.log_age,
        )
        self.entries: list[Entry] = []
        self.snapshots: list[Snapshot] = []
        self.shared.follow(self.entries.append)
        self._nodes = 0

    def node(
        self,
        declare: Callable[[Gateway], None] = lambda gateway: None,
        clock: Clock | None = None,
        pulse: Pulse | None = None,
    ) -> Node:
        """
        Make a gateway, which does not run yet; see ``until_killed``.

        Args:
            declare: Declares its agents.
            clock: Its own, if it differs from the others'.
            pulse: Its signals to the others; None: every signal is lost.
        """
        self._nodes += 1
        gateway = Gateway(self.settings)
        declare(gateway)
        log = KeptLog(self.shared, self.snapshots, self.settings)
        engine = Engine(
            Parts(
                log=log,
                clock=clock or self.clock,
                ids=Ids(self.clock, self._nodes),
                settings=self.settings,
                agents=gateway.agents,
                durable=True,
                pulse=pulse or NoPulse(),
            )
        )
        gateway.engine = engine
        gateway._running = True
        return Node(gateway, engine, log)

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events, as operators see them."""
        return [orjson.loads(entry.operator) for entry in self.entries]

    def said(self, *types: str, **fields: Any) -> list[dict[str, Any]]:
        """The events of these types with these fields."""
        return [
            event
            for event in self.events
            if event["type"] in types
            and all(event.get(name) == value for name, value in fields.items())
        ]

    async def passing(self, seconds: float) -> None:
        """Let time pass."""
        await self.clock.sleep(seconds)


@contextlib.asynccontextmanager
async def until_killed(engine: Engine) -> AsyncIterator[None]:
    """Run a node, and end it without a goodbye: what SIGKILL leaves."""
    async with engine.running():
        await engine.parts.watch.until_ready()
        yield
