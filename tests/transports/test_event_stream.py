"""Server-sent events: the same as a WebSocket for a client that can only read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from gateway.ports import EventLog
from tests.execution.world import AwayLog
from tests.transports.http_client import Stream, ask, stream
from tests.transports.world import BOTH_SERVERS, SECRET, offsets, token, until, world

PATH = "/api/events/stream?topic=user:ann"


@BOTH_SERVERS
async def test_events_come_live_with_position_and_type(fast: bool) -> None:
    async with world(fast=fast) as here, stream(here, PATH) as reader:
        assert reader.response.headers["content-type"].startswith("text/event-stream")
        opening = await reader.next()
        assert opening["event"] == "subscribed"
        assert opening["id"] == f"{here.engine.log.epoch}:0"
        assert opening["data"] == {
            "epoch": here.engine.log.epoch,
            "offset": 0,
            "recovered": False,
            "was_recovering": False,
            "replayed": 0,
        }
        await here.publish(count=2)
        await here.publish(user_id="bob")
        await here.publish(user_id="*")
        assert offsets(await reader.events(3)) == [1, 2, 4]


async def test_a_reader_resumes_where_it_was() -> None:
    async with world() as here:
        await here.publish(count=5)
        epoch = here.engine.log.epoch
        async with stream(here, PATH, last=f"{epoch}:3") as reader:
            assert (await reader.next())["data"]["recovered"] is True
            assert offsets(await reader.events(2)) == [4, 5]
        # A browser repeats its URL; Last-Event-ID is newer.
        async with stream(here, PATH + "&since=start", last=f"{epoch}:4") as reader:
            assert offsets(await reader.events(1)) == [5]
        async with stream(here, PATH + "&since=2") as reader:
            assert offsets(await reader.events(3)) == [3, 4, 5]
        async with stream(here, PATH + "&since=start") as reader:
            assert offsets(await reader.events(5)) == [1, 2, 3, 4, 5]


async def test_a_script_that_stands_in_for_eventsource_resumes_by_its_address() -> None:
    """It may not set headers, and adds what keeps caches away (Yaffle/EventSource)."""
    async with world() as here:
        await here.publish(count=5)
        epoch = here.engine.log.epoch
        path = f"{PATH}&since=start&lastEventId={epoch}:3&cacheBust=1&color=red"
        async with stream(here, path) as reader:
            assert (await reader.next())["data"]["recovered"] is True
            assert offsets(await reader.events(2)) == [4, 5]


@pytest.mark.parametrize("last", [":32", "x", "e:", "e:-1", f"e:{2**63}", "1e9", "a:b:c"])
async def test_an_id_that_cannot_be_read_begins_anew(last: str) -> None:
    """It is another gateway's; refused, an EventSource would never come back."""
    async with world() as here:
        await here.publish(count=2)
        async with stream(here, PATH + "&snapshot=true", last=last) as reader:
            told = (await reader.next())["data"]
            assert (told["recovered"], told["was_recovering"]) == (False, True)
            assert (await reader.next())["event"] == "snapshot"


async def test_a_reader_that_cannot_be_resumed_gets_a_snapshot() -> None:
    async with world() as here:
        await here.publish(count=3)
        async with stream(here, PATH, last="another:3") as reader:
            opening = await reader.next()
            assert opening["data"]["recovered"] is False
            assert opening["id"] == f"{here.engine.log.epoch}:3"
            snapshot = await reader.next()
            assert snapshot["event"] == "snapshot"
            assert "tasks" in snapshot["data"]
            last = await here.publish()
            assert offsets(await reader.events(1)) == [last]


async def test_heartbeats_are_comments() -> None:
    async with world(heartbeat_interval=0.1) as here, stream(here, PATH) as reader:
        await reader.next()
        assert (await reader.next())["comment"].startswith("heartbeat")
        await here.publish(user_id="bob", count=3)
        # Others' events move the position, so that a quiet stream resumes where the log is.
        while (beat := await reader.next())["id"] != f"{here.engine.log.epoch}:3":
            assert beat["comment"].startswith("heartbeat")


async def test_several_topics_and_a_snapshot_can_be_asked_for() -> None:
    async with world() as here:
        path = "/api/events/stream?topic=user:ann,user:bob&topic=system&snapshot=true"
        async with stream(here, path) as reader:
            await reader.next()
            assert (await reader.next())["event"] == "snapshot"
            for user in ("ann", "bob", "eve", "*"):
                await here.publish(user_id=user)
            assert offsets(await reader.events(3)) == [1, 2, 4]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("topic=planet:mars", 400, "topics"),
        ("topic=user:ann&since=x", 400, "since"),
        ("topic=user:ann&since=1&since=2", 400, "since"),
        ("topic=user:ann&snapshot=maybe", 400, "snapshot"),
        ("topic=user:bob", 403, "topics"),
        ("topic=*", 403, "topics"),
        ("topic=user:ann&types=agent_error", 403, "types"),
    ],
)
async def test_bad_requests_are_problems(query: str, status: int, field: str) -> None:
    async with world(secret=SECRET) as here:
        answer = await ask(here, "GET", f"/api/events/stream?{query}", token=token("ann"))
        assert answer.status == status
        assert answer.json["field"].startswith(field)


