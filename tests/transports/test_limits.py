"""Too many connections and too many requests: who is refused, how, and who is not."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from gateway.protocol.session import MALFORMED_IN_A_ROW_MAX
from tests.transports.http_client import Answer, ask, stream
from tests.transports.mcp_client import call, say
from tests.transports.raw_client import frame, raw, raw_socket, request
from tests.transports.world import (
    BOTH_SERVERS,
    CLOCK,
    SECRET,
    World,
    connected,
    token,
    until,
    wire,
    world,
)

STREAM = "/api/events/stream"
ANN, BOB = token("ann", "events:read tasks:write"), token("bob")
ROOT = token("root", "admin")


def told_to_wait(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json["retry_after"] > 0
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-content-type-options"] == "nosniff"


async def turned_away(here: World, code: str, **headers: str) -> None:
    """A stream is told inside a stream, after which an ``EventSource`` comes back."""
    async with stream(here, STREAM, token=headers.get("token")) as reader:
        assert reader.response.status_code == 200
        first, *rest = await reader.rest()
        assert rest == []
        assert int(first["retry"]) > 0
        assert (first["event"], first["data"]["code"]) == ("unavailable", code)


# --- rates ----------------------------------------------------------------------------------


async def test_a_user_that_asks_too_often_is_told_when_to_ask_again() -> None:
    async with world(secret=SECRET, rate_http=5) as here:
        answers = [await ask(here, "GET", "/api/tasks", token=ANN) for _ in range(10)]
        refused = [answer for answer in answers if answer.status != 200]
        async with asyncio.timeout(10):
            while not refused:
                answers.append(await ask(here, "GET", "/api/tasks", token=ANN))
                refused = [answer for answer in answers if answer.status != 200]
        told_to_wait(refused[0], 429, "rate_limited")
        # The others do not notice, nor does an operator ever.
        assert (await ask(here, "GET", "/api/tasks", token=BOB)).status == 200
        for _ in range(15):
            assert (await ask(here, "GET", "/api/tasks", token=ROOT)).status == 200


async def test_every_http_door_counts_together() -> None:
    """Operations, MCP and streams; the documents have no user and cost nothing."""
    async with world(secret=SECRET, rate_http=1) as here:
        await ask(here, "GET", "/api/tasks", token=ANN)
        await ask(here, "GET", "/api/tasks", token=ANN)
        answer = await say(here, call("task.list"), token=ANN)
        assert answer.status == 429
        assert answer.headers["retry-after"] == "1"
        assert answer.json["error"]["data"]["code"] == "rate_limited"
        told_to_wait(await ask(here, "GET", "/api/tasks", token=ANN), 429, "rate_limited")
        await turned_away(here, "rate_limited", token=ANN)
        for _ in range(5):
            assert (await ask(here, "GET", "/health")).status == 200
        # A WebSocket has its own.
        async with connected(here, token=ANN) as client:
            await client.result("ping")


@BOTH_SERVERS
async def test_a_socket_is_told_and_closed_when_it_goes_on(fast: bool) -> None:
    async with (
        world(fast=fast, rate_ws=5) as here,
        connected(here, user_id="bob") as other,
        connected(here, user_id="ann") as client,
    ):
        for number in range(300):
            await client.send({"jsonrpc": "2.0", "id": number, "method": "ping"})
        replies = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                replies.append(await client.next())
        errors = [reply for reply in replies if "error" in reply]
        assert 90 < len(errors) <= 100
        for reply in errors:
            error = reply["error"]
            assert (error["code"], error["data"]["code"]) == (-32011, "rate_limited")
            assert 0 < error["data"]["retry_after"] < 1
        assert [reply["id"] for reply in replies] == list(range(len(replies)))
        assert (await client.closed())[0] == 4013
        await other.result("ping")


async def test_a_socket_that_waits_as_it_is_told_stays() -> None:
    async with world(rate_ws=20) as here, connected(here, user_id="ann") as client:
        done = 0
        while done < 60:
            reply = await client.ask("ping")
            if "error" in reply:
                await CLOCK.sleep(reply["error"]["data"]["retry_after"])
            else:
                done += 1


async def test_a_rate_belongs_to_the_user_and_not_to_the_socket() -> None:
    async with world(rate_ws=5) as here, contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connected(here, user_id="ann")) for _ in range(3)
        ]
        replies = [await client.ask("ping") for _ in range(10) for client in clients]
        assert sum("error" in reply for reply in replies) > 10


async def test_an_operators_socket_is_exempt_until_its_token_says_otherwise() -> None:
    both = token("ann", "admin")
    async with world(secret=SECRET, rate_ws=2) as here, connected(here, token=both) as client:
        for _ in range(50):
            await client.result("ping")
        await client.result("connect", token=ANN)
        assert "error" in [await client.ask("ping") for _ in range(10)][-1]


async def test_rates_that_are_off_do_not_hold() -> None:
    async with world(rate_ws=0, rate_http=0) as here, connected(here, user_id="ann") as client:
        for number in range(500):
            await client.send({"jsonrpc": "2.0", "id": number, "method": "ping"})
        for _ in range(500):
            assert "result" in await client.next()


async def test_a_sign_in_that_is_refused_again_and_again_costs_the_connection() -> None:
    """Each took 13 ms, with junk fields, and was free."""
    async with world() as here, wire(here) as client:
        for number in range(MALFORMED_IN_A_ROW_MAX):
            reply = await client.ask("connect", **{f"junk{number}": 1})
            assert reply["error"]["data"]["code"] == "invalid_params"
        assert (await client.closed())[0] == 4501
    # One that comes to its senses begins anew.
    async with world() as here, wire(here) as client:
        for _ in range(MALFORMED_IN_A_ROW_MAX - 1):
            await client.ask("connect", junk=1)
        await client.result("connect")
        await client.send("{")
        assert (await client.next())["error"]["code"] == -32700
        await client.result("ping")


async def test_refused_sign_ins_count_for_their_address() -> None:
    async with world(secret=SECRET, rate_http=3) as here:
        answers = [await ask(here, "GET", "/api/tasks", token="no.no.no") for _ in range(20)]
        assert {answer.status for answer in answers[:6]} == {401}
        assert 429 in {answer.status for answer in answers}
        for _ in range(8):
            async with wire(here, subprotocols=("agent-events.v1", "bearer.x")) as client:
                code = (await client.closed())[0]
                if code == 4013:
                    break
                assert code == 4500
        assert code == 4013
        # Who has a good token is let in, also from there.
        assert (await ask(here, "GET", "/api/tasks", token=ANN)).status == 200


# --- connections of a user --------------------------------------------------------------------


async def test_a_user_has_a_number_of_connections_of_any_kind() -> None:
    async with (
        world(secret=SECRET, max_connections_user=2) as here,
        connected(here, token=ANN) as client,
        stream(here, STREAM, token=ANN) as reader,
    ):
        await reader.next()
        async with wire(here) as late:
            reply = await late.ask("connect", token=ANN)
            assert reply["error"]["data"]["code"] == "too_many_connections"
            assert (await late.closed())[0] == 4004
        async with wire(here, subprotocols=("agent-events.v1", f"bearer.{ANN}")) as late:
            assert (await late.closed())[0] == 4004
        told_to_wait(await ask(here, "GET", "/api/tasks", token=ANN), 429, "too_many_connections")
        answer = await say(here, call("task.list"), token=ANN)
        assert (answer.status, answer.headers["retry-after"]) == (429, "5")
        await turned_away(here, "too_many_connections", token=ANN)
        # To refresh a token is no second connection; others have their own number.
        await client.result("connect", token=ANN)
        assert (await ask(here, "GET", "/api/tasks", token=BOB)).status == 200
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                operator = await stack.enter_async_context(connected(here, token=ROOT))
                await operator.result("ping")
        await client.socket.close()
        await until(lambda: here.hub.connections == 1)
        assert (await ask(here, "GET", "/api/tasks", token=ANN)).status == 200
    assert len(here.limits.users) == 0


async def test_requests_that_are_answered_now_count_and_leave() -> None:
    """Otherwise claims that wait could be any number."""
    async with world(secret=SECRET, max_connections_user=3) as here:
        gate = asyncio.Event()

        async def wait(name: str, params: Any, caller: Any) -> dict[str, Any]:
            await gate.wait()
            return {"items": [], "next": None}

        here.engine.script = wait
        async with asyncio.TaskGroup() as group:
            waiting = [
                group.create_task(ask(here, "GET", "/api/tasks", token=ANN)) for _ in range(3)
            ]
            await until(lambda: here.limits.users.full("ann"))
            refused = await ask(here, "GET", "/api/tasks", token=ANN)
            told_to_wait(refused, 429, "too_many_connections")
            gate.set()
        assert {task.result().status for task in waiting} == {200}
        assert len(here.limits.users) == 0


# --- connections of an address, and of all ----------------------------------------------------


async def test_an_address_has_a_number_of_connections_and_operators_are_exempt() -> None:
    async with (
        world(secret=SECRET, max_connections_address=2) as here,
        connected(here, token=ROOT) as operator,
        connected(here, token=ANN),
        connected(here, token=BOB),
    ):
        told_to_wait(await ask(here, "GET", "/health"), 429, "too_many_connections")
        answer = await ask(here, "GET", "/api/tasks", token=BOB)
        told_to_wait(answer, 429, "too_many_connections")
        assert answer.headers["connection"] == "close"
        assert (await ask(here, "GET", "/api/tasks", token="x.y.z")).status == 429
        await turned_away(here, "too_many_connections", token=BOB)
        async with wire(here) as late:
            reply = await late.ask("connect", token=BOB)
            assert reply["error"]["data"]["code"] == "too_many_connections"
            assert (await late.closed())[0] == 4004
        # Operators come in, by each door, and do not take what is left from others.
        assert (await ask(here, "GET", "/api/tasks", token=ROOT)).status == 200
        async with stream(here, STREAM, token=ROOT) as reader:
            assert (await reader.next())["event"] == "subscribed"
            async with connected(here, token=ROOT) as another:
                await another.result("ping")
                await operator.result("ping")
        # Beyond the room for them nobody is let in.
        async with raw(here), raw(here) as client:
            await client.send(request(here, "GET /health"))
            assert await client.ended() == b""


async def test_a_full_gateway_says_so_by_each_door() -> None:
    async with (
        world(secret=SECRET, max_connections=2) as here,
        connected(here, token=ANN) as client,
        connected(here, token=ROOT),
    ):
        for who in (ANN, ROOT, None):
            answer = await ask(here, "GET", "/api/tasks", token=who)
            told_to_wait(answer, 503, "too_many_connections")
            assert answer.headers["connection"] == "close"
        await turned_away(here, "too_many_connections", token=ANN)
        async with wire(here) as late:
            assert (await late.closed())[0] == 4004
        # Who is told so takes no place, and beyond twice the limit nobody is told anything.
        async with raw(here), raw(here), raw(here) as one_more:
            await one_more.send(request(here, "GET /health"))
            assert await one_more.ended() == b""
        await until(lambda: here.limits.places.turned_away == 0)
        await client.result("ping")
        await client.socket.close()
        await until(lambda: here.limits.places.taken == 1)
        assert (await ask(here, "GET", "/health")).status == 200


async def test_plain_connections_count_whatever_they_send() -> None:
    async with world(max_connections=3) as here:
        async with raw(here), raw(here) as half, raw(here) as idle:
            await half.send(b"GET /health")
            await idle.send(request(here, "GET /health"))
            assert (await idle.answer()).status == 200
            assert here.limits.places.taken == 3
            assert (await ask(here, "GET", "/health")).status == 503
            # Those that are there are served on.
            await idle.send(request(here, "GET /health"))
            assert (await idle.answer()).status == 200
        await until(lambda: here.limits.places.taken == 0)


async def test_limits_that_are_off_do_not_hold() -> None:
    off: dict[str, Any] = {
        "max_connections": 0,
        "max_connections_user": 0,
        "max_connections_address": 0,
    }
    async with world(**off) as here, contextlib.AsyncExitStack() as stack:
        for _ in range(30):
            await stack.enter_async_context(raw_socket(here, user_id="ann"))
        assert here.limits.places.taken == 30


@pytest.mark.parametrize("fast", [False])
async def test_under_another_server_users_and_streams_are_limited_all_the_same(fast: bool) -> None:
    async with (
        world(fast=fast, secret=SECRET, max_connections_user=1, max_connections=2) as here,
        connected(here, token=ANN),
    ):
        async with wire(here) as late:
            await late.ask("connect", token=ANN)
            assert (await late.closed())[0] == 4004
        await until(lambda: here.hub.connections == 1)
        async with stream(here, STREAM, token=BOB) as reader:
            await reader.next()
            await turned_away(here, "too_many_connections", token=ROOT)
            async with wire(here) as late:
                assert (await late.closed())[0] == 4004


async def test_what_is_over_a_limit_leaves_nothing_behind() -> None:
    async with world(secret=SECRET, max_connections=4, max_connections_user=1) as here:

        async def come_and_go(number: int) -> None:
            async with raw(here) as client:
                kind = number % 3
                if kind == 0:
                    await client.send(
                        request(here, "GET /api/tasks", f"Authorization: Bearer {ANN}")
                    )
                elif kind == 1:
                    await client.send(b"GET / HT")
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    if kind == 0:
                        await client.answer()

        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(come_and_go(number))
        places = here.limits.places
        await until(lambda: (places.taken, places.turned_away, len(places.addresses)) == (0, 0, 0))
        assert len(here.limits.users) == 0
        async with raw_socket(here, token=ANN) as client:
            await client.send(frame({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
            assert "result" in orjson.loads((await client.next_frame())[1])
