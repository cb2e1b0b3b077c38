"""The time of a shared log: asked of the nodes that run, of the server by the first of them."""

from __future__ import annotations

import orjson
import pytest

from gateway.stores.jetstream import agreed_time, wire
from gateway.stores.jetstream.agreed_time import APART_S, AgreedTime
from gateway.stores.jetstream.log import JetStreamLog
from gateway.stores.jetstream.stream import time_of_stream
from tests.nats import NatsServer
from tests.stores.drafts import Clock, draft
from tests.stores.jetstream.world import CLOCK, jetstream_log, new_stream, session, until

HOUR_S = 3600.0
WITHIN_S = 0.25


async def seen(log: JetStreamLog, offset: int) -> None:
    """Wait until a node has seen what another one has appended."""
    await until(lambda: log.head >= offset)


async def test_the_first_node_takes_the_servers_time_and_the_next_one_that_of_the_first(
    server: NatsServer,
) -> None:
    """Though the server's clock was set meanwhile, forward or back."""
    for set_s in (HOUR_S, -HOUR_S):
        stream, clock = new_stream(), Clock(CLOCK.wall())
        async with jetstream_log(server.url, stream=stream, clock=clock) as first:
            assert abs(await first.time() - CLOCK.wall()) < WITHIN_S
            clock.now -= set_s  # as if the server's clock, and all others, were set the other way
            own = await first.time()
            async with jetstream_log(server.url, stream=stream) as second:
                assert abs(await second.time() - own) < WITHIN_S
                offset = await second.append([draft()])
                await seen(first, offset)
                (entry,) = await first.read(after=0, topics=None, limit=1)
                assert abs(entry.at - own) < WITHIN_S
                assert orjson.loads(entry.public)["timestamp"].endswith("Z")


async def test_a_node_that_is_alone_begins_again_with_the_servers_time(server: NatsServer) -> None:
    stream, clock = new_stream(), Clock(CLOCK.wall())
    async with jetstream_log(server.url, stream=stream, clock=clock) as log:
        clock.now -= HOUR_S
        await log.append([draft()])
    async with jetstream_log(server.url, stream=stream) as log:
        assert abs(await log.time() - CLOCK.wall()) < WITHIN_S


async def test_time_never_goes_back_to_before_an_entry_and_that_is_told(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    stream, clock = new_stream(), Clock(CLOCK.wall())
    async with jetstream_log(server.url, stream=stream, clock=clock) as log:
        clock.now += HOUR_S
        await log.append([draft()])
        (entry,) = await log.read(after=0, topics=None, limit=1)
    assert "the log's time is" not in caplog.text
    async with jetstream_log(server.url, stream=stream) as log:
        assert 0 <= await log.time() - entry.at < WITHIN_S
    assert "s ahead of the store's, whose clock was set" in caplog.text


async def test_a_node_that_is_behind_follows_what_others_write(server: NatsServer) -> None:
    stream, clock = new_stream(), Clock(CLOCK.wall())
    async with (
        jetstream_log(server.url, stream=stream) as behind,
        jetstream_log(server.url, stream=stream, clock=clock) as ahead,
    ):
        clock.now += HOUR_S
        await ahead.append([draft()])
        await behind.append([draft()])
        assert abs(await behind.time() - await ahead.time()) < WITHIN_S


async def test_the_same_entry_has_the_same_time_for_who_reads_it_later(server: NatsServer) -> None:
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log:
        await log.append([draft("a/1", "user:a"), draft("b/1", "user:a")])
        live = await log.read(after=0, topics=None, limit=9)
        log._view.begin(epoch=log.epoch, after=log._view.sequence, followed_after=log.head)
        assert await log.read(after=0, topics=["user:a"], limit=9) == live


async def test_what_a_gateway_of_before_has_written_has_the_servers_time(
    server: NatsServer,
) -> None:
    stream, clock = new_stream(), Clock(CLOCK.wall())
    async with jetstream_log(server.url, stream=stream, clock=clock) as log:
        clock.now += HOUR_S
        log._time.steady.forget()
        await log.append([draft()])
        (entry,) = await log.read(after=0, topics=None, limit=1)
    assert abs(entry.at - CLOCK.wall()) < WITHIN_S


async def test_who_does_not_know_answers_nobody(server: NatsServer) -> None:
    async with jetstream_log(server.url) as log, session(server.url) as other:
        stream = log._stream
        log._time.steady.forget()
        asking = AgreedTime(stream, CLOCK)
        begun = CLOCK.monotonic()
        await asking.agree(other)
        assert CLOCK.monotonic() - begun >= agreed_time.ASK_LIMIT_S
        assert abs(asking.steady.now() - await time_of_stream(other, stream)) < WITHIN_S
        assert APART_S > WITHIN_S


@pytest.mark.parametrize(
    ("text", "read"),
    [("1800000000500000000", 1_800_000_000.5), ("", None), ("soon", None), ("9" * 20, None)],
)
def test_a_time_that_is_none_is_not_believed(text: str, read: float | None) -> None:
    assert wire.written_at({wire.WRITTEN_AT: text}) == read
    assert wire.written_at(None) is None
