"""
The hub over sinks that take what a test lets them take: no gap, no double, no waiting for others.

The real sockets are in ``test_delivery.py``; here every interleaving is cheap.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app.clock import RandomIds
from gateway.domain.events import listening, topics_of
from gateway.domain.meters import Histogram, Meters
from gateway.domain.settings import Settings
from gateway.ports import Draft, Entry
from gateway.protocol.codes import CloseCode
from gateway.stores.memory import MemoryLog
from gateway.transports.follower import Audience, Follower, WebSocketForm
from gateway.transports.hub import Hub
from tests.transports.entries import CountedForm
from tests.transports.sinks import HandSink, ManualClock, settle

FORM = WebSocketForm()
PUBLIC = Audience(FORM, operator=False, types=None)
OPERATORS = Audience(FORM, operator=True, types=None)


class WaitingLog(MemoryLog):
    """
    A log that takes its time to answer, as one behind a network would, and may fail.

    Attributes:
        waits: Turns of the loop that a read takes, before it looks and after.
        broken: Whether reads fail.
        anew: Whether another log stands in its place.
    """

    waits = 0
    broken = False
    anew = False
    watcher: Callable[[], None]

    @property
    def stale(self) -> bool:
        return self.anew

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        self.watcher = watcher
        return lambda: None

    async def read(self, **asked: Any) -> list[Entry]:
        await settle(self.waits)
        if self.broken:
            raise ZeroDivisionError
        entries = await super().read(**asked)
        await settle(self.waits)
        return entries


@dataclasses.dataclass
class Bench:
    hub: Hub
    log: WaitingLog
    clock: ManualClock
    meters: Meters

    async def append(self, user: str = "ann", size: int = 0, **fields: Any) -> int:
        event = {"type": "notification", "user_id": user, "pad": "x" * size, **fields}
        return await self.log.append(
            [
                Draft(
                    subject="event/1",
                    type=event["type"],
                    topics=topics_of(event),
                    operators_only=fields.get("type") == "lease_changed",
                    body=orjson.dumps(event),
                )
            ]
        )

    def follow(
        self,
        *topics: str,
        after: int | None = None,
        sink: HandSink | None = None,
        audience: Audience = PUBLIC,
    ) -> tuple[Follower, HandSink]:
        sink = sink or HandSink()
        follower = self.hub.join(sink, audience)
        self.hub.follow(follower, topics, after=self.log.head if after is None else after)
        return follower, sink

    async def all_live(self) -> None:
        """Wait until every follower is at the head and has what is new."""
        for _ in range(10_000):
            await settle(1)
            if all(follower.live for follower in self.hub.followers):
                await settle(2)
                return
        raise AssertionError("a follower stays behind")


@contextlib.asynccontextmanager
async def bench(*, log_events: int = 1000, **changes: Any) -> AsyncIterator[Bench]:
    clock = ManualClock()
    settings = Settings(**changes)
    log = WaitingLog(
        epoch="e", clock=clock, events_max=log_events, bytes_max=10**9, age_max_s=10.0**6
    )
    meters = Meters()
    hub = Hub(log, clock, RandomIds(), settings, meters=meters)
    running = asyncio.create_task(hub.run())
    await hub.wait_running()
    try:
        yield Bench(hub, log, clock, meters)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


# --- at the head ----------------------------------------------------------------------------


async def test_the_events_of_one_turn_are_one_write_for_each_socket() -> None:
    async with bench() as it:
        _, sink = it.follow("user:ann")
        for _ in range(5):
            await it.append()
        await settle()
        assert sink.offsets() == [1, 2, 3, 4, 5]
        assert sink.writes == 1
        assert it.hub.deliveries == 5


async def test_a_frame_is_made_once_for_each_audience() -> None:
    form = CountedForm()
    users = Audience(form, operator=False, types=None)
    operators = Audience(form, operator=True, types=None)
    async with bench() as it:
        for _ in range(3):
            it.follow("user:ann", audience=users)
            it.follow("user:ann", "system", audience=operators)
        await it.append()
        await settle()
    assert form.made == [1, 1]


async def test_a_broken_sink_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as it:
        _, broken = it.follow("user:ann")
        _, sound = it.follow("user:ann")

        def fail(data: bytes) -> None:
            raise RuntimeError("the handle is closed")

        broken.write = fail  # type: ignore[method-assign]  # that is the failure
        await it.append()
        await settle()
        assert sound.offsets() == [1]
        assert broken.aborted
    assert "a sink broke" in caplog.text


async def test_an_unfollowed_topic_costs_nothing() -> None:
    async with bench() as it:
        follower, _ = it.follow("user:ann", "task:t")
        it.hub.unfollow(follower, ["user:ann", "task:t"])
        it.hub.leave(follower)
        it.hub.leave(follower)
        assert not it.hub._by_topic
        assert it.hub.connections == 0


# --- behind ---------------------------------------------------------------------------------


async def test_a_slow_reader_falls_behind_alone_and_catches_up() -> None:
    async with bench(send_bytes=4000) as it:
        _, slow = it.follow("user:ann", sink=HandSink(accepts=0))
        _, quick = it.follow("user:ann")
        for _ in range(100):
            await it.append(size=100)
            await settle(2)
        assert quick.offsets() == list(range(1, 101))
        assert slow.offsets() == []
        assert slow.most_unsent <= 4000
        for _ in range(200):
            slow.accept(500)
            await settle(3)
        assert slow.offsets() == list(range(1, 101))
        slow.accept(math.inf)
        await it.all_live()
        await it.append()
        await settle()
        assert slow.offsets()[-1] == 101


async def test_one_event_over_the_bound_still_goes_out() -> None:
    async with bench(send_bytes=1000) as it:
        _, sink = it.follow("user:ann")
        await it.append(size=5000)
        await it.append(size=10)
        await settle()
        assert sink.offsets() == [1, 2]


async def test_a_follower_that_falls_behind_what_is_kept_is_told_the_gap() -> None:
    async with bench(send_bytes=2000, log_events=10) as it:
        _, slow = it.follow("user:ann", sink=HandSink(accepts=0))
        for _ in range(100):
            await it.append(size=200)
            await settle(2)
        slow.accept(math.inf)
        await it.all_live()
        frames = slow.frames()
        (gap,) = [frame for frame in frames if frame.get("method") == "gap"]
        before = [frame["offset"] for frame in frames[: frames.index(gap)]]
        after = [frame["offset"] for frame in frames[frames.index(gap) + 1 :]]
        assert gap["params"] == {"from": before[-1] + 1, "to": after[0] - 1}
        assert before == list(range(1, before[-1] + 1))
        assert after == list(range(after[0], 101))
        assert it.hub.gaps == 1


async def test_a_socket_that_accepts_nothing_is_freed_and_a_slow_one_is_not() -> None:
    async with bench(send_bytes=2000, stall_timeout=5.0) as it:
        _, dead = it.follow("user:ann", sink=HandSink(accepts=0))
        _, slow = it.follow("user:ann", sink=HandSink(accepts=0))
        for _ in range(50):
            await it.append(size=100)
            await settle(2)
        for _ in range(6):
            slow.accept(1)
            await it.clock.advance(1.0)
        assert dead.aborted
        assert not slow.aborted
        assert it.hub.slow_freed == 1
        assert it.hub.connections == 1


async def test_topics_added_while_behind_begin_at_their_reply() -> None:
    async with bench(send_bytes=2000) as it:
        follower, sink = it.follow("user:ann", sink=HandSink(accepts=0))
        await it.append("bob")
        for _ in range(30):
            await it.append(size=200)
            await settle(2)
        await it.append("bob")
        head = it.log.head
        it.hub.follow(follower, ["user:bob"], after=head)
        await it.append("bob")
        sink.accept(math.inf)
        await it.all_live()
        assert sink.offsets() == [*range(2, 32), head + 1]


async def test_an_event_that_a_reader_has_read_before_the_flush_is_not_written_twice() -> None:
    """The reader wakes up before the flush of the same turn, and has read what it would bring."""
    async with bench(send_bytes=2000) as it:
        follower, sink = it.follow("user:ann", sink=HandSink(accepts=0))
        while not it.log.head or follower.live:
            await it.append(size=100)
            await settle()
        sink.accept(math.inf)
        last = await it.append()
        await settle()
        assert sink.offsets() == list(range(1, last + 1))


async def test_an_event_that_is_not_flushed_yet_is_not_for_a_topic_that_is_added_after_it() -> None:
    async with bench() as it:
        follower, sink = it.follow("user:ann")
        await it.append("bob")
        it.hub.follow(follower, ["user:bob"], after=it.log.head)
        await it.append("bob")
        await settle()
        assert sink.offsets() == [2]


async def test_draining_tells_each_client_its_own_time() -> None:
    async with bench() as it:
        sinks = [it.follow("user:ann")[1] for _ in range(20)]
        it.hub.drain("shutdown")
        times = {sink.frames()[0]["params"]["reconnect_at"] for sink in sinks}
        assert len(times) > 10


async def test_a_clients_rights_change_between_two_events() -> None:
    """What was accepted before goes out under the old rights, though it was not written yet."""
    async with bench() as it:
        follower, sink = it.follow("user:ann", audience=OPERATORS)
        await it.append(type="lease_changed")
        it.hub.readdress(follower, PUBLIC)
        await it.append(type="lease_changed")
        await it.append()
        await settle()
        assert sink.offsets() == [1, 3]


# --- how late it was ------------------------------------------------------------------------


def within(measured: Histogram) -> dict[float, int]:
    """How many values each bucket has, its own only; empty ones are left out."""
    counts = itertools.pairwise([(0.0, 0), *measured.cumulative()])
    return {bound: upto - before for (_, before), (bound, upto) in counts if upto - before}


async def test_a_live_event_is_measured_for_each_connection_from_its_acceptance() -> None:
    async with bench() as it:
        for _ in range(3):
            it.follow("user:ann")
        it.follow("user:bob")
        await it.append()
        await it.append()
        it.clock.now += 0.5
        await settle()
        assert within(it.meters.delivery) == {0.5: 6}
        assert it.meters.delivery.sum == pytest.approx(3.0)


async def test_what_a_slow_reader_gets_late_is_measured_and_what_it_replays_is_not() -> None:
    async with bench(send_bytes=2000) as it:
        for _ in range(3):
            await it.append()
        it.clock.now += 400
        follower, sink = it.follow("user:ann", after=0)
        await it.all_live()
        assert sink.offsets() == [1, 2, 3]
        assert within(it.meters.delivery) == {}
        sink.accepts = 0
        while follower.live:
            await it.append(size=500)
            await settle()
        in_time = sum(within(it.meters.delivery).values())
        it.clock.now += 3
        sink.accept(math.inf)
        await it.all_live()
        late = len(sink.offsets()) - 3 - in_time
        assert in_time > 0
        assert late > 0
        assert within(it.meters.delivery) == {0.001: in_time, 5.0: late}


async def test_the_news_of_a_failure_is_measured_once_from_its_detection() -> None:
    async with bench() as it:
        it.meters.detected("event/1", 1, it.clock.now)
        it.clock.now += 2
        it.follow("user:eve")
        await it.append(type="agent_error")
        await settle()
        assert within(it.meters.detection) == {}  # nobody was told
        for _ in range(2):
            it.follow("user:ann")
        await it.append()
        await it.append(type="agent_error")
        await it.append(type="agent_error")
        await settle()
        assert within(it.meters.detection) == {2.5: 1}


async def test_a_log_that_fails_ends_the_connection_that_read_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench() as it:
        await it.append()
        it.log.broken = True
        _, behind = it.follow("user:ann", after=0)
        _, live = it.follow("user:ann")
        await settle()
        assert (behind.aborted, live.aborted) == (True, False)
    assert "reading on failed" in caplog.text


async def test_a_client_that_leaves_while_its_events_are_read_gets_none() -> None:
    async with bench() as it:
        it.log.waits = 3
        await it.append()
        follower, sink = it.follow("user:ann", after=0)
        await settle(4)
        it.hub.leave(follower)
        await settle()
        assert sink.received == b""


async def test_a_log_in_place_of_another_closes_every_connection_to_come_back() -> None:
    """Offsets of the one say nothing in the other: each client subscribes again and is told."""
    async with bench() as it:
        sinks = [it.follow("user:ann")[1] for _ in range(2)]
        it.log.anew = True
        it.log.watcher()
        assert [sink.closed for sink in sinks] == [CloseCode.epoch_changed] * 2


# --- what is due ----------------------------------------------------------------------------


async def test_a_follower_is_called_when_it_is_due_and_not_before() -> None:
    async with bench() as it:
        follower, _ = it.follow("user:ann")
        called: list[float] = []

        def look(now: float) -> float:
            called.append(now)
            return now + 10.0

        follower.on_due, follower.due = look, it.clock.now + 5.0
        await it.clock.advance(5.0 - it.hub.look_s)
        assert called == []
        await it.clock.advance(2 * it.hub.look_s)
        assert len(called) == 1
        await it.clock.advance(8.0)
        assert len(called) == 1


async def test_a_change_of_the_store_makes_every_follower_due_in_the_next_turn() -> None:
    """Not at once: another watcher of the log may not have heard of it yet."""
    async with bench() as it:
        follower, _ = it.follow("user:ann")
        called: list[float] = []

        def look(now: float) -> float:
            called.append(now)
            return math.inf

        follower.on_due = look
        it.log.watcher()
        assert called == []
        await settle(2)
        assert called == [it.clock.now]


async def test_a_follower_whose_look_fails_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as it:
        follower, sink = it.follow("user:ann")
        it.follow("user:ann")

        def fail(now: float) -> float:
            raise ZeroDivisionError

        follower.on_due, follower.due = fail, 0.0
        await it.clock.advance(it.hub.look_s)
        assert sink.aborted
        assert it.hub.connections == 1
    assert "looking after a connection failed" in caplog.text


async def test_the_bound_of_connections_is_reached_with_the_last_one() -> None:
    async with bench(max_connections=2) as it:
        it.follow("user:ann")
        assert not it.hub.full
        it.follow("user:ann")
        assert it.hub.full


# --- the end --------------------------------------------------------------------------------


async def test_at_the_end_what_is_new_goes_out_before_the_close() -> None:
    """A peer that does not answer the close within the limit is aborted."""
    async with bench() as it:
        polite, sink = it.follow("user:ann")
        _, silent = it.follow("user:ann")
        await it.append()
        ending = asyncio.create_task(it.hub.end(limit_s=2.0))
        await settle()
        assert (sink.offsets(), sink.closed) == ([1], CloseCode.restarting)
        it.hub.leave(polite)
        await it.clock.advance(1.9)
        assert not silent.aborted
        await it.clock.advance(0.2)
        await ending
        assert (sink.aborted, silent.aborted) == (False, True)
        assert it.hub.connections == 0


async def test_the_end_waits_no_longer_than_the_last_peer() -> None:
    async with bench() as it:
        follower, _ = it.follow("user:ann")
        ending = asyncio.create_task(it.hub.end(limit_s=2.0))
        await settle()
        it.hub.leave(follower)
        await it.clock.advance(0.1)
        assert ending.done()


# --- every interleaving ---------------------------------------------------------------------

USERS = ("ann", "bob")
READERS = st.integers(0, 2)
SIZES = st.sampled_from([0, 40, 300])
ACTIONS = st.one_of(
    st.tuples(st.just("append"), st.sampled_from([*USERS, "*", "eve"]), SIZES),
    st.tuples(st.just("burst"), st.integers(1, 12), SIZES),
    st.tuples(st.just("accept"), READERS, st.sampled_from([30, 400, 3000, math.inf])),
    st.tuples(st.just("cut"), READERS, st.booleans()),
    st.tuples(st.just("also"), READERS, st.sampled_from(USERS)),
)
# Each action, and how many turns of the loop pass before the next one.
STEPS = st.lists(st.tuples(ACTIONS, st.integers(0, 4)), max_size=60)


class Reader:
    """A client that remembers its position, and judges what it gets."""

    def __init__(self, it: Bench, topics: tuple[str, ...], *, accepts: float) -> None:
        self.it = it
        self.accepts = accepts
        self.topics = dict.fromkeys(topics, 0)
        self.position = 0
        self.seen: list[int] = []
        self.missed: set[int] = set()
        self.connect()

    def connect(self) -> None:
        self.sink = HandSink(self.accepts)
        self.follower = self.it.hub.join(self.sink, PUBLIC)
        # What a refused resume is told; it goes on at the head.
        if self.position < self.it.log.oldest - 1:
            self.missed |= set(range(self.position + 1, self.it.log.head + 1))
            self.position = self.it.log.head
        self.it.hub.follow(self.follower, list(self.topics), after=self.position)

    def collect(self) -> None:
        for frame in self.sink.frames():
            if "type" in frame:
                assert frame["offset"] > self.position
                self.position = frame["offset"]
                self.seen.append(frame["offset"])
            else:
                assert frame["method"] == "gap"
                assert frame["params"]["from"] > self.position
                self.missed |= set(range(frame["params"]["from"], frame["params"]["to"] + 1))
                self.position = frame["params"]["to"]
        self.sink.keep_rest()

    def cut(self) -> None:
        self.collect()
        self.it.hub.leave(self.follower)
        self.connect()

    def also(self, topic: str) -> None:
        if topic not in self.topics:
            self.topics[topic] = self.it.log.head
            self.it.hub.follow(self.follower, [topic], after=self.it.log.head)


@given(steps=STEPS, keeps=st.sampled_from([5, 40, 1000]), waits=st.integers(0, 1))
async def test_no_interleaving_loses_or_doubles_an_event(
    steps: list[Any], keeps: int, waits: int
) -> None:
    """Rule 5 of the contract: offsets grow, none is missing that no gap told, none twice."""
    async with bench(send_bytes=1000, log_events=keeps) as it:
        it.log.waits = waits
        readers = [
            Reader(it, ("user:ann",), accepts=math.inf),
            Reader(it, ("user:ann", "task:t"), accepts=0),
            Reader(it, ("*",), accepts=1000),
        ]
        entries: dict[int, frozenset[str]] = {}
        it.log.follow(lambda entry: entries.update({entry.offset: frozenset(entry.topics)}))
        late: list[dict[str, int]] = [{}, {}, {}]
        for (name, one, two), turns in steps:
            await settle(turns)
            if name == "append":
                await it.append(one, size=two)
            elif name == "burst":
                for _ in range(one):
                    await it.append("ann", size=two, task_id="t")
            elif name == "accept":
                readers[one].sink.accept(two)
                # A frame cut in the middle stays in the sink's own bytes until it is whole.
            elif name == "cut":
                # Cut with what is unsent lost, or after it all arrived.
                if two:
                    readers[one].sink.accept(math.inf)
                if not late[one]:
                    readers[one].cut()
            elif "*" not in readers[one].topics and f"user:{two}" not in readers[one].topics:
                readers[one].also(f"user:{two}")
                late[one][f"user:{two}"] = it.log.head
        for reader in readers:
            reader.sink.accept(math.inf)
        await it.all_live()
        for reader, later in zip(readers, late, strict=True):
            reader.collect()
            first = dict.fromkeys(listening(set(reader.topics) - later.keys()), 0)
            for topic in listening(later):
                first.setdefault(topic, min(later.values()))
            first |= later
            wanted = [
                offset
                for offset, topics in sorted(entries.items())
                if "*" in first or any(offset > first.get(topic, math.inf) for topic in topics)
            ]
            assert [o for o in wanted if o not in reader.missed] == [
                o for o in reader.seen if o not in reader.missed
            ]
            assert set(reader.seen) <= set(wanted)
            assert reader.seen == sorted(set(reader.seen))
