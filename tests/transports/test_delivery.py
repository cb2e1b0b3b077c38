"""Delivery over real sockets, under our server and under plain ASGI: slow, dead and cut readers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

from gateway.client.connection import Connection
from gateway.transports.frames_protocol import FramesProtocol
from tests.transports.world import BOTH_SERVERS, World, connected, dumps, offsets, until, world

pytestmark = BOTH_SERVERS

UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def masked(text: str) -> bytes:
    """A client's frame; the mask is zero, so that the payload stays as it is."""
    payload = text.encode()
    assert len(payload) < 126
    return bytes((0x81, 0x80 | len(payload))) + b"\0\0\0\0" + payload


@contextlib.asynccontextmanager
async def deaf(here: World, topic: str) -> AsyncIterator[socket.socket]:
    """A second client that subscribes, and then reads nothing at all."""
    peer = socket.socket()
    # Small buffers, so that a test needs little to fill them.
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(peer, ("127.0.0.1", here.port))
        await loop.sock_sendall(peer, UPGRADE.format(port=here.port).encode())
        assert (await loop.sock_recv(peer, 1024)).startswith(b"HTTP/1.1 101 ")
        subscribe = {"id": 2, "method": "subscribe", "params": {"topics": [topic]}}
        for frame in ({"id": 1, "method": "connect"}, subscribe):
            await loop.sock_sendall(peer, masked(dumps({"jsonrpc": "2.0", **frame})))
        await until(lambda: sum(topic in one.topics for one in here.hub.followers) == 2)
        yield peer
    finally:
        peer.close()


async def test_a_reader_that_stops_does_not_stop_the_others_and_is_freed(fast: bool) -> None:
    limits: dict[str, Any] = {"send_bytes": 32_768, "stall_timeout": 0.5}
    async with world(fast=fast, **limits) as here, connected(here) as quick:
        await quick.result("subscribe", topics=["user:ann"])
        async with deaf(here, "user:ann"):
            assert here.hub.connections == 2
            # More than the kernel's buffers of both ends hold.
            for _ in range(300):
                await here.publish(count=10, size=2000)
                await quick.events(10)
            assert offsets(frame for frame in quick.frames if "type" in frame)[-1] == 3000
            await until(lambda: here.hub.slow_freed == 1)
            await until(lambda: here.hub.connections == 1)
            await here.publish()
            assert offsets(await quick.events(1)) == [3001]


async def test_a_slow_reader_gets_everything_in_order(fast: bool) -> None:
    async with (
        world(fast=fast, send_bytes=16_384) as here,
        connected(here) as quick,
        connected(here) as slow,
    ):
        for client in (quick, slow):
            await client.result("subscribe", topics=["user:ann"])
        # Nothing is read from `slow` meanwhile, so that it falls behind.
        for _ in range(100):
            await here.publish(count=20, size=3000)
            await quick.events(20)
        assert any(not follower.live for follower in here.hub.followers)
        assert offsets(await slow.events(2000)) == list(range(1, 2001))
        await until(lambda: all(follower.live for follower in here.hub.followers))


async def test_replay_meets_what_is_new_without_a_seam(fast: bool) -> None:
    """Any interleaving of appends, cuts and resumes; the seed is in the name of the failure."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    async with world(fast=fast, send_bytes=8192) as here:
        got: dict[int, list[int]] = {}
        total = 400

        async def follow(number: int) -> None:
            seen = got[number] = []
            async with Connection(
                here.ws, topics=["user:ann"], since="start", chance=lambda: 0.0
            ) as client:
                async for event in client:
                    seen.append(event["offset"])
                    if event["offset"] == total:
                        return
                    if chance.random() < 0.02:
                        await client.drop()

        async def append() -> None:
            while here.engine.log.head < total:
                count = min(total - here.engine.log.head, chance.randint(1, 8))
                await here.publish(count=count, size=chance.choice([0, 100, 2000]))
                for _ in range(chance.randint(0, 20)):
                    await here.engine.clock.sleep(0)

        await asyncio.gather(append(), *(follow(number) for number in range(5)))
        for number in range(5):
            assert got[number] == list(range(1, total + 1)), f"seed {seed}, reader {number}"


async def test_many_readers_come_back_at_once(fast: bool) -> None:
    async with world(fast=fast) as here:
        await here.publish(count=200, size=500)
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(here)) for _ in range(30)]
            since = {"epoch": here.engine.log.epoch, "offset": 100}

            async def resume(client: Any) -> list[int]:
                await client.result("subscribe", topics=["user:ann"], since=since)
                return offsets(await client.events(101))

            resuming = [asyncio.create_task(resume(client)) for client in clients]
            await here.publish()
            for result in await asyncio.gather(*resuming):
                assert result == list(range(101, 202))
            assert here.hub.resumes["recovered"] == 30


async def test_the_server_offers_ready_frames_only_where_it_is_ours(fast: bool) -> None:
    async with world(fast=fast) as here, connected(here) as client:
        await client.result("ping")
        (follower,) = here.hub.followers
        assert isinstance(follower.sink, FramesProtocol) is fast
