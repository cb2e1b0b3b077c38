"""Frames that are too long, too many or never end, over real sockets; what they cost."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import orjson
import pytest

from gateway.protocol.frames import text_frame
from gateway.transports.frames_protocol import PIECE_BYTES, FramesProtocol
from tests.transports.raw_client import Raw, frame, handshake, raw, raw_socket
from tests.transports.world import CLOCK, World, connected, until, world

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
SHORTEST = frame(b"", opcode=9)


def protocol_of(here: World) -> FramesProtocol:
    """The server's end of the only WebSocket."""
    (follower,) = here.hub.followers
    assert isinstance(follower.sink, FramesProtocol)
    return follower.sink


async def replied(client: Raw) -> Any:
    """The next message."""
    while True:
        opcode, payload = await client.next_frame()
        if opcode == 1:
            return orjson.loads(payload)


# --- length ---------------------------------------------------------------------------------


async def test_who_sends_too_much_learns_it_even_while_sending() -> None:
    """A connection that is closed over unread bytes is reset, and the reason may be lost."""
    async with world() as here:
        async with raw_socket(here) as client:
            await client.send(frame(b" " * 2**22))
            assert await client.close_code() == 1009
            await client.ended()
        await until(lambda: here.hub.connections == 0)


async def test_a_message_in_fragments_is_bounded_as_a_whole() -> None:
    async with world(frame_bytes=65_536) as here:
        whole = orjson.dumps(PING) + b" " * (65_536 - len(orjson.dumps(PING)))
        for more, code in ((b"", None), (b" ", 1009)):
            async with raw_socket(here) as client:
                data = whole + more
                await client.send(frame(data[:100], last=False))
                for at in range(100, 60_000, 9_000):
                    await client.send(frame(data[at : at + 9_000], opcode=0, last=False))
                    at += 9_000
                await client.send(frame(data[at:], opcode=0))
                if code is None:
                    assert (await replied(client))["id"] == 1
                else:
                    assert await client.close_code() == code


async def test_fragments_without_content_cost_nothing_and_are_counted() -> None:
    """Each was kept, and there is no end to them."""
    async with world(secret="", rate_ws=0) as here, raw_socket(here) as client:
        protocol = protocol_of(here)
        await client.send(frame(orjson.dumps(PING)[:10], last=False))
        for _ in range(20):
            await client.send(frame(b"", opcode=0, last=False) * 1000)
        await until(lambda: not protocol._unparsed and protocol._message is not None)
        assert len(protocol.frames) <= 1
        await client.send(frame(orjson.dumps(PING)[10:], opcode=0))
        assert (await replied(client))["id"] == 1
    async with world(rate_ws=10) as here, raw_socket(here, user_id="ann") as client:
        await client.send(frame(b"{", last=False) + frame(b"", opcode=0, last=False) * 1000)
        assert await client.close_code() == 4013


# --- number ---------------------------------------------------------------------------------


async def test_a_read_full_of_frames_is_taken_in_pieces() -> None:
    """Forty thousand fit into one; as messages they would take 20 MB and half a second."""
    async with world() as here, raw_socket(here) as client, connected(here) as other:
        (protocol,) = [
            follower.sink
            for follower in here.hub.followers
            if isinstance(follower.sink, FramesProtocol)
            and follower.sink.client == client.writer.get_extra_info("sockname")
        ]
        waiting: list[int] = []
        parse = protocol._parse

        def watched(data: bytes | bytearray) -> bool:
            found = parse(data)
            waiting.append(protocol.queue.qsize())
            return found

        protocol._parse = watched  # type: ignore[method-assign]
        ping = frame(PING)
        await client.send(ping * 5_000)
        for _ in range(5_000):
            assert (await replied(client))["id"] == 1
            if waiting and len(waiting) % 50 == 0:
                await other.result("ping")
        assert max(waiting) <= PIECE_BYTES // len(ping) + 1
        assert not protocol._unparsed


async def test_of_several_pings_the_newest_is_answered() -> None:
    async with world() as here, raw_socket(here) as client:
        pings = b"".join(frame(str(number).encode(), opcode=9) for number in range(50))
        await client.send(pings + frame(PING))
        pongs = []
        while (found := await client.next_frame())[0] == 10:
            pongs.append(found[1])
        assert pongs[-1] == b"49"
        assert len(pongs) < 10


