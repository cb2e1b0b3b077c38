"""
The sink: the end of a connection that bytes go into, as little of it as the hub needs.

Our server lets the hub write ready frames and offers its own sink (``FramesProtocol``, at
``scope["extensions"]["gateway.frames"]``). Under any other ASGI server, and for streams over
HTTP, a ``PumpedSink`` holds the bytes that the server has not taken yet and sends them in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.websockets import WebSocket

from gateway.domain.settings import FRAME_BYTES_MIN
from gateway.protocol.frames import payloads_of

__all__ = [
    "ABORT_EXTENSION",
    "FRAMES_EXTENSION",
    "PumpedSink",
    "Sink",
    "do_nothing",
    "websocket_sink",
]

# The extension in a WebSocket's scope that is the server's own sink.
FRAMES_EXTENSION = "gateway.frames"

# The extension in an HTTP request's scope that drops its connection when called.
ABORT_EXTENSION = "gateway.abort"


class Sink(Protocol):
    """
    Takes bytes and never waits.

    Attributes:
        on_writable: Called when the unsent bytes have fallen to the room or below, and at the
            end of the connection.
        on_alive: Called for each frame of the peer's that brings no message: a ping, a pong, a
            fragment.
    """

    on_writable: Callable[[], None]
    on_alive: Callable[[], object]

    def write(self, data: bytes) -> None:
        """Take whole frames, in order; after ``close`` or ``abort`` do nothing."""
        ...

    def unsent(self) -> int:
        """How many bytes were taken that the socket has not accepted yet."""
        ...

    def set_room(self, unsent_max: int) -> None:
        """Call ``on_writable`` when the unsent bytes fall from above ``unsent_max`` to it."""
        ...

    def take_up_to(self, message_bytes: int) -> None:
        """Take messages of up to this length from the peer; a longer one is closed with 1009."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send what was written, then close; a second call does nothing."""
        ...

    def abort(self) -> None:
        """End the connection now; unsent bytes are lost."""
        ...


class PumpedSink:
    """
    A ``Sink`` over a coroutine that sends, such as ASGI's.

    Args:
        send: Sends one written piece; returns when the server has taken it.
        end: Closes the connection with a code and a reason.
        on_abort: Drops the connection; called once, inside ``abort``.

    The owner of the connection runs ``pump``. The sink itself has no bound: the hub stops
    writing at ``settings.send_bytes``.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        end: Callable[[int, str], Awaitable[None]],
        on_abort: Callable[[], None],
    ) -> None:
        self.on_writable: Callable[[], None] = do_nothing
        self.on_alive: Callable[[], object] = do_nothing
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
        self._message_bytes_max = FRAME_BYTES_MIN

    def write(self, data: bytes) -> None:
        if not self._over:
            self._waiting.append(data)
            self._unsent += len(data)
            self._more.set()

    def unsent(self) -> int:
        return self._unsent

    def set_room(self, unsent_max: int) -> None:
        self._room = unsent_max

    def take_up_to(self, message_bytes: int) -> None:
        self._message_bytes_max = message_bytes

    def is_too_long(self, message: str | bytes) -> bool:
        """Whether the server has taken a message that is over the bound of ``take_up_to``."""
        data = message.encode() if isinstance(message, str) else message
        return len(data) > self._message_bytes_max

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
            # A follower that waits for room must not wait for a pump that has ended.
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


def websocket_sink(websocket: WebSocket, on_abort: Callable[[], None]) -> PumpedSink:
    """Make the sink of a WebSocket under a server that is not ours; see ``PumpedSink``."""

    async def send(frames: bytes) -> None:
        for payload in payloads_of(frames):
            await websocket.send({"type": "websocket.send", "text": payload.decode()})

    async def end(code: int, reason: str) -> None:
        await websocket.close(code, reason)

    return PumpedSink(send, end, on_abort)


def do_nothing() -> None:
    """A sink's callback before another one is set."""
