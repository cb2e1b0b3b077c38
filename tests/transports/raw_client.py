"""A client that sends exactly these bytes, when it likes, over HTTP and over WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import orjson

from tests.transports.world import WAIT_S, World

__all__ = ["Raw", "RawAnswer", "frame", "handshake", "raw", "raw_socket", "request"]


@dataclasses.dataclass
class RawAnswer:
    """One answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Raw:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send; a peer that has closed is no error, its answer may be waiting."""
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WAIT_S):
                await self.writer.drain()

    async def answer(self) -> RawAnswer:
        """Read one answer over HTTP."""
        async with asyncio.timeout(WAIT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return RawAnswer(int(first.split()[1]), headers, body)

    async def ended(self) -> bytes:
        """Wait until the peer has closed; gives what came before."""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""

    async def next_frame(self) -> tuple[int, bytes]:
        """Read one WebSocket frame: opcode, payload."""
        async with asyncio.timeout(WAIT_S):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            return first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """Read frames up to the close frame; gives its code."""
        while True:
            opcode, payload = await self.next_frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")


@contextlib.asynccontextmanager
async def raw(here: World) -> AsyncIterator[Raw]:
    """Connect, and say nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port, limit=2**22)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()


def request(here: World, start: str, *fields: str, body: bytes = b"") -> bytes:
    """A request with a Host."""
    lines = [f"{start} HTTP/1.1", f"Host: 127.0.0.1:{here.port}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def handshake(here: World, *fields: str, path: str = "/ws") -> bytes:
    """The opening handshake."""
    return request(
        here,
        f"GET {path}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Version: 13",
        *fields,
    )


def frame(payload: bytes | dict[str, Any], *, opcode: int = 1, last: bool = True) -> bytes:
    """A client's frame; the mask is zero, so that the payload stays as it is."""
    data = orjson.dumps(payload) if isinstance(payload, dict) else payload
    size = len(data)
    if size < 126:
        head = bytes((0x80 | size,))
    elif size < 2**16:
        head = bytes((0x80 | 126,)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | 127,)) + size.to_bytes(8, "big")
    return bytes(((0x80 if last else 0) | opcode,)) + head + b"\0\0\0\0" + data


@contextlib.asynccontextmanager
async def raw_socket(here: World, **params: Any) -> AsyncIterator[Raw]:
    """Open a WebSocket and connect; ``params`` are those of ``connect``."""
    async with raw(here) as client:
        await client.send(handshake(here))
        assert (await client.answer()).status == 101
        await client.send(frame({"jsonrpc": "2.0", "id": 0, "method": "connect", "params": params}))
        opcode, reply = await client.next_frame()
        assert opcode == 1
        assert "result" in orjson.loads(reply), reply
        yield client
