"""The log in NATS JetStream: the contract over a real server, and what several nodes see."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from gateway.domain.errors import ExpectationFailed, StoreUnavailable
from gateway.ports import Entry, EventLog, Snapshot
from gateway.stores.jetstream import log as log_module
from gateway.stores.jetstream import reading
from gateway.stores.jetstream import view as view_module
from gateway.stores.jetstream.codec import SLOTS
from tests.nats import NatsServer, nats_server
from tests.scenarios.proxy import Proxy
from tests.stores.contract import EventLogContract
from tests.stores.drafts import Clock, draft
from tests.stores.jetstream.world import (
    CLOCK,
    jetstream_log,
    new_stream,
    session,
    until,
)


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
        clock.now += 60


# --- more than one node, and more than one life -------------------------------------------------


async def test_a_node_that_starts_shows_its_followers_everything(server: NatsServer) -> None:
    stream = new_stream()
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


async def test_a_start_reports_how_much_it_has_read(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_PROGRESS_EVERY", 2)
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as first:
        for _ in range(5):
            await first.append([draft()])
    told: list[tuple[int, int]] = []
    async with jetstream_log(server.url, stream=stream, start=False) as log:
        await log.start(progress=lambda read, whole: told.append((read, whole)))
        await log.append([draft()])
    assert told == [(2, 5), (4, 5), (5, 5)]


async def test_what_one_node_appends_every_node_sees_in_the_same_order(server: NatsServer) -> None:
    stream = new_stream()
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
    """And when the other one is refused, its node has seen why."""
    stream = new_stream()
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
    monkeypatch.setattr(log_module, "_LEAD_MESSAGES", 20)
    monkeypatch.setattr(reading, "_CHUNK_MESSAGES_MAX", 7)
    stream = new_stream()
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
        assert len(log._view.ring) < 120
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


async def test_what_is_over_the_memory_is_read_from_the_stream(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "TAIL_EVENTS_MAX", 5)
    async with jetstream_log(server.url) as log:
        seen: list[Entry] = []
        log.follow(seen.append)
        for number in range(20):
            await log.append([draft(f"task/{number}")])
        assert len(log._view.ring) == 5
        assert await log.read(after=0, topics=None, limit=100) == seen
        assert await log.read(after=seen[12].offset, topics=None, limit=4) == seen[13:17]


async def test_what_is_over_the_memory_is_scanned_a_part_at_a_time(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "TAIL_EVENTS_MAX", 5)
    monkeypatch.setattr(reading, "_CHUNK_MESSAGES_MAX", 3)
    async with jetstream_log(server.url) as log:
        at = [await log.append([draft("x/1", "abc"[n % 3])]) for n in range(20)]
        # Up to the end of a chunk, then to where the memory begins, then from the memory.
        assert await log.scan(after=0, topics=["nothing"], limit=4) == ([], at[5])
        assert await log.scan(after=at[11], topics=["nothing"], limit=4) == ([], at[14])
        assert await log.scan(after=at[14], topics=["nothing"], limit=4) == ([], None)
        (entry,), after = await log.scan(after=at[2], topics=["b"], limit=1)
        assert (entry.offset, after) == (at[4], at[5])


async def test_a_stream_of_many_is_bounded_as_the_settings_say_now(server: NatsServer) -> None:
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log:
        for _ in range(10):
            await log.append([draft()])
        epoch = log.epoch
    async with jetstream_log(server.url, stream=stream, events_max=4, age_max_s=7200.0) as log:
        assert log.epoch == epoch
        assert len(await log.read(after=0, topics=None, limit=100)) == 4


async def test_a_message_that_no_gateway_wrote_is_counted_and_skipped(server: NatsServer) -> None:
    stream = new_stream()
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
            await admin.request(f"{stream}.task.1.a", payload)
        await admin.request(f"{stream}.task", ours)
        await until(lambda: log.foreign == len(foreign) + 1)
        # To the server it is an entry of this subject all the same.
        await log.append([draft("task/1")], expected={"task/1": log.last_offset("task/1")})
        await log.append([draft("task/2")], expected={"task/2": 0})
        assert await log.read(after=0, topics=None, limit=9) == seen
        assert [entry.subject for entry in seen] == ["task/1", "task/1", "task/2"]
        await admin.request(f"{stream}.task.3.=nobody", ours)
        await until(lambda: log.last_offset("task/3"))


# --- the store is away ------------------------------------------------------------------------


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
            await until(lambda: "did not answer in time" in (log.reason or ""))
            assert not log.available
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
            assert [value for value, _ in itertools.groupby(told)] == [False, True]


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


async def test_a_start_while_the_store_is_away_waits_for_it(server: NatsServer) -> None:
    stream = new_stream()
    async with (
        jetstream_log(server.url, stream=stream) as other,
        Proxy(server.port) as proxy,
        jetstream_log(
            f"nats://127.0.0.1:{proxy.port}", stream=stream, timeout_s=0.1, start=False
        ) as log,
    ):
        offset = await other.append([draft()])
        proxy.refuse = True
        proxy.cut()
        await until(lambda: not log.available)
        seen: list[int] = []
        log.follow(lambda entry: seen.append(entry.offset))
        cancelled = asyncio.ensure_future(log.start())
        await asyncio.wait((cancelled,), timeout=0)
        cancelled.cancel()
        starting = asyncio.ensure_future(log.start())
        proxy.refuse = False
        async with asyncio.timeout(20):
            await starting
        assert cancelled.cancelled()
        assert (log.available, log.head, seen) == (True, offset, [offset])


async def test_what_is_older_than_the_memory_cannot_be_read_while_the_store_is_away(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_LEAD_MESSAGES", 0)
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as first:
        offsets = [await first.append([draft()]) for _ in range(3)]
    async with (
        Proxy(server.port) as proxy,
        jetstream_log(
            f"nats://127.0.0.1:{proxy.port}", stream=stream, timeout_s=0.3, start=False
        ) as log,
    ):
        await log.start(after=offsets[1])
        assert len(await log.read(after=0, topics=None, limit=9)) == 3
        proxy.stalled = True
        with pytest.raises(StoreUnavailable) as away:
            await log.read(after=0, topics=None, limit=9)
        assert not away.value.in_doubt
        (known,) = await log.read(after=offsets[1], topics=None, limit=9)
        assert known.offset == offsets[2]


# --- the log begins anew --------------------------------------------------------------------


async def test_when_the_stream_was_removed_another_log_takes_its_place(server: NatsServer) -> None:
    """Followers are told, and nothing is appended until they have begun anew."""
    stream = new_stream()
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
    stream = new_stream()
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


async def test_a_node_that_missed_entries_begins_anew(server: NatsServer) -> None:
    """A node that was cut off for longer than the log keeps anything has a hole in its folds."""
    stream = new_stream()
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
            offset = await log.append([draft()])
            await until(lambda: other.head == offset)
