"""Calls over one connection, against a peer that answers only when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from gateway.client.calls import Calls
from gateway.client.errors import CallFailed, Disconnected
from tests.transports.world import until


@dataclasses.dataclass
class Peer:
    """
    The far end of one connection.

    Attributes:
        calls: The near end.
        asked: The requests that have arrived, in order.
        drop: Ends the connection.
    """

    calls: Calls
    asked: list[dict[str, Any]]
    drop: asyncio.Event

    async def asks(self, method: str, **options: Any) -> asyncio.Task[Any]:
        """Start a call, and give it once its request has arrived."""
        before = len(self.asked)
        call = asyncio.create_task(self.calls.ask(method, {}, **options))
        await until(lambda: len(self.asked) > before)
        return call


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    asked: list[dict[str, Any]] = []
    drop = asyncio.Event()

    async def listen(socket: ServerConnection) -> None:
        while True:
            asked.append(orjson.loads(await socket.recv()))

    async def handle(socket: ServerConnection) -> None:
        listening = asyncio.create_task(listen(socket))
        await drop.wait()
        socket.transport.abort()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    async with serve(handle, "127.0.0.1", 0, close_timeout=1) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}"
        async with connect(url, proxy=None, close_timeout=1) as socket:
            yield Peer(Calls(socket), asked, drop)
            drop.set()


async def test_answers_are_given_to_their_calls_in_any_order(peer: Peer) -> None:
    first, second = await peer.asks("one"), await peer.asks("two")
    assert [(frame["method"], frame["jsonrpc"]) for frame in peer.asked] == [
        *(("one", "2.0"), ("two", "2.0"))
    ]
    one, two = (frame["id"] for frame in peer.asked)
    peer.calls.take({"id": two, "result": "2"})
    peer.calls.take({"id": one, "result": "1"})
    assert (await first, await second) == ("1", "2")


async def test_a_refusal_is_an_error_of_its_call_alone(peer: Peer) -> None:
    call, other = await peer.asks("one"), await peer.asks("two")
    error = {"code": -32602, "message": "wrong", "data": {"code": "invalid_params"}}
    peer.calls.take({"id": peer.asked[0]["id"], "error": error})
    with pytest.raises(CallFailed, match="wrong"):
        await call
    peer.calls.take({"id": peer.asked[1]["id"], "result": None})
    assert await other is None


async def test_a_result_is_looked_at_before_the_next_frame(peer: Peer) -> None:
    """The next frame may be an event that follows it, so that a wake-up would be too late."""
    seen: list[Any] = []
    call = await peer.asks("subscribe", on_result=seen.append)
    peer.calls.take({"id": peer.asked[0]["id"], "result": {"offset": 3}})
    assert seen == [{"offset": 3}]
    await call
    refused = await peer.asks("subscribe", on_result=seen.append)
    peer.calls.take({"id": peer.asked[1]["id"], "error": {}})
    with pytest.raises(CallFailed):
        await refused
    assert len(seen) == 1


async def test_a_late_answer_to_a_cancelled_call_is_no_other_calls_answer(peer: Peer) -> None:
    call = await peer.asks("one")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    other = await peer.asks("two")
    one, two = (frame["id"] for frame in peer.asked)
    assert one != two
    peer.calls.take({"id": one, "result": "late"})
    peer.calls.take({"id": two, "result": "yes"})
    peer.calls.take({"id": two, "result": "twice"})
    peer.calls.take({"id": None, "error": {"message": "a frame that was none"}})
    assert await other == "yes"


async def test_a_lost_connection_fails_the_waiting_calls_and_every_later_one(peer: Peer) -> None:
    calls = [await peer.asks("one"), await peer.asks("two")]
    peer.calls.lose()
    peer.calls.lose()
    for call in calls:
        with pytest.raises(Disconnected, match="before the answer"):
            await call
    assert peer.calls.lost.is_set()
    with pytest.raises(Disconnected):
        await peer.calls.ask("three", {})
    assert len(peer.asked) == 2


async def test_a_call_finds_out_by_itself_that_the_connection_is_lost(peer: Peer) -> None:
    """The reader of the connection may not have noticed; the next call must not try again."""
    peer.drop.set()
    with contextlib.suppress(Exception):
        await peer.calls._websocket.wait_closed()
    with pytest.raises(Disconnected):
        await peer.calls.ask("one", {})
    assert peer.calls.lost.is_set()
