"""The sink for servers that know nothing of ready frames."""

from __future__ import annotations

import asyncio

import pytest

from gateway.transports.sink import PumpedSink
from tests.transports.sinks import settle


class Peer:
    """The far end: takes what it is let to, and remembers."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.ended: tuple[int, str] | None = None
        self.aborted = 0
        self.open = asyncio.Event()
        self.open.set()
        self.sink = PumpedSink(self.send, self.end, self.abort)

    async def send(self, data: bytes) -> None:
        await self.open.wait()
        if data == b"broken":
            raise OSError("the peer is gone")
        self.taken.append(data)

    async def end(self, code: int, reason: str) -> None:
        self.ended = (code, reason)

    def abort(self) -> None:
        self.aborted += 1


async def test_what_is_written_goes_out_in_order_and_goodbye_last() -> None:
    peer = Peer()
    peer.sink.write(b"one")
    peer.sink.write(b"two")
    peer.sink.close(1012, "restarting")
    peer.sink.close(4000, "again")
    peer.sink.write(b"three")
    await peer.sink.pump()
    assert peer.taken == [b"one", b"two"]
    assert peer.ended == (1012, "restarting")
    assert peer.sink.unsent() == 0


async def test_unsent_bytes_count_until_the_server_has_taken_them() -> None:
    peer = Peer()
    told = []
    peer.sink.set_room(3)
    peer.sink.on_writable = lambda: told.append(peer.sink.unsent())
    peer.open.clear()
    pump = asyncio.create_task(peer.sink.pump())
    peer.sink.write(b"12345")
    peer.sink.write(b"678")
    await settle()
    assert peer.sink.unsent() == 8
    assert told == []
    peer.open.set()
    await settle()
    assert told == [3, 0]
    pump.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pump


async def test_abort_loses_what_is_unsent_and_is_told_once() -> None:
    peer = Peer()
    peer.open.clear()
    pump = asyncio.create_task(peer.sink.pump())
    peer.sink.write(b"one")
    await settle()
    peer.sink.write(b"two")
    peer.sink.abort()
    peer.sink.abort()
    assert peer.aborted == 1
    assert peer.sink.unsent() == 0
    peer.open.set()
    await pump
    assert peer.taken == [b"one"]
    assert peer.ended is None


async def test_a_writer_that_waits_for_room_learns_that_the_peer_is_gone() -> None:
    peer = Peer()
    told = []
    peer.sink.on_writable = lambda: told.append(peer.sink.unsent())
    peer.sink.write(b"broken")
    peer.sink.write(b"more")
    with pytest.raises(OSError, match="gone"):
        await peer.sink.pump()
    assert told == [0]
    peer.sink.write(b"nothing")
    assert peer.sink.unsent() == 0
