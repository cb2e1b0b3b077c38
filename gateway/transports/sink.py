"""
The end of a connection that bytes go into, as little of it as the hub needs.

A server that lets us write ready frames offers a sink of its own (``server.FramesProtocol``, by
``scope["extensions"]["gateway.frames"]``). Under any other ASGI server, and for streams over
HTTP, a ``PumpedSink`` holds what the server has not taken yet and hands it over piece by piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

__all__ = ["ABORT_EXTENSION", "FRAMES_EXTENSION", "PumpedSink", "Sink"]

# Where a server offers its sink in the scope of a WebSocket.
FRAMES_EXTENSION = "gateway.frames"

# Where a server offers a function that drops the connection of an HTTP request.
ABORT_EXTENSION = "gateway.abort"


class Sink(Protocol):
    """
    Takes bytes and never waits.

    Attributes:
        on_writable: Called when what is unsent has fallen to the room or below.
        on_alive: Called when the peer gave a sign of life that is not a message.
    """

    on_writable: Callable[[], None]
    on_alive: Callable[[], None]

    def write(self, data: bytes) -> None:
        """Take whole frames, in order. After ``close`` or ``abort`` nothing happens."""
        ...

    def unsent(self) -> int:
        """Bytes taken and not yet accepted by the socket."""
        ...

    def set_room(self, unsent_max: int) -> None:
        """Call ``on_writable`` when the unsent bytes were over ``unsent_max`` and no longer are."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye after what was written, then end; a second call does nothing."""
        ...

    def abort(self) -> None:
        """End now; what is unsent is lost."""
        ...


class PumpedSink:
    """
    A ``Sink`` over a coroutine that sends, such as ASGI's.

    Args:
        send: Sends some of what was written; returns when the server has taken it.
        end: Ends the connection in order, with a code and a reason.
        on_abort: Ends it without order; called once, from wherever ``abort`` was called.

    Whoever owns the connection runs ``pump``. What waits here is bounded by its users: the hub
    stops writing at ``settings.send_bytes``.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        end: Callable[[int, str], Awaitable[None]],
        on_abort: Callable[[], None],
    ) -> None:
        self.on_writable: Callable[[], None] = _nothing
        self.on_alive: Callable[[], None] = _nothing
        self._send = send
        self._end = end
        self._on_abort = on_abort
        self._waiting: list[bytes] = []
        self._unsent = 0
        self._room = 0
        self._more = asyncio.Event()
        self._goodbye: tuple[int, str] | None = None
        self._over = False
        self._aborted = False

    def write(self, data: bytes) -> None:
        if not self._over:
            self._waiting.append(data)
            self._unsent += len(data)
            self._more.set()

    def unsent(self) -> int:
        return self._unsent

    def set_room(self, unsent_max: int) -> None:
        self._room = unsent_max

    def close(self, code: int, reason: str) -> None:
        if not self._over:
            self._over = True
            self._goodbye = (code, reason)
            self._more.set()

    def abort(self) -> None:
        if self._aborted:
            return
        self._aborted = self._over = True
        self._goodbye = None
        self._waiting.clear()
        self._unsent = 0
        self._more.set()
        self._on_abort()

    async def pump(self) -> None:
        """
        Send until closed or aborted. Cancelling loses what is unsent.

        Raises:
            Whatever ``send`` raises when the peer is gone.
        """
        try:
            while not (self._over and not self._waiting):
                await self._more.wait()
                self._more.clear()
                await self._send_waiting()
            if self._goodbye is not None:
                await self._end(*self._goodbye)
        finally:
            # Whoever waits for room learns that there is nobody left to wait for.
            self._over = True
            self._unsent = 0
            self.on_writable()

    async def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            if self._aborted:
                return
            await self._send(data)
            self._unsent = max(0, self._unsent - len(data))
            if self._unsent <= self._room:
                self.on_writable()


def _nothing() -> None:
    """Nobody has asked to be told."""
