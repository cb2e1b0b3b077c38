"""The log in NATS JetStream: the contract over a real server, and everything that can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import orjson
import pytest

from gateway.app.clock import RandomIds, SystemClock
from gateway.domain.errors import (
    ConfigurationError,
    ExpectationFailed,
    StoreUnavailable,
    TooLarge,
)
from gateway.ports import Draft, Entry, EventLog, Pulse, Snapshot
from gateway.stores.jetstream import JetStreamLog
from gateway.stores.jetstream_codec import SLOTS
from gateway.stores.jetstream_session import Session
from tests.nats import NatsServer, free_ports, nats_cluster, nats_server
from tests.scenarios.harness import SOAK, times
from tests.scenarios.proxy import Proxy
from tests.stores.contract import Clock, EventLogContract, PulseContract, draft

CLOCK = SystemClock()

WAIT_S = 20.0
ELECTION_S = 90.0  # of a cluster's leaders, on a busy machine
MARK = {"gateway-epoch": "e", "gateway-format": "1"}

_streams = itertools.count(1)


async def until(predicate: Callable[[], Any], *, within_s: float = WAIT_S) -> None:
    """Wait for something to be so, with a bound."""
    deadline = CLOCK.monotonic() + within_s
    while not predicate():
        assert CLOCK.monotonic() < deadline, "it did not become so in time"
        await CLOCK.sleep(0.005)


@pytest.fixture(autouse=True)
def _look_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.jetstream_link.LOOK_EVERY_S", 0.1)
    monkeypatch.setattr("gateway.stores.jetstream._BEHIND_LIMIT_S", 0.3)


@contextlib.asynccontextmanager
async def session(url: str) -> AsyncIterator[Session]:
    """Somebody else's connection."""
    session = await Session.connect(url, name="test", timeout_s=5.0)
    try:
        yield session
    finally:
        await session.close()


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    """One server for all tests that do not break theirs."""
    with asyncio.Runner() as runner:
        running = nats_server()
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@contextlib.asynccontextmanager
async def jetstream_log(
    url: str, *, stream: str | None = None, start: bool = True, **options: Any
) -> AsyncIterator[JetStreamLog]:
    """Open a log, of a new stream if none is named, and start it."""
    given: dict[str, Any] = {
        "clock": CLOCK,
        "ids": RandomIds(),
        "events_max": 100_000,
        "bytes_max": 100_000_000,
        "age_max_s": 3600.0,
        "stream": stream or f"TEST{next(_streams)}",
        **options,
    }
    log = JetStreamLog([url], **given)
    try:
        await log.open()
        if start:
            await log.start()
        yield log
    finally:
        await log.close()


class TestJetStreamLog(EventLogContract):
    """Everything that the port promises."""

    keeps_snapshots = True

    @pytest.fixture(autouse=True)
    def _server(self, server: NatsServer) -> None:
        self.server = server

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock(CLOCK.wall())

    @contextlib.asynccontextmanager
    async def open_log(
        self,
        clock: Clock,
        *,
        events_max: int = 1000,
        bytes_max: int = 10_000_000,
        age_max_s: float = 3600.0,
    ) -> AsyncIterator[EventLog]:
        async with jetstream_log(
            self.server.url,
            clock=clock,
            events_max=events_max,
            bytes_max=bytes_max,
            age_max_s=age_max_s,
        ) as log:
            yield log

    async def a_moment_later(self, clock: Clock) -> None:
        await CLOCK.sleep(0.01)


# --- more than one node, and more than one life -------------------------------------------------


async def test_a_node_that_starts_shows_its_followers_everything(server: NatsServer) -> None:
    stream = f"TEST{next(_streams)}"
    async with jetstream_log(server.url, stream=stream) as first:
        for number in range(5):
            await first.append([draft(f"task/{number}"), draft(f"task/{number}")])
        before = await first.read(after=0, topics=None, limit=100)
        epoch = first.epoch
    seen: list[Entry] = []
    async with jetstream_log(server.url, stream=stream, start=False) as again:
        again.follow(seen.append)
        await again.start()
        assert seen == before
        assert (again.epoch, again.head) == (epoch, before[-1].offset)
        assert again.last_offset("task/3") == before[7].offset
        with pytest.raises(ExpectationFailed):
            await again.append([draft("task/3")], expected={"task/3": 0})