async def test_pings_count_as_requests_of_their_user() -> None:
    async with world(rate_ws=10) as here:
        async with raw_socket(here, user_id="ann") as client:
            await client.send(SHORTEST * 15)
            await client.send(SHORTEST * 200)
            assert await client.close_code() == 4013
        # Pongs, too; and before anybody has connected there is nothing to ping for.
        async with raw_socket(here, user_id="bob") as client:
            await client.send(frame(b"", opcode=10) * 200)
            assert await client.close_code() == 4013
        async with raw(here) as client:
            await client.send(handshake(here))
            assert (await client.answer()).status == 101
            await client.send(SHORTEST * 200)
            assert await client.close_code() == 4013
        # An operator is exempt.
        async with raw_socket(here) as client:
            await client.send(SHORTEST * 2000 + frame(PING))
            assert (await replied(client))["id"] == 1


async def test_pings_of_a_client_that_does_not_read_grow_nothing() -> None:
    async with world(stall_timeout=30) as here:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", here.port))
        client = Raw(*await asyncio.open_connection(sock=peer, limit=4096))
        await client.send(handshake(here))
        assert (await client.answer()).status == 101
        await client.send(frame({**PING, "method": "connect"}))
        await client.next_frame()
        protocol = protocol_of(here)
        # Fill the sockets, so that an answer has nowhere to go.
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        while protocol.unsent() <= protocol._room:
            protocol.write(text_frame(b"x" * 65_536))
            await CLOCK.sleep(0)
        before = protocol.unsent()
        for _ in range(200):
            await client.send(frame(b"x" * 125, opcode=9) * 100)
        last = frame(b"last", opcode=9)
        await client.send(last)
        await until(lambda: protocol._pong == b"\x8a\x04last")
        assert protocol.unsent() == before
        # When it reads on, it gets the one answer that is left.
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        while (found := await client.next_frame()) != (10, b"last"):
            assert found == (1, b"x" * 65_536)
        client.writer.close()


# --- the rest -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"\xff\xfe") + SHORTEST * 3, 1007),
        (b"\x81\x01x" + SHORTEST * 300, 1002),
        (frame(b"", opcode=3), 1002),
        (frame(b"x" * 126, opcode=9), 1002),
        (frame(b"x", opcode=0), 1002),
    ],
    ids=["utf-8", "not masked", "opcode", "long ping", "no beginning"],
)
async def test_what_is_no_frame_ends_the_connection_with_its_code(sent: bytes, code: int) -> None:
    async with world() as here:
        async with raw_socket(here) as client:
            await client.send(sent)
            assert await client.close_code() == code
            assert await client.ended() == b""
        await until(lambda: here.hub.connections == 0)
        await until(lambda: here.limits.places.taken == 0)


async def test_a_client_that_is_closed_and_sends_on_is_dropped() -> None:
    async with world(rate_ws=1) as here, raw_socket(here, user_id="ann") as client:
        await client.send(SHORTEST * 3000)
        assert await client.close_code() == 4013
        for _ in range(3):
            await client.send(frame(PING) * 1000)
        await client.send(frame((4013).to_bytes(2, "big"), opcode=8))
        assert await client.ended() == b""
        await until(lambda: here.hub.connections == 0)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Version: 13", b"Version: 12"), 400),
        ((b"-Key: MDEy", b"-Key: "), 400),
        ((b"Version: 13", b"Version: 13\r\nContent-Length: 5"), 400),
        ((b"Host: 127.0.0.1", b"Host: evil.example"), 403),
        ((b"Version: 13", b"Version: 13\r\nOrigin: http://evil.example"), 403),
        ((b"GET /ws", b"GET /nowhere"), 403),
    ],
    ids=["version", "key", "body", "host", "origin", "path"],
)
async def test_a_handshake_that_is_refused_is_a_problem(
    change: tuple[bytes, bytes], status: int
) -> None:
    async with world() as here, raw(here) as client:
        await client.send(handshake(here).replace(*change))
        answer = await client.answer()
        assert (answer.status, answer.json["status"]) == (status, status)
        assert answer.headers["x-content-type-options"] == "nosniff"
        await client.ended()
        await until(lambda: here.limits.places.taken == 0)