async def test_a_caller_is_needed_and_counted() -> None:
    async with world(secret=SECRET, max_connections=1) as here:
        assert (await ask(here, "GET", PATH)).status == 401
        async with stream(here, "/api/events/stream", token=token("ann")) as reader:
            # Without topics one follows oneself.
            await reader.next()
            await here.publish()
            assert len(await reader.events(1)) == 1
            async with stream(here, PATH, token=token("ann")) as late:
                told = await told_and_ended(late)
            assert told["code"] == "too_many_connections"
        await until(lambda: here.hub.connections == 0)


async def told_and_ended(reader: Stream) -> dict[str, Any]:
    """
    Check that a reader is told what is wrong in a stream that ends; gives what it says.

    After any other status than 200 an ``EventSource`` stays away for ever.
    """
    assert reader.response.status_code == 200
    assert reader.response.headers["content-type"].startswith("text/event-stream")
    (only,) = await reader.rest()
    assert only["event"] == "unavailable"
    # It keeps the position that it has seen last.
    assert "id" not in only
    assert 0 < int(only["retry"]) < 60_000
    data: dict[str, Any] = only["data"]
    assert only["data"]["retry_after"] * 1000 <= int(only["retry"])
    return data


def away_logs() -> tuple[list[AwayLog], Callable[[EventLog], EventLog]]:
    """A log that can go away, once a world is made with the function."""
    logs: list[AwayLog] = []

    def wrap(log: EventLog) -> EventLog:
        logs.append(AwayLog(log))
        return logs[0]

    return logs, wrap


async def test_a_stream_that_is_opened_while_the_store_is_away_says_so_and_ends() -> None:
    """It was silent, on a log that stands still, and looked well."""
    logs, wrap = away_logs()
    async with world(wrap_log=wrap) as here:
        logs[0].away = True
        async with stream(here, PATH) as reader:
            told = await told_and_ended(reader)
        assert (told["code"], told["message"]) == ("unavailable", "the store is away")
        assert told["degradation"]["scope"] == "store"
        answer = await ask(here, "HEAD", PATH)
        assert (answer.status, answer.text) == (200, "")
        # What is wrong for good is a refusal as ever.
        assert (await ask(here, "GET", "/api/events/stream?topic=nothing")).status == 400
        assert here.hub.connections == 0
        logs[0].away = False
        async with stream(here, PATH) as reader:
            assert (await reader.next())["event"] == "subscribed"


async def test_a_stream_that_is_open_hears_at_once_that_the_store_is_away_and_back() -> None:
    logs, wrap = away_logs()
    async with world(wrap_log=wrap) as here, stream(here, PATH) as reader:
        assert (await reader.next())["event"] == "subscribed"
        logs[0].away = True
        while (block := await reader.next()).get("event") != "heartbeat":
            pass
        assert block["data"]["degradation"]["scope"] == "store"
        assert "id" not in block
        logs[0].away = False
        while (block := await reader.next()).get("event") != "heartbeat":
            pass
        assert "degradation" not in block["data"]


async def test_a_stream_that_is_opened_while_the_gateway_ends_says_so() -> None:
    gate = asyncio.Event()
    async with world(before_stop=gate.wait) as here, stream(here, PATH) as reader:
        await reader.next()
        async with contextlib.AsyncExitStack() as stack:
            # The listener closes only after the work has ended.
            here.server.should_exit = True
            await until(lambda: here.hub.draining)
            late = await stack.enter_async_context(stream(here, PATH))
            assert (await told_and_ended(late))["code"] == "unavailable"
        gate.set()


async def test_a_stream_ends_with_its_token_and_with_the_gateway() -> None:
    async with world(secret=SECRET, heartbeat_interval=0.2) as here:
        soon = here.engine.clock.wall() + 1.0
        async with stream(here, PATH, token=token("ann", exp=soon)) as reader:
            assert (await reader.rest())[-1]["comment"].startswith("heartbeat")
        async with stream(here, PATH, token=token("ann")) as reader:
            await reader.next()
            here.server.should_exit = True
            (drain,) = [block for block in await reader.rest() if block.get("event") == "drain"]
            assert drain["data"]["reason"] == "shutdown"


@BOTH_SERVERS
async def test_a_reader_that_stops_is_freed(fast: bool) -> None:
    limits: dict[str, Any] = {"send_bytes": 32_768, "stall_timeout": 0.5}
    async with world(fast=fast, **limits) as here, stream(here, PATH) as reader:
        await reader.next()
        for _ in range(200):
            await here.publish(count=10, size=4000)
            await here.engine.clock.sleep(0)
        await until(lambda: here.hub.slow_freed == 1)
        await until(lambda: here.hub.connections == 0)


async def test_head_tells_what_the_stream_would_be_and_ends() -> None:
    async with world() as here:
        answer = await ask(here, "HEAD", "/api/events/stream?topic=user:ann")
        assert (answer.status, answer.text) == (200, "")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert here.hub.connections == 0
        assert (await ask(here, "HEAD", "/api/events/stream?topic=nothing")).status == 400


@pytest.mark.parametrize("user_id", ["auth0|5f7c", "Doe, Jane", "ann+test@example.org", "ä b,c"])
async def test_a_user_id_is_followed_as_it_was_issued(user_id: str) -> None:
    """A comma separates topics, and may stand in the id of a user all the same."""
    topics = f"user:{user_id},system,recipient:{user_id}"
    path = f"/api/events/stream?topic={quote(topics)}"
    issued = token(user_id, scope="events:read")
    async with world(secret=SECRET) as here:
        for address in (path, "/api/events/stream"):
            async with stream(here, address, token=issued) as reader:
                await reader.next()
                await here.publish(user_id=user_id)
                (event,) = await reader.events(1)
                assert event["user_id"] == user_id
