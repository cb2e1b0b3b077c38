"""The server's life: readiness, its port, and an end in order."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from websockets.asyncio.client import connect

from gateway import Gateway
from gateway.domain.errors import AddressUnavailable, ConfigurationError
from gateway.domain.settings import Settings
from gateway.domain.timestamps import seconds_of
from gateway.transports.frames_protocol import FramesProtocol
from gateway.transports.server import Server, bind, tls_context, trusted
from tests.identity import Authority
from tests.transports.http_client import plain_http
from tests.transports.world import (
    CLOCK,
    SECRET,
    WAIT_S,
    Wire,
    connected,
    hurried,
    offsets,
    until,
    wire,
    world,
)


async def test_every_client_is_told_to_come_back_before_the_connections_end() -> None:
    """The order on the wire: drain, what the end of the work caused, then 1012."""
    at_stop: list[Any] = []

    async def before_stop() -> None:
        at_stop.append(await here.publish(type="task_finished"))

    async with world(before_stop=before_stop) as here, connected(here) as client:
        await client.result("subscribe", topics=["user:ann"])
        here.server.should_exit = True
        drain = await client.notice("drain")
        assert drain["reason"] == "shutdown"
        assert 0 < seconds_of(drain["reconnect_at"]) - CLOCK.wall() < 10
        (event,) = await client.events(1)
        assert event["offset"] == at_stop[0]
        assert (await client.closed())[0] == 1012
        await here.serving


async def test_an_end_that_hangs_is_bounded() -> None:
    async def before_stop() -> None:
        await asyncio.Event().wait()

    async with world(before_stop=before_stop, drain_grace=0.1) as here, connected(here) as client:
        here.server._stop_limit_s = 0.2  # type: ignore[attr-defined]  # our own subclass
        here.server.should_exit = True
        assert (await client.closed())[0] == 1012


async def test_an_end_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def before_stop() -> None:
        raise ZeroDivisionError

    async with world(before_stop=before_stop) as here, connected(here) as client:
        here.server.should_exit = True
        assert (await client.closed())[0] == 1012
        await here.serving
    assert "did not end cleanly" in caplog.text


async def test_a_client_that_connects_during_the_end_is_closed_with_1012() -> None:
    gate = asyncio.Event()
    async with world(before_stop=gate.wait) as here, connected(here) as client:
        here.server.should_exit = True
        await client.notice("drain")
        async with wire(here) as late:
            assert (await late.closed())[0] == 1012
        gate.set()


async def test_a_taken_port_is_told_with_a_remedy() -> None:
    listener = bind("127.0.0.1", 0)
    listener.listen()
    try:
        with pytest.raises(AddressUnavailable, match="--port"):
            bind("127.0.0.1", listener.getsockname()[1])
    finally:
        listener.close()


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://localhost:")]
)
def test_the_address_is_known_before_serving(host: str, url: str) -> None:
    server = Server(Gateway(Settings()).app, Settings(), host=host, port=0)
    try:
        assert server.url == f"{url}{server.port}"
        assert server.port > 0
        # RFC 3986, 3.2.2: an IPv6 address stands in brackets.
        server.config.host = "::1"
        assert server.url == f"http://[::1]:{server.port}"
    finally:
        server._listener.close()


async def test_small_writes_go_out_at_once() -> None:
    """Nagle's algorithm would hold back every second one for 40 ms."""
    async with world() as here, connected(here):
        (follower,) = here.hub.followers
        assert isinstance(follower.sink, FramesProtocol)
        accepted = follower.sink.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_http_and_websockets_are_served_over_tls(authority: Authority) -> None:
    trusting = authority.client_context()
    tls: dict[str, Any] = {"tls_cert": str(authority.cert), "tls_key": str(authority.key)}
    async with world(**tls) as here:
        assert isinstance(here.server, Server)
        assert here.server.url == f"https://127.0.0.1:{here.port}"
        async with httpx2.AsyncClient(base_url=here.server.url, verify=trusting) as http:
            assert (await http.get("/health")).status_code == 200
        # Ready-made frames go through it like anything else.
        async with connect(
            f"wss://127.0.0.1:{here.port}/ws", ssl=trusting, compression=None
        ) as socket:
            client = Wire(socket)
            await client.result("connect", user_id="ann")
            await client.result("subscribe", topics=["user:ann"])
            await here.publish(count=3)
            assert offsets(await client.events(3)) == [1, 2, 3]


