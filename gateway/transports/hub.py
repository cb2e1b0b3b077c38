"""
The hub: feeds every connection from the log, so that a slow connection slows no other one.

A connection is a position, not a queue. A follower at the head gets what is new in one write per
turn of the loop; frames are made once per audience. A follower with too many unsent bytes falls
behind: it keeps its position and reads on from the log when its socket has room. Either way its
offsets grow, none is missing, none comes twice. When the log no longer keeps what a follower
needs, the follower gets a ``gap``.

What must stay true: a follower is live only if every event for it up to ``log.head`` is in its
sink or in ``_fresh``. There is no await between checking that and making the follower live.
"""

from __future__ import annotations

import asyncio
import collections
import math
from collections.abc import Callable, Iterable, Sequence

from gateway.domain.diagnostics import logger_of
from gateway.domain.meters import Meters
from gateway.domain.settings import Settings
from gateway.domain.timestamps import rfc3339
from gateway.execution.service import Connections
from gateway.ports import Clock, Entry, EventLog, IdSource
from gateway.protocol.codes import CloseCode
from gateway.transports.follower import Audience, Follower
from gateway.transports.news import Batch, news
from gateway.transports.sink import Sink

__all__ = ["Hub"]

# How many entries a follower that is behind reads from the log before other tasks have a turn.
READ_ENTRIES_MAX = 512

# How often the hub looks after its followers (stalls, heartbeats, limits): four times within the
# shortest limit, and within these bounds, in seconds.
LOOKS_PER_LIMIT = 4
LOOK_S_MIN, LOOK_S_MAX = 0.02, 1.0

# At shutdown each client is told to reconnect after RESTART_S plus a random part of
# RECONNECT_SPREAD_S, in seconds, so that not all clients reach the next process at once.
RESTART_S = 1.0
RECONNECT_SPREAD_S = 5.0

logger = logger_of(__name__)


