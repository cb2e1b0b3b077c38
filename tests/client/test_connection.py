"""The client against a real gateway that cuts it off, ends, or refuses it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.client.connection import CallFailed, Connection, Disconnected, Refused
from gateway.domain.stream import Position
from tests.transports.world import SECRET, offsets, token, until, world


def at_once() -> float:
    """Chance that makes every wait between two tries as short as can be."""
    return 0.0


async def take(client: Connection, count: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    async for event in client:
        events.append(event)
        if len(events) == count:
            break
    return events


async def test_a_client_calls_and_follows() -> None:
    async with world() as here, Connection(here.ws, topics=["user:ann"]) as client:
        assert client.hello is not None
        assert client.hello["user_id"] == "local"
        assert (await client.call("task.list"))["items"] == []
        await here.publish(count=3)
        assert offsets(await take(client, 3)) == [1, 2, 3]
        assert client.position == Position(here.engine.log.epoch, 3)
        assert client.reconnects == 0


async def test_a_refused_call_says_why_and_costs_nothing() -> None:
    async with world() as here, Connection(here.ws, user_id="ann") as client:
        with pytest.raises(CallFailed) as failed:
            await client.call("breaker.list")
        assert failed.value.code == "not_permitted"
        with pytest.raises(CallFailed) as failed:
            await client.call("task.get", {"task_id": "*"})
        assert (failed.value.code, failed.value.field) == ("invalid_params", "task_id")
        await client.call("ping")


async def test_a_client_comes_back_and_misses_nothing() -> None:
    notices: list[tuple[str, Any]] = []
    async with (
        world() as here,
        Connection(
            here.ws,
            topics=["user:ann"],
            chance=at_once,
            on_notice=lambda name, about: notices.append((name, about)),
        ) as client,
    ):
        await here.publish(count=2)
        assert offsets(await take(client, 2)) == [1, 2]
        await client.drop()
        await here.publish(count=2)
        assert offsets(await take(client, 2)) == [3, 4]
        assert client.reconnects == 1
        assert client.subscribed is not None
        assert client.subscribed.recovered
    names = [name for name, _ in notices]
    assert names == ["subscribed", "disconnected", "subscribed"]


async def test_a_client_that_is_cut_off_before_its_first_event_misses_none() -> None:
    """Cut off before anything came, it goes on from where it had subscribed."""
    async with world() as here:
        await here.publish(count=3)
        async with Connection(here.ws, topics=["user:ann"], chance=at_once) as client:
            await client.drop()
            await here.publish()
            assert offsets(await take(client, 1)) == [4]


async def test_a_client_is_told_that_events_are_no_longer_kept() -> None:
    async with world(log_events=2) as here:
        await here.publish(count=10)
        since = Position(here.engine.log.epoch, 1)
        async with Connection(here.ws, topics=["user:ann"], since=since) as client:
            assert client.subscribed is not None
            assert not client.subscribed.recovered
            assert client.subscribed.snapshot is not None
            assert client.position == Position(here.engine.log.epoch, 10)


async def test_a_call_in_flight_fails_when_the_connection_does() -> None:
    """It is not sent again: only the caller knows whether that would be harmless."""
    async with world() as here, Connection(here.ws, chance=at_once) as client:
        asked = asyncio.Event()

        async def hang(*args: Any) -> None:
            asked.set()
            await asyncio.Event().wait()

        here.engine.script = hang
        call = asyncio.create_task(client.call("task.list"))
        await asked.wait()
        await client.drop()
        with pytest.raises(Disconnected):
            await call
        here.engine.script = None
        # The next one waits for the connection that comes.
        assert (await client.call("task.list"))["items"] == []


async def test_a_caller_that_tries_again_at_once_gets_the_next_connection() -> None:
    """And not over the one that was just lost, which would be lost once more."""
    async with world() as here, Connection(here.ws, chance=at_once) as client:
        asked = asyncio.Event()

        async def hang(*args: Any) -> None:
            asked.set()
            await asyncio.Event().wait()

        async def insist() -> Any:
            for _ in range(2):
                try:
                    return await client.call("task.list")
                except Disconnected:
                    here.engine.script = None
            raise AssertionError("it was lost twice")

        here.engine.script = hang
        call = asyncio.create_task(insist())
        await asked.wait()
        await client.drop()
        assert (await call)["items"] == []


async def test_the_calls_of_one_connection_never_go_over_another() -> None:
    async with world() as here, Connection(here.ws, chance=at_once) as client:
        calls = await client.opened()
        assert (await calls.ask("task.list", {}))["items"] == []
        await client.drop()
        with pytest.raises(Disconnected):
            await calls.ask("task.list", {})
        assert await client.opened() is not calls


@pytest.mark.parametrize(
    ("bad", "code"),
    [("x", 4500), (None, 4500), (token("ann", scope=""), 4503), (token("ann", exp=1), 4005)],
)
async def test_a_client_does_not_come_back_where_that_would_end_the_same_way(
    bad: str | None, code: int
) -> None:
    async with world(secret=SECRET) as here:
        with pytest.raises(Refused) as refused:
            async with Connection(here.ws, token=bad, chance=at_once):
                pass
        assert refused.value.code == code


@contextlib.asynccontextmanager
async def answering(status: str) -> AsyncIterator[str]:
    """A server that answers every handshake with this status."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "401 Unauthorized"])
