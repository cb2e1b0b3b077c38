"""The ordered consumer: every message once and in order, whatever gets lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.stores.jetstream import feed as feed_module
from gateway.stores.jetstream import reading
from gateway.stores.jetstream.feed import Delivery, Feed
from gateway.stores.jetstream.session import ApiError, Msg, Session, SessionLost, answer_of
from gateway.stores.jetstream.stream import Bounds, ensure_stream
from tests.nats import NatsServer
from tests.scenarios.proxy import Proxy
from tests.stores.drafts import draft
from tests.stores.jetstream.world import jetstream_log, new_stream, session, until

BOUNDS = Bounds(events_max=1000, bytes_max=10**7, age_max_s=3600.0, replicas=1)


class Lines(Session):
    """
    A session on whose lines a test may speak as the server does.

    Attributes:
        hear: For each subscription, in the order in which they began, what its messages go to.
    """

    hear: list[Callable[[Msg], Awaitable[None]]]

    async def subscribe(
        self, subject: str, take: Callable[[Msg], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        self.hear = [*getattr(self, "hear", []), take]
        return await super().subscribe(subject, take)

    @property
    def subscriptions(self) -> int:
        return len(self.hear)

    async def say(
        self, *, reply: str = "", headers: dict[str, str] | None = None, data: bytes = b""
    ) -> None:
        """Say something to the consumer that was made last."""
        msg = Msg(self._client, "inbox", reply, data, headers)
        await self.hear[-1](msg)


class World:
    """One stream, a feed on it, and what the feed gave."""

    def __init__(self, admin: Session, lines: Lines, stream: str, after: int) -> None:
        self.admin, self.lines, self.stream = admin, lines, stream
        self.taken: list[Delivery] = []
        self.idle = 0
        self.feed = Feed(lines, stream, take=self.taken.append, idle=self._idle, after=after)

    def _idle(self) -> None:
        self.idle += 1

    async def write(self, count: int = 1, *, id: str | None = None) -> None:
        for _ in range(count):
            inbox = self.admin.new_inbox()
            headers = None if id is None else {"Nats-Msg-Id": id}
            await self.admin.publish(f"{self.stream}.x", b"body", headers=headers, reply=inbox)
        await self.admin.api(f"STREAM.INFO.{self.stream}")

    @property
    def sequences(self) -> list[int]:
        return [delivery.sequence for delivery in self.taken]


@contextlib.asynccontextmanager
async def world_of(
    server: NatsServer, *, written: int = 0, after: int = 0, port: int | None = None
) -> AsyncIterator[World]:
    stream = new_stream()
    url = f"nats://127.0.0.1:{port or server.port}"
    lines = await Lines.connect(url, name="test", timeout_s=5.0)
    assert isinstance(lines, Lines)
    async with session(server.url) as admin:
        await ensure_stream(admin, stream, BOUNDS, new_epoch="e")
        world = World(admin, lines, stream, after)
        try:
            await world.write(written)
            await world.feed.open()
            yield world
        finally:
            await world.feed.close()
            await lines.close()


@pytest.fixture
def _impatient_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_HEARTBEAT_S", 0.1)
    monkeypatch.setattr(feed_module, "_SILENCE_MAX_S", 0.35)


# --- listening ----------------------------------------------------------------------------------


async def test_messages_from_before_and_after_opening_come_in_order(server: NatsServer) -> None:
    async with world_of(server, written=3) as world:
        await until(lambda: world.idle)
        assert world.sequences == [1, 2, 3]
        await world.write(2)
        await until(lambda: len(world.taken) == 5)
        assert world.sequences == [1, 2, 3, 4, 5]


async def test_a_feed_begins_after_the_message_that_was_seen_last(server: NatsServer) -> None:
    async with world_of(server, written=5, after=3) as world:
        await until(lambda: world.idle)
        assert world.sequences == [4, 5]


async def test_a_message_comes_with_its_id_and_its_time(server: NatsServer) -> None:
    async with world_of(server) as world:
        await world.write()
        await world.write(id="w-1")
        await until(lambda: len(world.taken) == 2)
        first, second = world.taken
        assert (first.id, second.id) == (None, "w-1")
        assert (second.subject, second.payload) == (f"{world.stream}.x", b"body")
        assert first.at <= second.at
        stored = await world.admin.request(f"$JS.API.DIRECT.GET.{world.stream}", b'{"seq":2}')
        assert second.at == reading._seconds((stored.headers or {})["Nats-Time-Stamp"])


@pytest.mark.usefixtures("_impatient_feed")
async def test_an_empty_stream_is_idle_at_the_first_heartbeat(server: NatsServer) -> None:
    async with world_of(server) as world:
        await until(lambda: world.idle)
        assert world.taken == []


async def test_more_messages_than_the_server_sends_unasked_all_come(server: NatsServer) -> None:
    """Flow control: the server waits until it hears that the feed keeps up."""
    async with world_of(server) as world:
        body = b"x" * 500_000
        for _ in range(40):
            answer_of(await world.admin.request(f"{world.stream}.x", body))
        await until(lambda: len(world.taken) == 40)
        assert world.sequences == list(range(1, 41))


async def test_a_closed_feed_takes_nothing_more_and_may_be_closed_again(
    server: NatsServer,
) -> None:
    async with world_of(server, written=1) as world:
        await until(lambda: world.taken)
        await world.feed.close()
        await world.write()
        assert world.sequences == [1]
        await world.feed.close()


# --- what gets lost -----------------------------------------------------------------------------


async def lost_number(world: World) -> None:
    """Say a message before which another one is missing."""
    await world.lines.say(reply=f"$JS.ACK.{world.stream}.c.1.9.9.0.0")


async def heartbeat_ahead(world: World) -> None:
    await world.lines.say(headers={"Status": "100", "Nats-Last-Consumer": "9"})


async def consumer_gone(world: World) -> None:
    await world.lines.say(headers={"Status": "409", "Description": "Consumer Deleted"})


@pytest.mark.parametrize("lose", [lost_number, heartbeat_ahead, consumer_gone])
async def test_after_a_gap_the_consumer_is_made_again_from_the_last_message(
    server: NatsServer, lose: Callable[[World], Awaitable[None]]
) -> None:
    async with world_of(server, written=2) as world:
        await until(lambda: world.idle)
        before = world.lines.subscriptions
        await lose(world)
        await until(lambda: world.lines.subscriptions == before + 1)
        await world.write()
        await until(lambda: len(world.taken) == 3)
        assert world.sequences == [1, 2, 3]


async def test_what_still_comes_after_a_gap_is_not_taken(server: NatsServer) -> None:
    """It comes again, in order."""
    async with world_of(server, written=1) as world:
        await until(lambda: world.idle)
        await lost_number(world)
        await world.lines.say(reply=f"$JS.ACK.{world.stream}.c.1.2.2.0.0")
        assert world.sequences == [1]


@pytest.mark.parametrize(
    "reply", ["$JS.ACK.S.c.1.7.2.1500000000.4", "$JS.ACK._.hash.S.c.1.7.2.1500000000.4.random"]
)
async def test_both_forms_of_an_acknowledgement_are_read(server: NatsServer, reply: str) -> None:
    """A server may put its domain and account before the names (NATS ADR-15)."""
    async with world_of(server, written=1) as world:
        await until(lambda: world.idle)
        idle = world.idle
        await world.lines.say(reply=reply, data=b"late")
        assert world.taken[1:] == [Delivery(7, 1.5, "inbox", b"late", None)]
        assert world.idle == idle


@pytest.mark.usefixtures("_impatient_feed")
async def test_a_consumer_that_is_taken_away_is_made_again(server: NatsServer) -> None:
    """The server says nothing of it; it is too quiet."""
    async with (
        jetstream_log(server.url, stream=(stream := new_stream())) as log,
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


# --- what it cannot do --------------------------------------------------------------------------


async def test_a_feed_of_no_stream_cannot_be_opened(server: NatsServer) -> None:
    async with session(server.url) as one:
        taken: list[Any] = []
        feed = Feed(one, new_stream(), take=taken.append, idle=lambda: None, after=0)
        with pytest.raises(ApiError, match="stream not found"):
            await feed.open()
        await feed.close()


async def test_a_feed_that_cannot_be_made_again_ends_its_session(server: NatsServer) -> None:
    """So the link makes another one, perhaps over another server."""
    async with world_of(server) as world:
        await world.admin.api(f"STREAM.DELETE.{world.stream}")
        await consumer_gone(world)
        async with asyncio.timeout(10):
            await world.lines.lost


async def test_a_feed_whose_session_is_lost_ends(server: NatsServer) -> None:
    async with Proxy(server.port) as proxy, world_of(server, port=proxy.port) as world:
        proxy.cut()
        async with asyncio.timeout(10):
            await world.lines.lost
            keeper = world.feed._keeper
            assert keeper is not None
            world.feed._broken.set()
            await keeper
        with pytest.raises(SessionLost):
            await world.feed.open()