async def test_what_one_node_appends_every_node_sees_in_the_same_order(server: NatsServer) -> None:
    stream = f"TEST{next(_streams)}"
    async with (
        jetstream_log(server.url, stream=stream) as one,
        jetstream_log(server.url, stream=stream) as two,
    ):
        seen: dict[str, list[Entry]] = {"one": [], "two": []}
        one.follow(seen["one"].append)
        two.follow(seen["two"].append)
        await asyncio.gather(
            *(
                log.append([draft(f"task/{number}"), draft(f"lock/{number}")][: 1 + number % 2])
                for number in range(50)
                for log in (one, two)
            )
        )
        await until(lambda: one.head == two.head)
        assert seen["one"] == seen["two"] == await one.read(after=0, topics=None, limit=1000)
        assert len(seen["one"]) == 150
        assert one.epoch == two.epoch


async def test_of_two_nodes_that_decide_at_once_exactly_one_wins(server: NatsServer) -> None:
    """And who lost has seen why when it is told."""
    stream = f"TEST{next(_streams)}"
    async with (
        jetstream_log(server.url, stream=stream) as one,
        jetstream_log(server.url, stream=stream) as two,
    ):
        lost: list[tuple[int, int, int]] = []

        async def decide(log: EventLog, name: str) -> int:
            wins = 0
            while (last := log.last_offset("task/1")) < 30 * SLOTS:
                try:
                    await log.append(
                        [draft("task/1", name), draft("task/1")], expected={"task/1": last}
                    )
                    wins += 1
                except ExpectationFailed as error:
                    lost.append((last, error.actual, log.last_offset("task/1")))
            return wins

        wins = await asyncio.gather(*(decide(log, "x") for log in (one, two) for _ in range(3)))
        assert sum(wins) == 30
        assert lost
        assert all(last < actual <= seen for last, actual, seen in lost)
        assert len(await one.read(after=0, topics=None, limit=1000)) == 60