async def test_a_handshake_that_is_refused_is_not_tried_again(status: str) -> None:
    async with answering(status) as url:
        with pytest.raises(Refused) as refused:
            async with Connection(url, chance=at_once):
                pass
    assert refused.value.code == int(status[:3])


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Slow down"])
async def test_a_handshake_that_may_succeed_later_is_tried_again(status: str) -> None:
    """A proxy answers so while the gateway behind it restarts."""
    told: list[Any] = []
    async with answering(status) as url:
        client = Connection(url, chance=at_once, on_notice=lambda name, about: told.append(about))
        opening = asyncio.create_task(client.__aenter__())
        await until(lambda: len(told) >= 3)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
    assert {(about["code"], about["reason"]) for about in told} == {(1013, f"HTTP {status[:3]}")}


async def test_dropping_a_connection_that_is_not_open_does_nothing() -> None:
    async with world() as here:
        client = Connection(here.ws)
        await client.drop()
        async with client:
            pass
        await client.drop()
        await client.close()


async def test_a_topic_that_is_not_open_to_it_is_an_error() -> None:
    async with world() as here:
        with pytest.raises(CallFailed) as failed:
            async with Connection(here.ws, user_id="ann", topics=["user:bob"]):
                pass
        assert failed.value.code == "not_permitted"


async def test_each_connection_gets_a_fresh_token() -> None:
    async with world(secret=SECRET, heartbeat_interval=0.2) as here:
        given: list[str] = []

        async def fresh() -> str:
            ends = 0.3 if not given else 60
            given.append(token("ann", exp=here.engine.clock.wall() + ends))
            return given[-1]

        async with Connection(here.ws, token=fresh, topics=["user:ann"], chance=at_once) as client:
            await until(lambda: client.reconnects == 1)
            await here.publish()
            assert offsets(await take(client, 1)) == [1]
        assert len(given) == 2


async def test_a_client_waits_for_a_gateway_that_restarts_as_long_as_it_was_told() -> None:
    notices: dict[str, Any] = {}
    async with world() as here:
        async with Connection(here.ws, on_notice=notices.__setitem__) as client:
            here.server.should_exit = True
            await until(lambda: "disconnected" in notices)
            assert notices["drain"]["reason"] == "shutdown"
            assert notices["disconnected"]["code"] == 1012
            # Told 1 to 6 seconds, of which the end took some.
            assert 0 < notices["disconnected"]["retry_in"] <= 6
            with pytest.raises(TimeoutError):
                await client.call("ping", timeout=0.05)
        with pytest.raises(Disconnected):
            await client.call("ping")


async def test_waits_grow_and_are_spread() -> None:
    """No gateway listens; each wait is a part of twice the one before, up to a bound."""
    waits: list[float] = []
    chances = [0.01]

    def note(name: str, about: Any) -> None:
        waits.append(about["retry_in"])
        chances[0] = at_once()

    client = Connection("ws://127.0.0.1:9/ws", on_notice=note, chance=lambda: chances[0])
    opening = asyncio.create_task(client.__aenter__())
    await until(lambda: len(waits) > 5)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    assert 0 < waits[0] <= 0.01
    wait_s: Callable[[int], float] = client._wait_s
    chances[0] = 1.0
    assert [wait_s(tries) for tries in (0, 1, 2, 10, 2000)] == [0.5, 1.0, 2.0, 5.0, 5.0]


async def test_closing_ends_the_iteration() -> None:
    async with world() as here:
        client = Connection(here.ws, topics=["user:ann"])
        async with client:
            reading = asyncio.create_task(take(client, 1))
            await here.engine.clock.sleep(0)
        assert await reading == []


async def test_a_client_that_does_not_take_events_stops_reading_and_loses_none() -> None:
    async with (
        world(send_bytes=8192, stall_timeout=60.0) as here,
        Connection(here.ws, topics=["user:ann"]) as client,
    ):
        for _ in range(100):
            await here.publish(count=20, size=2000)
            await here.engine.clock.sleep(0)
        assert offsets(await take(client, 2000)) == list(range(1, 2001))
