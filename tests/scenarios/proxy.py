"""
A TCP proxy that fails on purpose: between a browser and the gateway, an agent and its upstream.

    async with Proxy(port) as proxy:
        ... connect to proxy.port ...
        proxy.cut()               # RST to both ends of every connection
        proxy.refuse = True       # new connections are closed at once
        proxy.stalled = True      # bytes are taken and go nowhere; the sockets stay open
        proxy.out.stalled = True  # only what comes from the client
        proxy.back.stalled = True # only what the target answers
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Self

__all__ = ["Proxy"]

CHUNK_BYTES = 65536


class Direction:
    """The bytes that go one way: on and on, or nowhere for a while."""

    def __init__(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def stalled(self) -> bool:
        """Whether bytes go nowhere."""
        return not self._flowing.is_set()

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        if stalled:
            self._flowing.clear()
        else:
            self._flowing.set()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes until either end is gone."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()


class Proxy:
    """One listening port in front of another; an async context manager."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.refuse = False
        self.out, self.back = Direction(), Direction()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def stalled(self) -> bool:
        """Whether bytes go nowhere, in either direction."""
        return self.out.stalled and self.back.stalled

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        self.out.stalled = self.back.stalled = stalled

    def cut(self) -> None:
        """Reset every connection, both ends."""
        for writer in list(self._writers):
            raw = writer.get_extra_info("socket")
            if raw is not None:
                # Lingering for no time at all makes close() send RST. Where the other side was
                # faster, the socket is closed and its transport not yet forgotten.
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        pumps = [
            asyncio.ensure_future(self.out.pump(reader, far_writer)),
            asyncio.ensure_future(self.back.pump(far_reader, writer)),
        ]
        self._pumps.update(pumps)
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._pumps.difference_update(pumps)
            self._writers -= {writer, far_writer}
            for end in (writer, far_writer):
                with contextlib.suppress(OSError):
                    end.close()