class Hub:
    """
    All connections of this process.

    Args:
        log: The log that the followers read.
        clock: The time.
        ids: Random numbers, to spread reconnects.
        settings: ``send_bytes``, ``stall_timeout`` and the limits of connections.
        lag_wait_s: How long this node may take to reach an offset that a client has seen on
            another node, in seconds; 0 with a log that is never behind.
        count: Where the number of connections is told; None: nowhere.
        meters: Where it is measured how late events are written; None: nowhere.
        log_time: Tells the log's time; None: ``clock`` does.

    Attributes:
        deliveries: Events written, counted once per connection.
        gaps: Gaps told.
        slow_freed: Connections ended because their socket accepted nothing.
        resumes: Verdict → number: ``recovered``, ``refused``, ``behind``.
        draining: Whether this process is about to end and takes no new connections.
        running: Whether ``run`` follows the log.
        look_s: How often the hub looks after its followers, in seconds.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        ids: IdSource,
        settings: Settings,
        *,
        lag_wait_s: float = 0.0,
        count: Connections | None = None,
        meters: Meters | None = None,
        log_time: Callable[[], float] | None = None,
    ) -> None:
        self.log = log
        self.settings = settings
        self.lag_wait_s = lag_wait_s
        self._count = count or Connections()
        self._meters = meters or Meters()
        self._log_time = log_time or clock.wall
        self.deliveries = 0
        self.gaps = 0
        self.slow_freed = 0
        self.resumes: collections.Counter[str] = collections.Counter()
        self.draining = False
        self.running = False
        self._started = asyncio.Event()
        self._clock = clock
        self._chance = ids.random
        self._fresh: list[Entry] = []
        self._followers: dict[Follower, None] = {}
        self._by_topic: dict[str, dict[Follower, None]] = {}
        self._readers: set[asyncio.Task[None]] = set()
        # A follower reads on from the log only while its sink holds at most this much. The sink
        # calls back when it has fallen to it.
        self._room_bytes = settings.send_bytes // 2
        limits = (
            settings.stall_timeout,
            settings.heartbeat_interval,
            settings.client_timeout,
            settings.connect_timeout,
        )
        self.look_s = max(LOOK_S_MIN, min(LOOK_S_MAX, min(limits) / LOOKS_PER_LIMIT))

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._followers)

    @property
    def full(self) -> bool:
        """Whether there are as many connections as ``max_connections`` allows."""
        most = self.settings.max_connections
        return bool(most) and len(self._followers) >= most

    @property
    def followers(self) -> Sequence[Follower]:
        """The followers that are connected now."""
        return tuple(self._followers)

    async def run(self) -> None:
        """Feed and look after the followers until cancelled; no task of the hub outlives it."""
        unfollow = self.log.follow(self._take)
        unwatch = self.log.watch(self._log_changed)
        self.running = True
        self._started.set()
        try:
            while True:
                await self._clock.sleep(self.look_s)
                self._look(self._clock.monotonic())
        finally:
            self.running = False
            self._started.clear()
            unfollow()
            unwatch()
            for reader in tuple(self._readers):
                reader.cancel()
            await asyncio.gather(*self._readers, return_exceptions=True)

    async def wait_running(self) -> None:
        """Wait until ``run`` follows the log."""
        await self._started.wait()

    def drain(self, reason: str) -> None:
        """Tell each client that this process ends and when to reconnect; accept no new one."""
        self.draining = True
        self.flush()
        for follower in self._followers:
            wait_s = RESTART_S + self._chance() * RECONNECT_SPREAD_S
            reconnect_at = rfc3339(self._log_time() + wait_s)
            follower.tell("drain", {"reconnect_at": reconnect_at, "reason": reason})

    async def end(self, *, limit_s: float) -> None:
        """Close every connection, wait up to ``limit_s`` for answers, then abort the rest."""
        self.flush()
        for follower in self._followers:
            follower.sink.close(CloseCode.restarting, "restarting")
        until = self._clock.monotonic() + limit_s
        while self._followers and self._clock.monotonic() < until:
            await self._clock.sleep(LOOK_S_MIN)
        for follower in tuple(self._followers):
            follower.sink.abort()
            self.leave(follower)

    # --- coming and going -----------------------------------------------------------------

    def join(self, sink: Sink, audience: Audience) -> Follower:
        """Add a connection, which follows no topic yet."""
        sink.set_room(self._room_bytes)
        follower = Follower(sink, audience, now=self._clock.monotonic())
        self._followers[follower] = None
        self._count.now = len(self._followers)
        return follower

    def leave(self, follower: Follower) -> None:
        """Remove a connection; a second call does nothing."""
        if not follower.gone:
            self._unindex(follower)
            del self._followers[follower]
            self._count.now = len(self._followers)
            follower.end()

    def follow(self, follower: Follower, topics: Iterable[str], *, after: int) -> None:
        """
        Let a follower hear ``topics`` from ``after`` on.

        Args:
            follower: A follower that has joined.
            topics: Topics that it may see.
            after: An offset up to the head; exactly the head if it follows a topic already.
        """
        self.flush()
        if not follower.topics:
            follower.position = after
            follower.replay_until = self.log.head
        assert not follower.topics or after == self.log.head
        self._unindex(follower)
        follower.follow(topics, after=after)
        self._place(follower)

    def unfollow(self, follower: Follower, topics: Iterable[str]) -> None:
        """Stop feeding a follower from ``topics``."""
        self.flush()
        self._unindex(follower)
        follower.unfollow(topics)
        self._place(follower)

    def readdress(self, follower: Follower, audience: Audience) -> None:
        """Change a follower's audience; entries accepted before go out for the old one."""
        self.flush()
        follower.audience = audience

    def _place(self, follower: Follower) -> None:
        """Make a follower live if it is at the head, otherwise let it read on."""
        if follower.live or (follower.catching_up is None and follower.position == self.log.head):
            follower.live = True
            self._index(follower)
        elif follower.catching_up is None:
            self._read_on(follower)

    def _index(self, follower: Follower) -> None:
        for topic in follower.index_topics():
            self._by_topic.setdefault(topic, {})[follower] = None

    def _unindex(self, follower: Follower) -> None:
        for topic in follower.index_topics():
            others = self._by_topic.get(topic)
            if others is not None:
                others.pop(follower, None)
                if not others:
                    del self._by_topic[topic]

    # --- at the head ----------------------------------------------------------------------

    def _take(self, entry: Entry) -> None:
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self.flush)
        self._fresh.append(entry)

    def told(self, follower: Follower) -> int:
        """Give the offset up to which a follower has been told everything that concerns it."""
        if not follower.live:
            return follower.position
        self.flush()
        # The flush may have found that it has too much unsent.
        return self.log.head if follower.live else follower.position

    def flush(self) -> None:
        """Write what is new to every live follower, in one write for each."""
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return
        send_bytes, room_bytes = self.settings.send_bytes, self._room_bytes
        # Batch → to how many it went: an addition for each connection is what measuring costs.
        written: dict[Batch, int] = {}
        for follower, batch in news(fresh, self._by_topic):
            # `Follower.write` stands here written out: this runs once per socket and turn.
            sink = follower.sink
            unsent = sink.unsent()
            if unsent + batch.size > send_bytes and (batch.count > 1 or unsent > room_bytes):
                self._fall_behind(follower, batch.start - 1)
                continue
            follower.written += batch.size
            self.deliveries += batch.count
            written[batch] = written.get(batch, 0) + 1
            try:
                sink.write(batch.data)
            except Exception:
                logger.exception("a sink broke; its connection is ended", extra=follower.ids)
                sink.abort()
        self._measure((batch.entries, number) for batch, number in written.items())

    def _measure(self, written: Iterable[tuple[Sequence[Entry], int]]) -> None:
        """
        Measure how late the entries were that have just been written.

        One look at the clock, after the last of them: no delivery seems quicker than it was.

        Args:
            written: Entries, and to how many connections each of them went.
        """
        # Time of acceptance → how often: what was appended together is as late.
        accepted: dict[float, int] = {}
        for entries, number in written:
            for entry in entries:
                at = entry.at
                accepted[at] = accepted.get(at, 0) + number
                if entry.type == "agent_error":
                    self._meters.told(entry.subject, self._clock.monotonic())
        now = self._log_time()
        for at, number in accepted.items():
            self._meters.delivery.observe(now - at, number)

    # --- behind ---------------------------------------------------------------------------

    def _fall_behind(self, follower: Follower, position: int) -> None:
        self._unindex(follower)
        follower.live = False
        follower.position = max(follower.position, position)
        self._read_on(follower)

    def _read_on(self, follower: Follower) -> None:
        assert not follower.live
        reader = asyncio.create_task(self._catch_up(follower))
        follower.catching_up = reader
        # `run` cancels these tasks at its end.
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _catch_up(self, follower: Follower) -> None:
        try:
            while not follower.gone and not await self._read_chunk(follower):
                # The log may answer without waiting; other tasks need a turn all the same.
                await self._clock.sleep(0)
        except Exception:
            logger.exception("reading on failed; the connection is ended", extra=follower.ids)
            follower.sink.abort()
        finally:
            follower.catching_up = None

    async def _read_chunk(self, follower: Follower) -> bool:
        """Write one chunk; return True once the follower is at the head and live."""
        await follower.wait_room(self._room_bytes)
        if follower.gone:
            return False
        self._tell_gap(follower)
        after, head = follower.position, self.log.head
        entries = await self.log.read(
            after=after,
            topics=follower.read_topics(),
            limit=READ_ENTRIES_MAX,
            until=head,
            size_max=self._room_bytes // 2,
        )
        if follower.gone or self.log.oldest - 1 > after:
            return False
        # `wants` passes over topics that were added during the read: they begin after `head`.
        wanted = [entry for entry in entries if follower.wants(entry)]
        if wanted:
            follower.write(b"".join([follower.audience.frame(entry) for entry in wanted]))
            self.deliveries += len(wanted)
            # What was replayed is as old as its reader was away; what came since is late by us.
            late = [entry for entry in wanted if entry.offset > follower.replay_until]
            self._measure([(late, 1)])
        follower.position = entries[-1].offset if entries else head
        if follower.position < head or head != self.log.head:
            return False
        self.flush()
        follower.live = True
        self._index(follower)
        return True

    def _tell_gap(self, follower: Follower) -> None:
        oldest = self.log.oldest
        if follower.position < oldest - 1:
            self.gaps += 1
            follower.tell("gap", {"from": follower.position + 1, "to": oldest - 1})
            follower.position = oldest - 1

    # --- looking after --------------------------------------------------------------------

    def _log_changed(self) -> None:
        if self.log.stale:
            # The offsets that clients have belong to another epoch. Each client reconnects and
            # learns from its next subscription where it stands.
            for follower in tuple(self._followers):
                follower.sink.close(CloseCode.epoch_changed, "the log begins anew")
            return
        # The store is away, or back, and every client hears of it with a heartbeat. Other
        # watchers of the log may be called after the hub, so the heartbeats wait for the next
        # turn of the loop.
        for follower in self._followers:
            follower.due = -math.inf
        asyncio.get_running_loop().call_soon(self._look_now)

    def _look_now(self) -> None:
        self._look(self._clock.monotonic())

    def _look(self, now: float) -> None:
        for follower in tuple(self._followers):
            unsent = follower.sink.unsent()
            if unsent:
                accepted = follower.written - unsent
                if accepted > follower.accepted:
                    follower.accepted, follower.accepted_at = accepted, now
                elif now - follower.accepted_at >= self.settings.stall_timeout:
                    self._free(follower)
                    continue
                if follower.writable is not None and unsent <= self._room_bytes:
                    follower.wake()
            else:
                follower.accepted, follower.accepted_at = follower.written, now
            if follower.due <= now:
                self._call_due(follower, now)

    def _call_due(self, follower: Follower, now: float) -> None:
        try:
            follower.due = follower.on_due(now)
        except Exception:
            logger.exception("looking after a connection failed; it is ended", extra=follower.ids)
            follower.sink.abort()
            self.leave(follower)

    def _free(self, follower: Follower) -> None:
        self.slow_freed += 1
        logger.info(
            "a connection accepted nothing for %s s, it is ended",
            self.settings.stall_timeout,
            extra=follower.ids,
        )
        # The close frame rarely gets through a socket that accepts nothing.
        follower.sink.close(CloseCode.too_slow, "too slow")
        follower.sink.abort()
        self.leave(follower)
