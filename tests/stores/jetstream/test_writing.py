"""Appending: what travels in which message, what the server refuses, and what ends an append."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from gateway.domain.errors import ExpectationFailed, StoreUnavailable, TooLarge
from gateway.ports import Draft, Entry
from gateway.stores.jetstream.codec import SLOTS
from gateway.stores.jetstream.session import Session
from tests.nats import NatsServer, nats_cluster, nats_server
from tests.scenarios.proxy import Proxy
from tests.soak import SOAK, times
from tests.stores.drafts import draft
from tests.stores.jetstream.world import (
    ELECTION_S,
    Ledger,
    jetstream_log,
    new_stream,
    session,
    until,
)

EXPECTED = "Nats-Expected-Last-Subject-Sequence"


async def stored(admin: Session, stream: str, *, after: int = 0) -> list[dict[str, str]]:
    """Give the headers of the stream's messages."""
    last = (await admin.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"]
    answers = [
        await admin.request(f"$JS.API.DIRECT.GET.{stream}", b'{"seq":%d}' % sequence)
        for sequence in range(after + 1, last + 1)
    ]
    return [answer.headers or {} for answer in answers]


def expectations(stream: str, messages: list[dict[str, str]]) -> list[tuple[str, str] | None]:
    """Give what each message expects: subject and sequence."""
    return [
        (headers[f"{EXPECTED}-Subject"].removeprefix(f"{stream}."), headers[EXPECTED])
        if EXPECTED in headers
        else None
        for headers in messages
    ]


def drafts(*subjects: str) -> list[Draft]:
    return [draft(subject) for subject in subjects]


# --- messages -----------------------------------------------------------------------------------


async def test_an_append_about_one_subject_is_one_message_without_a_batch(
    server: NatsServer,
) -> None:
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log, session(server.url) as admin:
        offset = await log.append(drafts("a/1", "a/1", "a/1"), expected={"a/1": 0})
        (message,) = await stored(admin, stream)
        assert offset == SLOTS
        assert expectations(stream, [message]) == [("a.1.*", "0")]
        assert "Nats-Batch-Id" not in message


async def test_an_append_about_several_subjects_is_one_batch_in_order(server: NatsServer) -> None:
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log, session(server.url) as admin:
        await log.append(drafts("a/1", "b/1", "b/1", "a/1"))
        messages = await stored(admin, stream)
        assert [headers["Nats-Subject"] for headers in messages] == [
            f"{stream}.{subject}.1.=nobody" for subject in "aba"
        ]
        assert len({headers["Nats-Msg-Id"] for headers in messages}) == 3
        assert expectations(stream, messages) == [None] * 3


async def test_an_expectation_travels_with_the_first_message_of_its_subject(
    server: NatsServer,
) -> None:
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log, session(server.url) as admin:
        first = await log.append(drafts("a/1"))
        await log.append(drafts("b/1", "a/1", "b/1"), expected={"a/1": first, "b/1": 0})
        messages = await stored(admin, stream, after=1)
        assert expectations(stream, messages) == [("b.1.*", "0"), ("a.1.*", "1"), None]


async def test_an_expectation_about_another_subject_travels_with_any_message(
    server: NatsServer,
) -> None:
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log, session(server.url) as admin:
        await log.append(drafts("a/1"), expected={"b/1": 0})
        assert expectations(stream, await stored(admin, stream)) == [("b.1.*", "0")]


async def test_more_expectations_than_messages_travel_in_messages_without_entries(
    server: NatsServer,
) -> None:
    """They come first, so that the last message has the last draft."""
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log, session(server.url) as admin:
        offset = await log.append(drafts("a/1"), expected={"a/1": 0, "b/1": 0, "c/1": 0})
        messages = await stored(admin, stream)
        assert expectations(stream, messages) == [("b.1.*", "0"), ("c.1.*", "0"), ("a.1.*", "0")]
        assert [headers["Nats-Subject"].split(".")[1] for headers in messages] == [
            "=empty",
            "=empty",
            "a",
        ]
        assert offset == 3 * SLOTS
        entries = await log.read(after=0, topics=None, limit=9)
        assert [entry.offset for entry in entries] == [offset]


# --- what is expected ---------------------------------------------------------------------------


async def test_an_offset_inside_a_message_is_never_the_last_one_of_its_subject(
    server: NatsServer,
) -> None:
    """Though this node may not know the subject any more."""
    async with jetstream_log(server.url) as log:
        await log.append(drafts("a/1", "a/1"))
        log._view.subjects._last.clear()
        log._view.subjects.forgotten = SLOTS
        for offset in (SLOTS - 1, 1):
            with pytest.raises(ExpectationFailed) as refused:
                await log.append(drafts("a/1"), expected={"a/1": offset})
            assert refused.value.actual == SLOTS


async def test_of_a_forgotten_subject_the_server_knows_the_last_offset(server: NatsServer) -> None:
    async with jetstream_log(server.url) as log:
        first = await log.append(drafts("a/1"))
        second = await log.append(drafts("a/1"))
        log._view.subjects._last.clear()
        log._view.subjects.forgotten = second
        for offset in (0, first):
            with pytest.raises(ExpectationFailed) as refused:
                await log.append(drafts("a/1"), expected={"a/1": offset})
            assert refused.value.actual == second
        third = await log.append(drafts("a/1"), expected={"a/1": second})
        assert log.last_offset("a/1") == third


async def test_a_subject_all_of_whose_messages_were_dropped_is_still_decided_about(
    server: NatsServer,
) -> None:
    """To the server it is new; whether this node knows that yet or not."""
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log, session(server.url) as admin:
        first = await log.append(drafts("a/1"))
        last = await log.append(drafts("b/1"))
        await admin.api(f"STREAM.PURGE.{stream}", {"seq": last // SLOTS})
        assert await log.append(drafts("a/1"), expected={"a/1": first}) == log.head


# --- what is refused ----------------------------------------------------------------------------


async def test_an_entry_that_no_message_can_hold_is_refused(server: NatsServer) -> None:
    async with jetstream_log(server.url) as log:
        await log.append([draft(size=900_000) for _ in range(3)])
        with pytest.raises(TooLarge, match="raise its max_payload"):
            await log.append([draft(size=1_100_000)])
        assert len(await log.read(after=0, topics=None, limit=9)) == 3


@pytest.mark.parametrize("count", [1000, 1001])
async def test_an_append_of_more_messages_than_a_batch_may_have_is_refused_at_once(
    server: NatsServer, count: int
) -> None:
    """It would be refused for ever, so it is not tried again, and the store is not away."""
    async with jetstream_log(server.url) as log:
        many = drafts(*(f"task/{number}" for number in range(count)))
        if count == 1000:
            assert await log.append(many) == log.head == count * SLOTS
        else:
            with pytest.raises(TooLarge, match=r"1001 messages .* batch is too large"):
                await log.append(many)
            assert log.head == 0
        assert log.available
        await log.append(drafts("task/1"))


async def test_what_the_server_refuses_for_another_reason_is_said_and_not_in_doubt(
    server: NatsServer,
) -> None:
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log, session(server.url) as admin:
        config = (await admin.api(f"STREAM.INFO.{stream}"))["config"]
        await admin.api(f"STREAM.UPDATE.{stream}", {**config, "max_msg_size": 10})
        with pytest.raises(StoreUnavailable, match="could not write: message size") as refused:
            await log.append(drafts("a/1"))
        assert not refused.value.in_doubt


# --- what ends it -------------------------------------------------------------------------------


def under_way(log: Any) -> tuple[int, int]:
    return len(log._writer._under_way), len(log._view.arrivals)


async def test_an_append_that_is_cancelled_leaves_nothing_behind(server: NatsServer) -> None:
    async with (
        Proxy(server.port) as proxy,
        jetstream_log(f"nats://127.0.0.1:{proxy.port}") as log,
    ):
        proxy.stalled = True
        appending = asyncio.ensure_future(log.append(drafts("a/1")))
        await until(lambda: under_way(log) == (1, 1))
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        assert under_way(log) == (0, 0)


async def test_appends_under_way_end_in_doubt_when_the_log_begins_anew(server: NatsServer) -> None:
    """What they were based on no longer holds, and some may be in the stream."""
    async with (
        Proxy(server.port) as proxy,
        jetstream_log(f"nats://127.0.0.1:{proxy.port}") as log,
    ):
        proxy.stalled = True
        appending = [asyncio.ensure_future(log.append(drafts(f"a/{n}"))) for n in range(3)]
        await until(lambda: under_way(log) == (3, 3))
        log._writer.give_up("another log stands in its place")
        for ended in await asyncio.gather(*appending, return_exceptions=True):
            assert isinstance(ended, StoreUnavailable)
            assert (ended.in_doubt, "another log" in str(ended)) == (True, True)
        assert under_way(log) == (0, 0)


async def test_while_the_store_takes_nothing_appends_are_refused_until_a_probe_is_stored(
    server: NatsServer,
) -> None:
    async with jetstream_log(server.url) as log:
        told: list[str | None] = []
        log.watch(lambda: told.append(log.reason))
        log._writer._set_stuck("its disk is full")
        with pytest.raises(StoreUnavailable, match="its disk is full") as refused:
            await log.append(drafts("a/1"))
        assert not refused.value.in_doubt
        await until(lambda: log.available)
        assert told == ["its disk is full", None]
        assert await log.append(drafts("a/1")) == 2 * SLOTS  # the probe was the first message
        assert log._writer.stuck is None


# --- a store that is slow, full, killed or cut off ----------------------------------------------


async def test_what_arrives_late_is_seen_once(server: NatsServer) -> None:
    """An append that was given up on, and that the store has got after all."""
    stream = new_stream()
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
            await until(lambda: log.available)
            assert await log.append([draft("late/1")], expected={"late/1": log.head}) == log.head
            assert len(seen) == 2


async def test_a_full_disk_is_told_and_waited_for_once() -> None:
    """The server goes on answering questions, and says nothing to what it cannot write."""
    async with nats_server() as server:
        server.kill()
        server.file_bytes_max = 1_000_000
        await server.start()
        async with jetstream_log(server.url, timeout_s=0.5) as log:
            confirmed: list[int] = []

            async def fill() -> None:
                while True:
                    confirmed.append(await log.append([draft(size=100_000)]))

            with pytest.raises(StoreUnavailable) as full:
                await fill()
            assert full.value.in_doubt
            assert not log.available
            assert "disk" in (log.reason or "")
            async with asyncio.timeout(0.3):
                with pytest.raises(StoreUnavailable) as full:
                    await log.append([draft()])
            assert not full.value.in_doubt
            assert len(await log.read(after=0, topics=None, limit=999)) == len(confirmed) > 3
            server.kill()
            server.file_bytes_max = None
            await server.start()
            await until(lambda: log.available)
            await log.append([draft("again/1")])
            stored = await log.read(after=0, topics=None, limit=999)
            assert len(stored) - len(confirmed) in (1, 2)  # the one in doubt was lost, or was not


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

        await ledger.disturb(cut, times(5, 200))
        await ledger.check(server.url)
        assert not ledger.in_doubt