async def test_folds_begin_with_a_snapshot_and_older_entries_are_read_from_the_stream(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a browser that was away for longer than this node has been there."""
    monkeypatch.setattr("gateway.stores.jetstream._LEAD_MESSAGES", 20)
    monkeypatch.setattr("gateway.stores.jetstream_reading._CHUNK_MESSAGES_MAX", 7)
    stream = f"TEST{next(_streams)}"
    users = ("user:a", "user:b", "system", "task:t", "user:c")
    async with jetstream_log(server.url, stream=stream) as first:
        for number in range(100):
            its = users[number % 5 :][:2]
            await first.append([draft(f"task/{number}", *its), draft(f"task/{number}")])
        every = await first.read(after=0, topics=None, limit=1000)
        after = every[140].offset
        await first.save_snapshot(Snapshot(after, 1, b"folds"))
    seen: list[Entry] = []
    async with jetstream_log(server.url, stream=stream, start=False) as log:
        log.follow(seen.append)
        snapshot = await log.load_snapshot()
        assert snapshot == Snapshot(after, 1, b"folds")
        await log.start(after=snapshot.offset)
        assert seen == every[141:]
        assert (log.oldest, log.head) == (1, every[-1].offset)
        assert log.count(after=0, topics=None) < 120
        # Decisions about what was said before are the server's.
        await log.append([draft("task/3")], expected={"task/3": every[7].offset})
        with pytest.raises(ExpectationFailed) as lost:
            await log.append([draft("task/4")], expected={"task/4": every[8].offset})
        assert lost.value.actual == every[9].offset
        with pytest.raises(ExpectationFailed):
            await log.append([draft("task/5"), draft("x/1")], expected={"task/5": 0, "x/1": 0})

        whole = await log.read(after=0, topics=None, limit=1000)
        assert whole[:200] == every
        for topics in (["user:a"], ["user:b", "user:c"], ["user:a", "system"], ["task:t"], []):
            of = [entry for entry in whole if set(topics) & set(entry.topics)]
            assert await log.read(after=0, topics=topics, limit=1000) == of
            assert await log.read(after=0, topics=topics, limit=11) == of[:11]
            assert await log.read(after=whole[57].offset, topics=topics, limit=1000) == [
                entry for entry in of if entry.offset > whole[57].offset
            ]
        size = len(every[0].public)
        assert await log.read(after=0, topics=None, limit=9, size_max=1) == every[:1]
        assert await log.read(after=0, topics=None, limit=9, size_max=3 * size) == every[:3]
        assert await log.read(after=0, topics=None, limit=9, until=every[2].offset) == every[:3]
        for place in (79, 80, 81):  # about where this node's memory begins
            assert (
                await log.read(after=every[place].offset, topics=None, limit=1000)
                == (whole[place + 1 :])
            )


async def test_a_snapshot_of_another_log_or_an_unfinished_one_is_passed_over(
    server: NatsServer,
) -> None:
    stream = f"TEST{next(_streams)}"
    async with (
        jetstream_log(server.url, stream=stream) as log,
        session(server.url) as admin,
    ):
        offset = await log.append([draft()])
        await log.save_snapshot(Snapshot(offset, 1, b"x" * 1_200_000))
        await admin.api(f"STREAM.PURGE.{stream}_SNAPSHOTS", {"filter": f"{stream}_SNAPSHOTS.*.1"})
        assert await log.load_snapshot() is None
        await log.save_snapshot(Snapshot(offset, 2, b"y"))
        assert await log.load_snapshot() == Snapshot(offset, 2, b"y")
        await admin.api(f"STREAM.DELETE.{stream}")
        await until(lambda: log.stale)
        assert await log.load_snapshot() is None


async def test_of_snapshots_two_are_kept(server: NatsServer) -> None:
    stream = f"TEST{next(_streams)}"
    async with (
        jetstream_log(server.url, stream=stream) as log,
        session(server.url) as admin,
    ):
        for number in range(4):
            await log.save_snapshot(Snapshot(await log.append([draft()]), number, b"x" * 600_000))
        info = await admin.api(f"STREAM.INFO.{stream}_SNAPSHOTS")
        assert info["state"]["messages"] == 2 * 3


async def test_a_stream_of_many_is_bounded_as_the_settings_say_now(server: NatsServer) -> None:
    stream = f"TEST{next(_streams)}"
    async with jetstream_log(server.url, stream=stream) as log:
        for _ in range(10):
            await log.append([draft()])
        epoch = log.epoch
    async with jetstream_log(server.url, stream=stream, events_max=4, age_max_s=7200.0) as log:
        assert log.epoch == epoch
        assert len(await log.read(after=0, topics=None, limit=100)) == 4


# --- the log begins anew --------------------------------------------------------------------


async def test_when_the_stream_was_removed_another_log_takes_its_place(server: NatsServer) -> None:
    """Followers are told, and nothing is appended until they have begun anew."""
    stream = f"TEST{next(_streams)}"
    async with (
        jetstream_log(server.url, stream=stream) as log,
        jetstream_log(server.url, stream=stream) as other,
        session(server.url) as admin,
    ):
        epoch = log.epoch
        offset = await log.append([draft("task/1")])
        told: list[bool] = []
        log.watch(lambda: told.append(log.stale))
        await admin.api(f"STREAM.DELETE.{stream}")
        await until(lambda: log.stale and other.stale)
        assert log.epoch == other.epoch != epoch
        assert not log.available
        assert "another log" in (log.reason or "")
        assert told[-1] is True
        assert await log.read(after=0, topics=None, limit=9) == []
        with pytest.raises(StoreUnavailable):
            await log.append([draft()])
        seen: list[Entry] = []
        log.follow(seen.append)
        await log.start()
        await other.start()
        assert (log.stale, log.available, log.reason) == (False, True, None)
        with pytest.raises(ExpectationFailed):
            await log.append([draft("task/1")], expected={"task/1": offset})
        new = await other.append([draft("task/1")], expected={"task/1": 0})
        await until(lambda: log.head == new)
        assert [entry.offset for entry in seen] == [new]
        assert told[-1] is False


async def test_a_stream_that_was_set_back_is_another_log(server: NatsServer) -> None:
    """Or the same offsets would be given to other entries: a backup was restored."""
    stream = f"TEST{next(_streams)}"
    async with (
        jetstream_log(server.url, stream=stream) as log,
        session(server.url) as admin,
    ):
        epoch = log.epoch
        for _ in range(5):
            await log.append([draft()])
        config = (await admin.api(f"STREAM.INFO.{stream}"))["config"]
        await admin.api(f"STREAM.DELETE.{stream}")
        await admin.api(f"STREAM.CREATE.{stream}", config)
        await until(lambda: log.stale)
        assert log.epoch != epoch
        await log.start()
        assert await log.append([draft()]) == log.head


async def test_who_missed_entries_begins_anew(server: NatsServer) -> None:
    """A node that was cut off for longer than the log keeps anything has a hole in its folds."""
    stream = f"TEST{next(_streams)}"
    async with Proxy(server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with (
            jetstream_log(server.url, stream=stream, events_max=3) as other,
            jetstream_log(url, stream=stream, events_max=3) as log,
        ):
            await log.append([draft()])
            proxy.refuse = True
            proxy.cut()
            for _ in range(5):
                await other.append([draft()])
            proxy.refuse = False
            await until(lambda: log.stale)
            assert log.epoch == other.epoch
            await log.start()
            assert await log.append([draft()]) == other.head or log.head


# --- what is not ours -----------------------------------------------------------------------


async def test_a_message_that_no_gateway_wrote_is_counted_and_skipped(server: NatsServer) -> None:
    stream = f"TEST{next(_streams)}"
    async with (
        jetstream_log(server.url, stream=stream) as log,
        session(server.url) as admin,
    ):
        seen: list[Entry] = []
        log.follow(seen.append)
        await log.append([draft("task/1")])
        ours = b'gateway/1\n{"type":"t","topics":["a"],"operators_only":false}\n{"a":1}\n\n'
        foreign = (
            b"",
            b"hello",
            b"gateway/1\n1\n2",
            ours.replace(b'"t"', b'"t'),
            ours.replace(b"operators_only", b"x"),
            ours.replace(b'{"a":1}', b"1"),
        )
        for payload in foreign:
            await admin.request(f"{stream}.task.1.someone", payload)
        await admin.request(f"{stream}.task", ours)
        await until(lambda: log.foreign == len(foreign) + 1)
        offset = log.last_offset("task/1")
        # To the server it is an entry of this subject all the same: somebody has to look.
        with pytest.raises(ExpectationFailed):
            await log.append([draft("task/1")], expected={"task/1": offset})
        await log.append([draft("task/2")], expected={"task/2": 0})
        assert await log.read(after=0, topics=None, limit=9) == seen
        assert [entry.subject for entry in seen] == ["task/1", "task/2"]
        await admin.request(f"{stream}.task.3.=nobody", ours)
        await until(lambda: log.last_offset("task/3"))


async def test_a_wrong_address_is_said_clearly() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConfigurationError, match="nothing listens there; start nats-server"):
        async with jetstream_log(f"nats://ann:secret@127.0.0.1:{port}", timeout_s=0.2):
            pass


async def test_wrong_credentials_are_said_clearly_and_never_shown() -> None:
    async with nats_server(user="ann", password="right") as server:
        wrong = server.url.replace("right", "wrong")
        with pytest.raises(ConfigurationError, match="does not accept these cred") as refused:
            async with jetstream_log(wrong):
                pass
        assert "wrong" not in str(refused.value)
        async with jetstream_log(server.url) as log:
            await log.append([draft()])


async def test_a_server_without_jetstream_is_said_clearly() -> None:
    async with nats_server(jetstream=False) as server:
        with pytest.raises(ConfigurationError, match="-js"):
            async with jetstream_log(server.url, timeout_s=0.2):
                pass


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "no mark of a gateway"),
        ({"metadata": {"gateway-epoch": "e", "gateway-format": "0"}}, "format 0"),
        ({"metadata": MARK, "subjects": ["other.>"]}, "its subjects is"),
        ({"metadata": MARK, "retention": "workqueue"}, "its retention is 'workqueue'"),
        ({"metadata": MARK, "storage": "memory"}, "its storage is 'memory'"),
        ({"metadata": MARK, "allow_atomic": False}, "its allow_atomic is"),
        ({"metadata": {**MARK, "gateway-epoch": '"'}}, "no mark of a gateway"),
    ],
)
async def test_a_stream_of_somebody_else_is_left_alone_and_said_clearly(
    server: NatsServer, config: dict[str, Any], says: str
) -> None:
    stream = f"TEST{next(_streams)}"
    async with session(server.url) as admin:
        given = {
            "name": stream,
            "subjects": [f"{stream}.>"],
            "max_msgs": 7,
            "allow_atomic": True,
            "allow_direct": True,
            **config,
        }
        await admin.api(f"STREAM.CREATE.{stream}", given)
        with pytest.raises(ConfigurationError, match=f"{says}.*nats stream rm {stream}"):
            async with jetstream_log(server.url, stream=stream):
                pass
        assert (await admin.api(f"STREAM.INFO.{stream}"))["config"]["max_msgs"] == 7
        await admin.api(f"STREAM.DELETE.{stream}")


async def test_a_stream_that_takes_our_messages_is_said_clearly(server: NatsServer) -> None:
    stream = f"TEST{next(_streams)}"
    async with session(server.url) as admin:
        await admin.api("STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": [f"{stream}.task.>"]})
        with pytest.raises(ConfigurationError, match="another stream takes messages of"):
            async with jetstream_log(server.url, stream=stream):
                pass
        await admin.api("STREAM.DELETE.OTHER")


async def test_an_entry_that_no_message_can_hold_is_refused(server: NatsServer) -> None:
    async with jetstream_log(server.url) as log:
        await log.append([draft(size=900_000) for _ in range(3)])
        with pytest.raises(TooLarge, match="raise its max_payload"):
            await log.append([draft(size=1_100_000)])
        assert len(await log.read(after=0, topics=None, limit=9)) == 3


# --- the store is away ----------------------------------------------------------------------


async def test_a_store_that_says_nothing_is_away_within_the_limit(server: NatsServer) -> None:
    """The connection stands, and nothing comes: a partition, a stopped machine."""
    async with Proxy(server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with jetstream_log(url, timeout_s=0.5) as log:
            told: list[bool] = []
            log.watch(lambda: told.append(log.available))
            offset = await log.append([draft()])
            proxy.stalled = True
            async with asyncio.timeout(2.0):
                with pytest.raises(StoreUnavailable) as away:
                    await log.append([draft("late/1")])
            assert away.value.in_doubt
            await until(lambda: not log.available)
            assert "did not answer in time" in (log.reason or "")
            async with asyncio.timeout(2.0):
                with pytest.raises(StoreUnavailable) as away:
                    await log.append([draft()])
                assert not away.value.in_doubt
                with pytest.raises(StoreUnavailable):
                    await log.save_snapshot(Snapshot(1, 1, b""))
                with pytest.raises(StoreUnavailable):
                    await log.load_snapshot()
            # What is known is still read.
            assert [e.offset for e in await log.read(after=0, topics=None, limit=9)] == [offset]
            proxy.stalled = False
            await until(lambda: log.available)
            await log.append([draft()])
            assert told == [False, True]


async def test_what_arrives_late_is_seen_once(server: NatsServer) -> None:
    """An append that was given up on, and that the store has got after all."""
    stream = f"TEST{next(_streams)}"
    async with Proxy(server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with (
            jetstream_log(url, timeout_s=0.3, stream=stream) as log,
            jetstream_log(server.url, stream=stream) as other,
        ):
            seen: list[Entry] = []
            log.follow(seen.append)
            proxy.stalled = True
            with pytest.raises(StoreUnavailable) as away:
                await log.append([draft("late/1")])
            assert away.value.in_doubt
            proxy.stalled = False  # before the connection is given up
            await until(lambda: other.last_offset("late/1"))
            await until(lambda: seen)
            assert log.head == other.head
            assert await log.append([draft("late/1")], expected={"late/1": log.head}) == log.head
            assert len(seen) == 2


async def test_a_paused_server_is_waited_for_no_longer_than_the_limit() -> None:
    """As with a disk that takes its time."""
    async with nats_server() as server, jetstream_log(server.url, timeout_s=0.5) as log:
        await server.pause()
        try:
            async with asyncio.timeout(2.0):
                answers = await asyncio.gather(
                    *(log.append([draft(f"task/{n}")]) for n in range(20)), return_exceptions=True
                )
            assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        finally:
            server.resume()
        await until(lambda: log.available)
        await log.append([draft()])


class Ledger:
    """
    Many appends of every kind, of many writers, and what became of each.

    Attributes:
        confirmed: By number of the append: the offset that was given.
        refused: Those of which nothing may be in the log.
        in_doubt: Those of which nobody could tell.
    """

    def __init__(self, log: JetStreamLog) -> None:
        self.log = log
        self.confirmed: dict[int, int] = {}
        self.refused: set[int] = set()
        self.in_doubt: set[int] = set()
        self.seen: list[Entry] = []
        self.over = False
        self._numbers = itertools.count(1)
        log.follow(self.seen.append)

    async def write(self, writer: int) -> None:
        """Append one after another until it is over."""
        own = f"own/{writer}"
        for number in self._numbers:
            drafts = [self._draft(own, number, 0)]
            expected = None
            if number % 3:
                drafts.append(self._draft(own, number, 1))
                expected = {own: self.log.last_offset(own)}
            if number % 3 == 2:
                drafts.append(self._draft(f"other/{number}", number, 2))
            if number % 7 == 0:
                expected = {own: self.log.last_offset(own), "all": self.log.last_offset("all")}
                drafts.append(self._draft("all", number, 3))
            try:
                self.confirmed[number] = await self.log.append(drafts, expected=expected)
            except ExpectationFailed:
                self.refused.add(number)
            except StoreUnavailable as away:
                (self.in_doubt if away.in_doubt else self.refused).add(number)
            if self.over:
                return

    @staticmethod
    def _draft(subject: str, number: int, place: int) -> Draft:
        body = b'{"number":%d,"place":%d}' % (number, place)
        return dataclasses.replace(draft(subject), body=body)

    async def disturb(self, disturb: Callable[[], Awaitable[None]], count: int) -> None:
        """Write with twenty writers, and ``disturb`` that so often."""
        async with asyncio.TaskGroup() as writers:
            for writer in range(20):
                writers.create_task(self.write(writer))
            for _ in range(count):
                enough = len(self.confirmed) + 40
                await until(
                    lambda: len(self.confirmed) > enough,  # noqa: B023 - awaited here
                    within_s=ELECTION_S,
                )
                await disturb()
            await until(lambda: self.log.available, within_s=ELECTION_S)
            self.over = True

    async def check(self, url: str, **options: Any) -> None:
        """
        Compare with what another node finds in the stream.

        What was confirmed is there, what was refused is not, nothing is there twice, and what is
        there of an append is there whole and in order. This node saw just that.
        """
        async with jetstream_log(url, stream=self.log._stream, **options) as fresh:
            stored = await fresh.read(after=0, topics=None, limit=10**6)
        await until(lambda: self.log.head == stored[-1].offset)
        assert stored == self.seen
        places: dict[int, list[int]] = {}
        for entry in stored:
            told = orjson.loads(entry.public)
            places.setdefault(told["number"], []).append(told["place"])
        for number, its in places.items():
            whole = [0, *[1] * (number % 3 > 0), *[2] * (number % 3 == 2), *[3] * (number % 7 == 0)]
            assert its == whole, number
        assert not self.confirmed.keys() - places.keys(), "confirmed, and lost"
        assert not self.refused & places.keys(), "refused, and there all the same"
        assert places.keys() <= self.confirmed.keys() | self.in_doubt
        assert set(self.confirmed.values()) <= {entry.offset for entry in stored}


@pytest.mark.parametrize("size", [1, 3] if SOAK else [1])
async def test_a_server_that_is_killed_loses_and_doubles_nothing(size: int) -> None:
    async with (
        nats_cluster(size) as servers,
        jetstream_log(servers[0].url, replicas=size, timeout_s=ELECTION_S) as log,
    ):
        ledger = Ledger(log)
        which = itertools.cycle(servers)

        async def kill() -> None:
            server = next(which)
            server.kill()
            await server.start()

        await ledger.disturb(kill, times(3, 30 // size))
        await ledger.check(servers[0].url, replicas=size)
        assert not ledger.in_doubt, "a server that is back within the limit leaves no doubt"


async def test_a_connection_that_breaks_loses_and_doubles_nothing(server: NatsServer) -> None:
    """What was sent before is sent again, and recognized."""
    async with (
        Proxy(server.port) as proxy,
        jetstream_log(f"nats://127.0.0.1:{proxy.port}", timeout_s=ELECTION_S) as log,
    ):
        ledger = Ledger(log)

        async def cut() -> None:
            proxy.cut()

        await ledger.disturb(cut, times(20, 200))
        await ledger.check(server.url)
        assert not ledger.in_doubt


async def test_a_consumer_that_is_taken_away_is_made_again(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server says nothing of it; it is too quiet."""
    monkeypatch.setattr("gateway.stores.jetstream_feed._HEARTBEAT_S", 0.1)
    monkeypatch.setattr("gateway.stores.jetstream_feed._SILENCE_MAX_S", 0.35)
    stream = f"TEST{next(_streams)}"
    async with (
        jetstream_log(server.url, stream=stream) as log,
        session(server.url) as admin,
    ):
        seen: list[int] = []
        log.follow(lambda entry: seen.append(entry.offset))
        for _ in range(3):
            await log.append([draft()])
            (name,) = (await admin.api(f"CONSUMER.NAMES.{stream}"))["consumers"]
            await admin.api(f"CONSUMER.DELETE.{stream}.{name}")
            await log.append([draft()])
        assert seen == [entry.offset for entry in await log.read(after=0, topics=None, limit=99)]
        assert len(seen) == 6


# --- signals between nodes ------------------------------------------------------------------


class TestNatsPulse(PulseContract):
    """What the port promises, and what a store adds."""

    @pytest.fixture(autouse=True)
    def _server(self, server: NatsServer) -> None:
        self.server = server

    @contextlib.asynccontextmanager
    async def open_pulse(self) -> AsyncIterator[Pulse]:
        async with jetstream_log(self.server.url, start=False) as log:
            yield log.pulse


async def test_a_pulse_reaches_every_node_and_is_not_in_the_log(server: NatsServer) -> None:
    stream = f"TEST{next(_streams)}"
    async with (
        jetstream_log(server.url, stream=stream) as one,
        jetstream_log(server.url, stream=stream) as two,
        jetstream_log(server.url) as other,
    ):
        heard: dict[str, list[bytes]] = {"one": [], "two": [], "other": []}
        one.pulse.follow(lambda subject, body: heard["one"].append(body))
        two.pulse.follow(lambda subject, body: heard["two"].append(body))
        other.pulse.follow(lambda subject, body: heard["other"].append(body))
        for number in range(3):
            await one.pulse.publish("x", b"%d" % number)
        await until(lambda: heard["one"] == heard["two"] == [b"0", b"1", b"2"])
        assert heard["other"] == []
        assert one.head == 0


async def test_a_pulse_while_the_store_is_away_is_lost_and_the_next_one_heard() -> None:
    async with nats_server() as server, jetstream_log(server.url) as log:
        heard: list[bytes] = []
        log.pulse.follow(lambda subject, body: heard.append(body))
        server.kill()
        await until(lambda: not log.available)
        await log.pulse.publish("x", b"lost")
        await server.start()
        await until(lambda: log.available)
        await log.pulse.publish("x", b"heard")
        await until(lambda: heard)
        assert heard == [b"heard"]
