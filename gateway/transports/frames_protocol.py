"""
uvicorn's WebSocket protocol as a ``Sink``, and with bounds on what a client sends.

The application makes a frame once and writes the same bytes to many sockets. That works only
without extensions such as permessage-deflate (RFC 7692), which would change each frame.

What is read is parsed piece by piece, and no further while a message waits for the application: a
read of 256 KB may hold 40,000 frames. Frames that bring no message (pings, pongs, fragments) are
told to the application, which counts them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.http11 import Response

from gateway.domain.settings import FRAME_BYTES_MIN
from gateway.protocol.codes import CloseCode
from gateway.transports.places import PLACE_EXTENSION, Place
from gateway.transports.problem import problem
from gateway.transports.safe_headers import safe
from gateway.transports.sink import FRAMES_EXTENSION, do_nothing

__all__ = ["FramesProtocol"]

# How much is parsed before the application has a turn: 680 of the shortest frames, 3 ms.
PIECE_BYTES = 4096

# A client that is refused while it still sends has this long to read why, in seconds: a connection
# that is closed over unread bytes is reset, and the close frame may be lost.
LINGER_S = 2.0


def _no_bytes() -> int:
    """``unsent`` while there is no transport."""
    return 0


def _rejected(status: int, text: str) -> Response:
    """Refuse a handshake like every other request, by a problem."""
    code = "not_permitted" if status == HTTPStatus.FORBIDDEN else "bad_request"
    refusal = safe(problem(status, code, text.strip() or "this handshake is refused"))
    headers = Headers([("Date", formatdate(usegmt=True)), ("Connection", "close")])
    for name, value in refusal.raw_headers:
        headers[name.decode()] = value.decode()
    return Response(status, HTTPStatus(status).phrase, headers, bytes(refusal.body))


class FramesProtocol(WebSocketsSansIOProtocol):
    """One connection, offered in ``scope["extensions"]``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_writable: Callable[[], None] = do_nothing
        self.on_alive: Callable[[], object] = do_nothing
        self.unsent: Callable[[], int] = _no_bytes
        self._place: Place | None = None
        self._room = 0
        self._unparsed = bytearray()
        # What has come of a message in fragments.
        self._message: bytearray | None = None
        # The answer to the newest ping, while the peer does not read.
        self._pong: bytes | None = None
        self.conn.max_message_size = FRAME_BYTES_MIN
        self.conn.reject = _rejected  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # The hub calls this once per socket and turn, so it is the transport's own method.
        self.unsent = self.transport.get_write_buffer_size

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            assert not self.conn.extensions
            extensions = cast("dict[str, object]", self.scope["extensions"])
            extensions[FRAMES_EXTENSION] = self

    def take(self, place: Place) -> None:
        """Take over the place that the connection has had as one of HTTP."""
        self._place = place
        if self.handshake_initiated and not self.close_sent:
            extensions = cast("dict[str, object]", self.scope["extensions"])
            extensions[PLACE_EXTENSION] = place

    # --- the sink -------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(data)

    def set_room(self, unsent_max: int) -> None:
        self._room = unsent_max
        self.transport.set_write_buffer_limits(high=unsent_max, low=unsent_max // 4)

    def take_up_to(self, message_bytes: int) -> None:
        self.conn.max_message_size = message_bytes

    def close(self, code: int, reason: str) -> None:
        # As uvicorn's `send` does it, which would wait for a peer that may not read.
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
        self._read_on()

    def abort(self) -> None:
        self.transport.abort()

    # --- what arrives ---------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is not None:
            return  # the connection ends, and what still comes is of no use
        if self._unparsed or len(data) > PIECE_BYTES:
            self._unparsed += data
            self._parse_on()
        else:
            self._parse(data)

    def _parse(self, data: bytes | bytearray) -> bool:
        """Parse a piece; returns whether there was a whole frame in it."""
        conn = self.conn
        conn.receive_data(data)
        if conn.parser_exc is not None:
            self.handle_parser_exception()
            return False
        if conn.handshake_exc is not None:
            told = b"".join(conn.data_to_send())
            self.transport.write(told or _rejected(HTTPStatus.BAD_REQUEST, "").serialize())
            self.transport.close()
            return False
        found = bool(conn.events)
        self.handle_events()
        return found

    def _parse_on(self) -> None:
        """Parse what is left, up to a message or to the end of this turn."""
        while self._unparsed and (self.close_sent or self.queue.empty()):
            piece = self._unparsed[:PIECE_BYTES]
            del self._unparsed[:PIECE_BYTES]
            if self._parse(piece) and self._unparsed and not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
                self.loop.call_soon(self._read_on)
                return

    def _read_on(self) -> None:
        """Go on with what is left of the newest read, then with the next."""
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self._parse_on()
            if not self.read_paused:
                self.transport.resume_reading()

    async def receive(self) -> Any:
        queue = self.queue
        message = await queue.get() if queue.empty() else queue.get_nowait()
        if self.read_paused and queue.empty():
            self._read_on()
        return message

    def handle_cont(self, event: Any) -> None:
        # A message may come in a million pieces, or in empty ones without end.
        if self._message is None:
            self._message = bytearray(self.frames[0])
        self._message += event.data
        if event.fin:
            self.frames, self._message = [self._message], None  # type: ignore[list-item]
            self.send_receive_event_to_app()
        else:
            self.on_alive()

    def send_receive_event_to_app(self) -> None:
        data, self.frames = self.frames[0], []
        if self.close_sent:
            return  # nobody waits for it, and the answer to the close frame is still to come
        if self.curr_msg_data_type == "text":
            try:
                self.queue.put_nowait({"type": "websocket.receive", "text": data.decode()})
            except UnicodeDecodeError:
                # RFC 6455, 8.1. uvicorn would do the same, but log the peer's mistake with a
                # traceback.
                self.conn.send_close(CloseCode.invalid_utf8)
                self.handle_parser_exception()
                return
        else:
            self.queue.put_nowait({"type": "websocket.receive", "bytes": bytes(data)})
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def handle_ping(self) -> None:
        # Only the newest of several pings needs an answer (RFC 6455, 5.5.3).
        pongs = self.conn.data_to_send()
        if pongs and not self.close_sent:
            if self.transport.get_write_buffer_size() <= self._room:
                self.transport.write(pongs[-1])
            else:
                self._pong = pongs[-1]
        self.on_alive()

    def handle_pong(self, event: Any) -> None:
        super().handle_pong(event)
        self.on_alive()

    def handle_parser_exception(self) -> None:
        """Close with the code that the parser or ``conn.send_close`` has chosen."""
        chosen = self.conn.close_sent
        assert chosen is not None
        code, reason = chosen.code, chosen.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._unparsed.clear()
        if not self.close_sent:
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.close_timer is not None or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)
        self._read_on()

    # --- what leaves ----------------------------------------------------------------------

    def resume_writing(self) -> None:
        super().resume_writing()
        pong, self._pong = self._pong, None
        if pong is not None:
            self.write(pong)
        self.on_writable()

    # What holds itself stays until Python looks for it (app/garbage.py), so that at its end a
    # connection lets go of what holds it: the application has no more use for it, or the network.

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.on_alive = do_nothing
        cast("dict[str, object]", self.scope["extensions"]).pop(FRAMES_EXTENSION, None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.conn.parser.close()
        self.unsent = _no_bytes
        self.on_writable()
        if self._place is not None:
            self._place.leave()
            self._place = None
