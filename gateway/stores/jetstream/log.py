"""
The durable log: a stream of NATS JetStream, shared by any number of gateway nodes.

The server decides. It takes a message only if the last message of its subject is the one expected,
and it gives each message a sequence, from which ``codec`` makes offsets. A node learns everything
from one ordered consumer, its own writes included, so that every node sees the same entries in the
same order. The server keeps them over a restart: with one replica, all that it has answered for
survives the end of its process; with three, also the loss of one machine.

What the port leaves open:

- ``at`` is the log's time when the message was sent; of a gateway of before, the server's then.
- An append is sent again until it comes back or is refused; its message ids make sure that the
  stream takes it once. At its limit it fails with ``StoreUnavailable`` and ``in_doubt``; if it
  arrives late after all, every node sees it.
- On a stream with several replicas a decision may overtake an append about the same subject that
  has no expectation and is under way at that moment. Of two decisions one always fails.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import StoreUnavailable
from gateway.ports import Clock, Draft, Entry, IdSource, Progress, Reader, Snapshot
from gateway.stores.followers import Followers
from gateway.stores.jetstream.access import NO_ACCESS, Access
from gateway.stores.jetstream.agreed_time import AgreedTime
from gateway.stores.jetstream.codec import sequence_of
from gateway.stores.jetstream.feed import Delivery, Feed
from gateway.stores.jetstream.link import Link, store_away
from gateway.stores.jetstream.pause import pause
from gateway.stores.jetstream.pulse import NatsPulse
from gateway.stores.jetstream.reading import read_stored
from gateway.stores.jetstream.session import FAILURES, ApiError, Session
from gateway.stores.jetstream.snapshots import load_snapshot, save_snapshot
from gateway.stores.jetstream.stream import (
    Bounds,
    StreamState,
    ensure_stream,
    look_at_stream,
    settled_stream,
)
from gateway.stores.jetstream.view import View
from gateway.stores.jetstream.writing import Writer

__all__ = ["JetStreamLog"]

logger = logger_of(__name__)

# How many messages before the snapshot a start reads all the same, for this node's memory: most
# browsers that come back after a restart were no further behind.
_LEAD_MESSAGES = 10_000
# How many chunks of what is older than this node's memory are read at once. Readers take turns.
_READS_MAX = 4
# After how many messages a start reports its progress again.
_PROGRESS_EVERY = 5000
# The pause before a start that failed is tried again, in seconds.
_START_AGAIN_S = 0.1


class JetStreamLog:
    """
    An ``EventLog`` in NATS; see the port for what it guarantees.

    More than eight arguments: each is one setting of the store, with its own flag.

    Args:
        servers: Addresses, ``nats://[user:password@]host:port``; of a cluster one is enough.
        access: Files with credentials and certificates.
        clock: By its monotonic time the log's goes on.
        ids: Gives a new log's name, the ids of messages, and chance.
        events_max: How many messages the stream keeps at the most. This node's memory keeps the end
            of it, see ``view.TAIL_EVENTS_MAX``.
        bytes_max: How many bytes the stream keeps at the most.
        age_max_s: How long an entry is kept at the most, in seconds.
        stream: The stream's name, and the first token of its subjects.
        replicas: How many servers keep the stream: 1, 3 or 5.
        timeout_s: How long a call may last, in seconds.

    Attributes:
        pulse: Signals between the nodes on this stream.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        clock: Clock,
        ids: IdSource,
        events_max: int,
        bytes_max: int,
        age_max_s: float,
        access: Access = NO_ACCESS,
        stream: str = "GATEWAY",
        replicas: int = 1,
        timeout_s: float = 5.0,
    ) -> None:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", stream), stream
        self._stream = stream
        self._time = AgreedTime(stream, clock)
        self._ids = ids
        self._bounds = Bounds(events_max, bytes_max, age_max_s, replicas)
        self._view = View(bounds=self._bounds, steady=self._time.steady)
        self._link = Link(
            servers,
            access=access,
            name=f"gateway {stream}",
            timeout_s=timeout_s,
            prepare=self._prepare,
            look=self._look,
            changed=lambda: self._watchers.tell(),
            chance=ids.random,
        )
        self._writer = Writer(
            stream=stream,
            name=ids.uuid7(),
            link=self._link,
            view=self._view,
            timeout_s=timeout_s,
            refresh=self._ask,
            changed=lambda: self._watchers.tell(),
            written_at=self._time.written_at,
        )
        self._feed: Feed | None = None
        self._started = False
        self._stale: str | None = None
        self._listening = asyncio.Lock()
        self._goal = self._to_read = 0
        self._caught_up = asyncio.Event()
        self._progress: Progress | None = None
        self._watchers: Followers[[]] = Followers()
        self._reads = asyncio.Semaphore(_READS_MAX)
        self.pulse = NatsPulse(stream, session=lambda: self._link.current)

    # --- beginning and ending ---------------------------------------------------------------

    async def open(self) -> None:
        await self._link.open()

    async def start(self, *, after: int = 0, progress: Progress | None = None) -> None:
        self._progress = progress
        begun = listening = False
        while not listening:
            try:
                session = await self._link.session()
                if not begun:
                    await self._begin(session, after)
                    begun = True
                listening = await self._listen(session)
            except (*FAILURES, StoreUnavailable):
                await pause(_START_AGAIN_S)
        # From here on ``_prepare`` gives each new session a feed.
        await self._caught_up.wait()
        while self._stale is None and not await self._time.agreed(self._link.session):
            await pause(_START_AGAIN_S)
        if progress is not None:
            progress(self._to_read, self._to_read)
        self._progress = None
        self._watchers.tell()

    async def close(self) -> None:
        await self._link.close()
        if self._feed is not None:
            await self._feed.close()
            self._feed = None
        self._view.readers.clear()
        self._watchers.clear()

    async def _begin(self, session: Session, after: int) -> None:
        state = await look_at_stream(session, self._stream)
        seen = max(state.first - 1, sequence_of(after) - _LEAD_MESSAGES, 0)
        self._view.begin(epoch=state.epoch, after=seen, followed_after=after, last=state.last)
        self._view.first = state.first
        self._writer.begin(session, last=state.last)
        self._goal = state.last
        self._to_read = max(0, state.last - seen)
        self._stale = None
        self._started = True

    async def _listen(self, session: Session) -> bool:
        """Feed the view over ``session``; False: the session is lost already."""
        async with self._listening:
            if self._feed is not None:
                await self._feed.close()
            self._caught_up.clear()
            self._feed = Feed(
                session,
                self._stream,
                take=self._take,
                idle=self._caught_up.set,
                after=self._view.sequence,
            )
            try:
                await self._feed.open()
            except FAILURES:
                await session.close()  # another server may do better
                raise
            if self._view.sequence >= self._goal:
                self._caught_up.set()
            return not session.lost.done()

    def _take(self, delivery: Delivery) -> None:
        if self._stale is not None:
            return
        view = self._view
        if not view.take(delivery):
            self._begin_anew(f"messages before {delivery.sequence} were dropped unseen")
            return
        if view.sequence >= self._goal:
            self._caught_up.set()
        if self._progress is not None and view.sequence % _PROGRESS_EVERY == 0:
            self._progress(view.sequence - view.begun_after, self._to_read)

    # --- whether the store is there ---------------------------------------------------------

    @property
    def available(self) -> bool:
        return self._link.current is not None and self.reason is None

    @property
    def reason(self) -> str | None:
        return self._link.reason or self._stale or self._writer.stuck

    @property
    def takes_at_once(self) -> bool:
        return False

    @property
    def stale(self) -> bool:
        return self._stale is not None

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        return self._watchers.add(watcher)

    @property
    def foreign(self) -> int:
        """How many messages were skipped because no gateway had written them."""
        return self._view.foreign

    async def _prepare(self, session: Session) -> None:
        """Make sure, over a new session, that the stream is the one that this node knows."""
        state = await ensure_stream(
            session, self._stream, self._bounds, new_epoch=self._ids.uuid7()
        )
        if not self._view.epoch:
            self._view.begin(epoch=state.epoch, after=0, followed_after=0)
        elif state.epoch == self._view.epoch:
            state = await self._settled(session, self._view.sequence)
            if self._started and state.first > self._view.sequence + 1:
                self._begin_anew(f"messages before {state.first} were dropped unseen")
        self._adopt(state)
        self._writer.begin(session, last=state.last)
        await self.pulse.listen(session)
        await self._time.tell(session)
        if self._started:
            await self._listen(session)

    async def _look(self, session: Session) -> None:
        """Ask whether the stream is there, is still the same log, and takes messages."""
        await self._ask(session)
        await self._writer.probe(session)

    async def _ask(self, session: Session) -> None:
        seen = self._view.sequence
        try:
            state = await look_at_stream(session, self._stream)
        except TimeoutError:
            # The answer stands in line behind messages; while these come, the server is there.
            if self._view.sequence == seen:
                raise
            return
        if not state.epoch:
            raise ApiError(0, f"stream {self._stream} is not a gateway's any more")
        if state.epoch == self._view.epoch and state.last < seen:
            raise ApiError(0, f"stream {self._stream} has less than was seen of it")
        self._adopt(state)

    async def _settled(self, session: Session, seen: int) -> StreamState:
        return await settled_stream(session, self._stream, seen=seen, new_epoch=self._ids.uuid7())

    def _adopt(self, state: StreamState) -> None:
        if state.epoch != self._view.epoch:
            self._begin_anew("another log stands in its place", epoch=state.epoch)
            self._view.first = state.first
        else:
            self._view.first = max(self._view.first, state.first)
        self._view.messages, self._view.bytes = state.messages, state.bytes

    def _begin_anew(self, reason: str, *, epoch: str | None = None) -> None:
        """Become stale: followers cannot rely on what they know until ``start`` is called."""
        self._started = False
        self._stale = reason
        self._writer.give_up(reason)
        self._caught_up.set()  # a start that waits ends, and its caller looks at ``stale``
        if epoch is not None:
            self._view.begin(epoch=epoch, after=0, followed_after=0)
            self._time.steady.forget()
        logger.warning("stream %s: the log begins anew: %s", self._stream, reason)
        self._watchers.tell()

    # --- the log ----------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        return self._view.epoch

    @property
    def head(self) -> int:
        return self._view.head

    @property
    def events(self) -> int:
        # A message may hold several entries, and the stream is asked now and then.
        return max(self._view.messages, len(self._view.ring))

    @property
    def bytes(self) -> int:
        return max(self._view.bytes, self._view.ring.size)

    @property
    def oldest(self) -> int:
        return self._view.oldest

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        assert drafts
        if self._stale is not None:
            raise self._away()
        assert self._started, "start it first"
        return await self._writer.append(drafts, expected or {})

    async def read(
        self,
        *,
        after: int,
        topics: Iterable[str] | None,
        limit: int,
        until: int | None = None,
        size_max: int | None = None,
    ) -> list[Entry]:
        view = self._view
        topics = None if topics is None else tuple(topics)
        until = view.head if until is None else min(until, view.head)
        after = max(after, view.oldest - 1)
        found: list[Entry] = []
        # While the stream is read, entries may leave the memory, so that the floor rises.
        while len(found) < limit and after < (floor := min(view.floor, until)):
            left = None if size_max is None else size_max - sum(len(e.public) for e in found)
            stored, after = await self._read_stored(
                after=after, until=floor, topics=topics, limit=limit - len(found), size_max=left
            )
            found += stored
            if after < floor:
                return found
        size = sum(len(entry.public) for entry in found)
        rest = view.ring.read(
            after=after,
            topics=topics,
            limit=limit - len(found),
            until=until,
            size_max=None if size_max is None else size_max - size,
        )
        # The ring gives at least one entry, which is too many when the stream gave some already.
        if found and rest and size_max is not None and size + len(rest[0].public) > size_max:
            return found
        return found + rest

    async def scan(
        self, *, after: int, topics: Iterable[str] | None, limit: int
    ) -> tuple[list[Entry], int | None]:
        view = self._view
        after = max(after, view.oldest - 1)
        head = view.head
        floor = min(view.floor, head)
        if after < floor:
            found, after = await self._read_stored(
                after=after, until=floor, topics=topics, limit=limit, looks_max=limit
            )
            return found, after if after < head else None
        found = view.ring.read(after=after, topics=topics, limit=limit, until=head, size_max=None)
        return found, found[-1].offset if len(found) == limit else None

    async def _read_stored(self, **which: Any) -> tuple[list[Entry], int]:
        """See ``read_stored``."""
        session = await self._link.session()
        try:
            found = await read_stored(
                session,
                self._stream,
                entries_of=self._view.entries_of,
                turn=self._reads,
                **which,
            )
            # Entries that were dropped meanwhile show in ``oldest``, which readers compare.
            await self._ask(session)
        except FAILURES as error:
            raise self._away() from error
        return found

    def last_offset(self, subject: str) -> int:
        return self._view.subjects.last(subject)

    def follow(self, reader: Reader) -> Callable[[], None]:
        return self._view.readers.add(reader)

    def _away(self) -> StoreUnavailable:
        if self._stale is not None:
            return store_away(self._stale)
        return self._link.away()

    async def time(self) -> float:
        if not self._time.steady.known:
            raise self._away()
        return self._time.steady.now()

    # --- snapshots --------------------------------------------------------------------------

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        # Taken before the wait, after which another log may stand in the place of this one.
        epoch = self._view.epoch
        session = await self._link.session()
        try:
            await save_snapshot(
                session,
                self._stream,
                epoch=epoch,
                snapshot=snapshot,
                replicas=self._bounds.replicas,
                id=self._ids.uuid7(),
            )
        except FAILURES as error:
            raise self._away() from error

    async def load_snapshot(self) -> Snapshot | None:
        session = await self._link.session()
        epoch = self._view.epoch
        try:
            snapshot = await load_snapshot(session, self._stream, epoch=epoch)
            if snapshot is not None:
                # A stream that ends before its own snapshot has lost its last messages.
                self._adopt(await self._settled(session, sequence_of(snapshot.offset)))
        except FAILURES as error:
            raise self._away() from error
        return snapshot if self._view.epoch == epoch else None