async def test_over_tls_a_slow_reader_is_held_back_and_a_dead_one_freed(
    authority: Authority,
) -> None:
    """What is unsent has to be seen through it, or a dead reader would fill the memory."""
    trusting = authority.client_context()
    settings: dict[str, Any] = {
        "tls_cert": str(authority.cert),
        "tls_key": str(authority.key),
        "send_bytes": 16_384,
        "stall_timeout": 0.5,
    }
    async with world(**settings) as here:
        address = f"wss://127.0.0.1:{here.port}/ws"
        async with (
            connect(address, ssl=trusting, compression=None, ping_interval=None) as quick,
            connect(address, ssl=trusting, compression=None, ping_interval=None) as dead,
        ):
            readers = [Wire(quick), Wire(dead)]
            for reader in readers:
                await reader.result("connect", user_id="ann")
                await reader.result("subscribe", topics=["user:ann"])
            dead.transport.pause_reading()
            most = 0
            for _ in range(100):
                await here.publish(count=20, size=3000)
                await readers[0].events(20)
                most = max(most, *(one.sink.unsent() for one in here.hub.followers))
            assert most < 10 * 16_384
            await until(lambda: here.hub.slow_freed == 1)
            await here.publish()
            assert offsets(await readers[0].events(1)) == [2001]
            dead.transport.abort()


async def test_a_handshake_that_is_not_tls_costs_nothing(authority: Authority) -> None:
    tls: dict[str, Any] = {"tls_cert": str(authority.cert), "tls_key": str(authority.key)}
    async with world(**tls) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            assert b"HTTP" not in await reader.read()
        writer.close()
        await writer.wait_closed()


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(authority: Authority) -> None:
    cert, key = str(authority.cert), str(authority.key)
    locked = authority.key.with_name("locked.pem")
    locked.write_bytes(authority.encrypted_key(b"hunter2"))
    other = authority.key.with_name("other")
    other.mkdir()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"tls_cert": "/none.pem"}, "tls_cert: /none.pem: No such file"),
        ({"tls_cert": str(other)}, "tls_cert: .*directory"),
        ({"tls_cert": cert, "tls_key": "/none.pem"}, "tls_key: /none.pem"),
        ({"tls_cert": cert}, "a certificate and its key"),
        ({"tls_cert": key, "tls_key": key}, "a certificate and its key"),
        ({"tls_cert": cert, "tls_key": str(authority.ca)}, "a certificate and its key"),
        ({"tls_cert": cert, "tls_key": str(Authority(other).key)}, "a certificate and its key"),
        ({"tls_cert": cert, "tls_key": str(locked)}, "without a passphrase"),
    ]
    for changes, words in wrong:
        with pytest.raises(ConfigurationError, match=words):
            tls_context(Settings(**changes))
    both = authority.key.with_name("both.pem")
    both.write_bytes(authority.cert.read_bytes() + authority.key.read_bytes())
    assert tls_context(Settings(tls_cert=str(both))) is not None
    assert tls_context(Settings()) is None


