"""
What is left of a connection that has ended: nothing, without Python looking for garbage.

What holds itself would stay until the gateway is looked through as a whole, some hundred bytes to a
megabyte for each connection, and that look stops the loop (gateway/app/garbage.py).
"""

from __future__ import annotations

import collections
import contextlib
import gc
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.transports.http_client import stream
from tests.transports.raw_client import frame, handshake, raw, raw_socket, request
from tests.transports.world import SECRET, World, connected, token, until, world

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
MODULES = frozenset(
    f"gateway.transports.{name}"
    for name in ("event_stream", "follower", "frames_protocol", "http_protocol", "places", "sink")
) | {
    "gateway.protocol.session",
    "gateway.transports.lifeline",
    "gateway.transports.websocket",
    "httptools.parser.parser",
    "uvicorn.protocols.http.httptools_impl",
    "websockets.server",
}


def there() -> collections.Counter[str]:
    """What there is of connections."""
    kinds = (type(each) for each in gc.get_objects())
    return collections.Counter(kind.__qualname__ for kind in kinds if kind.__module__ in MODULES)


@pytest.fixture(autouse=True)
def _no_looking() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def closed(here: World) -> None:
    async with connected(here) as client:
        await client.result("subscribe", topics=["user:ann"])


async def gone(here: World) -> None:
    async with raw_socket(here) as client:
        await client.send(frame(PING))
        await client.next_frame()
        client.writer.transport.abort()


async def refused(here: World) -> None:
    async with raw(here) as client:
        await client.send(handshake(here))
        await client.answer()
        params = {"token": token()[:-4] + "AAAA"}
        await client.send(frame({"jsonrpc": "2.0", "id": 1, "method": "connect", "params": params}))
        await client.close_code()
        await client.send(frame(b"", opcode=8))
        await client.ended()


async def wrong(here: World) -> None:
    async with raw_socket(here) as client:
        await client.send(frame(b"\xff"))
        await client.close_code()
        await client.ended()


async def streamed(here: World) -> None:
    async with stream(here, "/api/events/stream?topic=user:ann") as events:
        await events.next()


async def asked(here: World) -> None:
    async with raw(here) as client:
        for bearer in (token(), "no token"):
            ask = request(here, "GET /api/tasks", f"Authorization: Bearer {bearer}")
            await client.send(ask)
            await client.answer()


async def half_asked(here: World) -> None:
    async with raw(here) as client:
        await client.send(request(here, "POST /api/tasks", "Content-Length: 5", body=b"{"))


async def half_a_handshake(here: World) -> None:
    async with raw(here) as client:
        await client.send(handshake(here)[:-10])


async def no_http(here: World) -> None:
    async with raw(here) as client:
        await client.send(b"\x16\x03\x01 no HTTP\r\n\r\n")
        await client.ended()


@pytest.mark.parametrize(
    "end",
    [closed, gone, refused, wrong, streamed, asked, half_asked, half_a_handshake, no_http],
)
async def test_a_connection_that_has_ended_leaves_nothing(
    end: Callable[[World], Awaitable[None]],
) -> None:
    async with world(secret=SECRET if end is refused else "") as here:
        before = there()
        for _ in range(3):
            await end(here)
        await until(lambda: here.hub.connections == 0)
        with contextlib.suppress(AssertionError):  # the one below says what there is
            await until(lambda: there() <= before, within_s=5)
        assert there() - before == {}
