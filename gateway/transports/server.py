"""
The server: uvicorn with ready frames, a goodbye in order and no words of its own.

uvicorn tells every client 1012 within milliseconds of SIGTERM and leaves the application no time
to say anything. Here the order is: everybody is told to come back later, the application ends
what it does, what that caused goes out, then 1012. Each step has a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Generator
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.domain.errors import AddressUnavailable
from gateway.domain.settings import Settings
from gateway.protocol.codes import CloseCode
from gateway.transports.hub import Hub
from gateway.transports.sink import ABORT_EXTENSION, FRAMES_EXTENSION
from gateway.transports.websocket import FRAME_BYTES_MAX

__all__ = ["FramesProtocol", "HttpProtocol", "Server", "bind"]

# Pings go out three times within a client's timeout, yet at least this often, in seconds, so
# that proxies which drop idle connections after 30 s do not.
PING_INTERVAL_S_MAX = 20.0
PINGS_PER_TIMEOUT = 3

# The application's own end may take its grace and this much more, in seconds.
STOP_MARGIN_S = 5.0

# How long clients have to take the goodbye, in seconds; then their connections are dropped.
GOODBYE_S = 2.0

# After that uvicorn waits for requests that still run, in seconds, and cancels them.
REQUESTS_S = 3

# The kernel drops a connection whose peer has accepted nothing for this long, in milliseconds,
# also when nobody looks any more: an HTTP answer that nobody reads, a goodbye not taken.
UNACCEPTED_MS = 30_000

BACKLOG = 4096

logger = logging.getLogger(__name__)


def _nothing() -> None:
    """Nobody has asked to be told."""


def _no_bytes() -> int:
    """There is no connection yet, or no more."""
    return 0


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class FramesProtocol(WebSocketsSansIOProtocol):
    """
    uvicorn's WebSocket protocol as a ``Sink``, found at ``scope["extensions"]``.

    Frames are made by the application once and written to many sockets as they are; there is
    no extension such as permessage-deflate that would have to see them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_writable: Callable[[], None] = _nothing
        self.on_alive: Callable[[], None] = _nothing
        self.unsent: Callable[[], int] = _no_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Asked once for each socket and turn, hence without a step of ours between.
        self.unsent = self.transport.get_write_buffer_size

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            assert not self.conn.extensions
            extensions = cast("dict[str, object]", self.scope["extensions"])
            extensions[FRAMES_EXTENSION] = self

    # --- the sink -------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(data)

    def set_room(self, unsent_max: int) -> None:
        self.transport.set_write_buffer_limits(high=unsent_max, low=unsent_max // 4)

    def close(self, code: int, reason: str) -> None:
        # As in `send`, which would wait for a peer that may not read.
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def abort(self) -> None:
        self.transport.abort()

    # --- what uvicorn is told -------------------------------------------------------------

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            # As uvicorn does, which would also log the peer's mistake with a traceback of ours.
            self.frames = []
            self.conn.send_close(CloseCode.invalid_utf8)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.unsent = _no_bytes
        self.on_writable()

    def handle_ping(self) -> None:
        super().handle_ping()
        self.on_alive()

    def handle_pong(self, event: Any) -> None:
        super().handle_pong(event)
        self.on_alive()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which lets the application drop a peer that does not read."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT_EXTENSION: self.transport.abort}  # type: ignore[dict-item]


def bind(host: str, port: int) -> socket.socket:
    """
    Take an address to listen on, before anything else is started.

    Args:
        host: A name or address; IPv6 without brackets.
        port: 0 takes a free one.

    Raises:
        AddressUnavailable: If the address cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Named as TCP, or asyncio leaves Nagle's algorithm on: 40 ms for each second write.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise AddressUnavailable(f"cannot listen on {host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(AttributeError, OSError):  # Linux only
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACCEPTED_MS)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise AddressUnavailable(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another --port"
        ) from error
    listener.setblocking(False)
    return listener


class Server(uvicorn.Server):
    """
    Serves one application on one address.

    Args:
        app: Made by ``create_app``.
        settings: ``drain_grace`` and the limits of clients.
        host: Where to listen.
        port: 0 takes a free one; ``url`` then tells which.
        before_stop: Called at shutdown after everybody was told to come back later and before
            the connections end; the application ends its work there.

    Raises:
        AddressUnavailable: If the address cannot be had.
    """

    def __init__(
        self,
        app: Starlette,
        settings: Settings,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        before_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        ping_s = min(PING_INTERVAL_S_MAX, settings.client_timeout / PINGS_PER_TIMEOUT)
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=HttpProtocol,
                ws=FramesProtocol,
                ws_per_message_deflate=False,
                ws_max_size=FRAME_BYTES_MAX,
                ws_ping_interval=ping_s,
                # Who does not answer is closed by us, with 4012 and not with 1011.
                ws_ping_timeout=None,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=REQUESTS_S,
            )
        )
        self._listener = bind(host, port)
        self._port: int = self._listener.getsockname()[1]
        self._hub: Hub = app.state.hub
        self._stop_limit_s = settings.drain_grace + STOP_MARGIN_S
        self._before_stop = before_stop
        self._ready = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that it listens on; known from the beginning."""
        return self._port

    @property
    def url(self) -> str:
        """Where it is reached, ``http://127.0.0.1:8000``."""
        host = self.config.host
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host).version == 6:
                host = f"[{host}]"
        return f"http://{host}:{self.port}"

    async def wait_ready(self) -> None:
        """Wait until it serves."""
        await self._ready.wait()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or ``should_exit``; returns when everything has ended."""
        try:
            await super().serve(sockets or [self._listener])
        finally:
            self._listener.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as stop:
            # The application could not start, and uvicorn has logged why. Ours is 1 for failure.
            raise SystemExit(1) from stop
        self._ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.drain("shutdown")
        if self._before_stop is not None and not self.force_exit:
            await self._finish(asyncio.ensure_future(self._before_stop()))
        await self._hub.end(limit_s=GOODBYE_S)
        await super().shutdown(sockets)

    async def _finish(self, work: asyncio.Future[None]) -> None:
        """Wait for the application's end, within its bound, or until SIGINT comes twice."""
        waited_s = 0.0
        while not work.done() and waited_s < self._stop_limit_s and not self.force_exit:
            await asyncio.wait({work}, timeout=0.1)
            waited_s += 0.1
        if not work.done():
            work.cancel()
        (outcome,) = await asyncio.gather(work, return_exceptions=True)
        if isinstance(outcome, Exception):
            logger.error("the application did not end cleanly", exc_info=outcome)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        with super().capture_signals():
            try:
                yield
            finally:
                # uvicorn would raise them again, and the process would end by a signal
                # although it has done all that was asked of it.
                self._captured_signals.clear()
