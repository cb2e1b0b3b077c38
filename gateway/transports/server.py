"""
The server: uvicorn with our protocols, an orderly shutdown and no log lines of its own.

uvicorn closes every WebSocket with 1012 within milliseconds of SIGTERM, so the application could
send nothing more. Here the order is: every client is told when to reconnect, the application
ends its work, the events of that go out, then come the close frames. Each step has a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator, Iterable

import uvicorn
from starlette.applications import Starlette

from gateway.attempts.forks import keep_port
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import AddressUnavailable, ConfigurationError
from gateway.domain.settings import Settings
from gateway.transports.event_stream import PATH
from gateway.transports.forwarded import Forwarded
from gateway.transports.frames_protocol import FramesProtocol
from gateway.transports.http_protocol import bounded
from gateway.transports.hub import Hub
from gateway.transports.limits import Crowded

__all__ = ["Server", "bind"]

# Pings go out three times within a client's timeout, and at least this often, in seconds, because
# some proxies drop a connection that is idle for 30 s.
PING_INTERVAL_S_MAX = 20.0
PINGS_PER_TIMEOUT = 3

# `before_stop` may take the grace for running tasks and this much more, in seconds.
STOP_MARGIN_S = 5.0

# How long clients have to answer the close frame, in seconds; then their connections are dropped.
GOODBYE_S = 2.0

# Then uvicorn waits this long for running HTTP requests, in seconds, and cancels them.
REQUESTS_S = 3

# The kernel drops a connection whose peer acknowledges nothing for this long (RFC 5482), in
# milliseconds. It covers what the hub does not watch: answers over HTTP and close frames.
UNACCEPTED_MS = 30_000

# How long a connection may stay idle between two requests, in seconds. Balancers reuse theirs for
# a minute by default; the side that sends requests should be the one that closes.
KEEP_ALIVE_S = 75

BACKLOG = 4096

logger = logger_of(__name__)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """
    Make what TLS is served with; None: no certificate is named.

    The files are read once. Clients have to speak TLS 1.2 or newer, as Python's default has it.

    Raises:
        ConfigurationError: If a file cannot be read, or certificate and key do not belong together.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if not cert:
        return None

    def ask() -> str:
        # Else OpenSSL would ask at the terminal, and a service would wait for ever.
        raise ConfigurationError("tls_key is encrypted; give a key without a passphrase")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        try:
            with open(path or cert, "rb"):
                pass
        except OSError as error:
            raise ConfigurationError(f"{name}: {path}: {error.strerror}") from error
    try:
        context.load_cert_chain(cert, key or None, password=ask)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"tls_cert and tls_key have to be a certificate and its key, as PEM ({error.reason})"
        ) from error
    return context


def trusted(proxies: Iterable[str]) -> list[str]:
    """
    Name proxies as uvicorn compares them.

    A socket for IPv6 may serve IPv4, too; its peers then have addresses such as ::ffff:10.0.0.5.
    """
    names = []
    for proxy in proxies:
        network = ipaddress.ip_network(proxy)
        names.append(str(network))
        if network.version == 4:
            names.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return names


def bind(host: str, port: int) -> socket.socket:
    """
    Open a listening socket, so that a taken address is found out before anything starts.

    Args:
        host: A name or address; IPv6 without brackets.
        port: 0 takes a free one.

    Raises:
        AddressUnavailable: If the name is unknown, or the address cannot be bound.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio switches Nagle's algorithm off only for sockets that name TCP. With it every
        # second write would wait 40 ms.
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
        settings: ``drain_grace``, the limits of clients, ``trusted_proxies``, TLS.
        host: Where to listen.
        port: 0 takes a free one; ``url`` then tells which.
        before_stop: Ends the application's work. Awaited at shutdown after the clients were told
            to reconnect later, before their connections close. None: nothing to end.

    Raises:
        AddressUnavailable: If the address cannot be bound.
        ConfigurationError: If the certificate or its key cannot be used.
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
        tls = tls_context(settings)
        ping_s = min(PING_INTERVAL_S_MAX, settings.client_timeout / PINGS_PER_TIMEOUT)
        crowded = Crowded(app, app.state.access, app.state.limits, streams=PATH)
        protocol = bounded(app.state.limits, head_s=settings.head_timeout, crowded=crowded)
        super().__init__(
            uvicorn.Config(
                Forwarded(app, crowded),
                host=host,
                port=port,
                http=protocol,
                ws=FramesProtocol,
                ws_per_message_deflate=False,
                ws_max_size=settings.frame_bytes,
                ws_ping_interval=ping_s,
                # The WebSocket door closes a client that does not answer with 4012; uvicorn
                # would close it with 1011.
                ws_ping_timeout=None,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=REQUESTS_S,
                # Without a list uvicorn would believe every process on this machine.
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=trusted(settings.trusted_proxies),
                ssl_context_factory=None if tls is None else lambda *_: tls,
            )
        )
        self._listener = bind(host, port)
        # A child that an agent forks would hold the port, and clients' connections, open.
        keep_port(self._listener.getsockname()[1])
        self._port: int = self._listener.getsockname()[1]
        self._hub: Hub = app.state.hub
        self._stop_limit_s = settings.drain_grace + STOP_MARGIN_S
        self._before_stop = before_stop
        self._ready = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that it listens on; known before ``serve``."""
        return self._port

    @property
    def url(self) -> str:
        """Its address, ``http://127.0.0.1:8000``; with TLS ``https``."""
        host = self.config.host
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host).version == 6:
                host = f"[{host}]"
        return f"{'https' if self.config.is_ssl else 'http'}://{host}:{self.port}"

    async def wait_ready(self) -> None:
        """Wait until it accepts requests."""
        await self._ready.wait()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or ``should_exit``; return after an orderly shutdown."""
        try:
            await super().serve(sockets or [self._listener])
        finally:
            self._listener.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as stop:
            # The application could not start, and uvicorn has logged why. uvicorn exits with 3,
            # the gateway's commands exit with 1 on failure.
            raise SystemExit(1) from stop
        self._ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.drain("shutdown")
        if self._before_stop is not None and not self.force_exit:
            await self._finish(asyncio.ensure_future(self._before_stop()))
        await self._hub.end(limit_s=GOODBYE_S)
        await super().shutdown(sockets)

    async def _finish(self, work: asyncio.Future[None]) -> None:
        """Wait for ``before_stop`` within its bound, or until SIGINT comes a second time."""
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
                # uvicorn raises captured signals again. The process would end by the signal
                # although its shutdown was orderly; it has to exit with 0.
                self._captured_signals.clear()