# --- behind proxies -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusting", "given", "seen"),
    [
        ((), {}, ("127.0.0.1", "http")),
        ((), {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}, None),
        (("10.0.0.0/8",), {"x-forwarded-for": "203.0.113.9"}, None),
        (("127.0.0.1",), {}, ("127.0.0.1", "http")),
        (("127.0.0.1",), {"x-forwarded-for": "203.0.113.9"}, ("203.0.113.9", "http")),
        (("127.0.0.0/8",), {"x-forwarded-proto": "https"}, ("127.0.0.1", "https")),
        # What the client itself has written stands before what the proxy adds.
        (("127.0.0.1",), {"x-forwarded-for": "::1, 203.0.113.9"}, ("203.0.113.9", "http")),
        (("127.0.0.1",), {"x-forwarded-for": "::1, 2001:db8::1"}, ("2001:db8::1", "http")),
        (
            ("127.0.0.1", "10.0.0.0/8"),
            {"x-forwarded-for": "::1, 203.0.113.9, 10.1.2.3"},
            ("203.0.113.9", "http"),
        ),
        (("127.0.0.1",), {"forwarded": "for=203.0.113.9"}, ("127.0.0.1", "http")),
        (("127.0.0.1",), {"x-real-ip": "203.0.113.9"}, ("127.0.0.1", "http")),
    ],
)
async def test_only_a_trusted_proxy_says_who_a_client_is(
    trusting: tuple[str, ...],
    given: dict[str, str],
    seen: tuple[str, str] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everybody else could name any address, and so leave every limit of addresses."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own variable does not count here

    async def who(request: Request) -> Response:
        assert request.client is not None
        return PlainTextResponse(f"{request.client.host} {request.url.scheme}")

    settings = Settings(token_secret=SECRET, trusted_proxies=trusting, drain_grace=0.1)
    app = Gateway(settings).make_app(extra_routes=[Route("/who", who)])
    server = Server(app, settings, port=0)
    serving = asyncio.create_task(server.serve())
    with hurried():
        await until(lambda: server.started)
        try:
            async with plain_http(server.url) as client:
                answer = await client.get("/who", headers=given)
        finally:
            server.should_exit = True
            await serving
    assert tuple(answer.text.split()) == (seen or ("127.0.0.1", "http"))


async def test_a_proxy_is_known_on_a_socket_that_serves_both_families() -> None:
    """There an address of IPv4 looks like one of IPv6; uvicorn compares them as they are."""
    found = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["client"][0])

    believing = ProxyHeadersMiddleware(app, trusted(["10.0.0.5", "192.0.2.0/24", "::1"]))
    peers = ("10.0.0.5", "::ffff:10.0.0.5", "::ffff:192.0.2.77", "::1", "::ffff:10.0.0.6", "::2")
    for peer in peers:
        headers = [(b"x-forwarded-for", b"203.0.113.9")]
        scope: Any = {"type": "http", "client": (peer, 5), "headers": headers}
        await believing(scope, None, None)  # type: ignore[arg-type]  # the app takes anything
    assert found == ["203.0.113.9"] * 4 + list(peers[4:])


async def test_an_unknown_host_name_is_told() -> None:
    with pytest.raises(AddressUnavailable, match="cannot listen"):
        bind("no.such.name.invalid", 0)


PROGRAM = textwrap.dedent(
    """
    import asyncio, sys
    from gateway.app.clock import RandomIds, SystemClock
    from gateway.domain.settings import Settings
    from gateway.attempts.agents import Agents
    from gateway.execution.engine import Engine
    from gateway.execution.parts import Parts
    from gateway.stores.memory import MemoryLog
    from gateway.transports.application import create_app
    from gateway.transports.server import Server

    settings, clock, ids = Settings(), SystemClock(), RandomIds()
    log = MemoryLog(epoch="e", clock=clock, events_max=9, bytes_max=9999, age_max_s=99)
    engine = Engine(Parts(log=log, clock=clock, ids=ids, settings=settings, agents=Agents()))
    app = create_app(engine, settings, None, open_gateway=True)
    server = Server(app, settings, port=0)

    async def tell():
        await server.wait_ready()
        print("ready", server.url, flush=True)

    async def main():
        await asyncio.gather(server.serve(), tell())

    asyncio.run(main())
    """
)


@pytest.fixture
async def process() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(
    process: asyncio.subprocess.Process, number: signal.Signals
) -> None:
    """uvicorn alone would end by the signal it was sent, and not with 0."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line.startswith(b"ready http://127.0.0.1:")
    process.send_signal(number)
    out, err = await process.communicate()
    assert process.returncode == 0, err
    # It says nothing by itself.
    assert (out, err) == (b"", b"")
