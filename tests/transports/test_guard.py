"""Host and Origin, as a browser that was led astray would send them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.types import Message, Scope
from websockets.exceptions import InvalidStatus

from gateway import Gateway
from gateway.domain.settings import Settings
from gateway.transports.guard import Guard
from tests.transports.http_client import ask
from tests.transports.world import SECRET, hurried, token, until, wire, world

OURS = "127.0.0.1:8000"

CASES: list[tuple[str, str | None, str | None, bool]] = [
    ("a tool", OURS, None, True),
    ("our page", OURS, f"http://{OURS}", True),
    ("our page by name", "localhost:8000", "http://localhost:8000", True),
    ("our page in capitals", "LOCALHOST:8000", "http://localhost:8000", True),
    ("a name below localhost", "gateway.localhost:8000", None, True),
    ("IPv6", "[::1]:8000", None, True),
    ("an allowed page", OURS, "https://app.example.com", True),
    ("called by an allowed name", "app.example.com", "https://app.example.com", True),
    ("a strange page", OURS, "https://evil.example", False),
    ("another local page", OURS, "http://127.0.0.1:9000", False),
    ("one that looks alike", OURS, "https://app.example.com.evil.example", False),
    ("a sandboxed page", OURS, "null", False),
    ("a rebound name", "evil.example:8000", "http://evil.example:8000", False),
    ("a rebound name, no origin", "evil.example:8000", None, False),
    ("a name that begins like ours", "127.0.0.1.evil.example", None, False),
    ("no host", None, None, False),
    ("a broken host", "[::1", None, False),
]


async def passes(
    host: str | None,
    origin: str | None,
    *,
    server: Any,
    client: Any,
    open_gateway: bool = True,
    also: tuple[bytes, bytes] | None = None,
) -> bool:
    passed = False

    async def inside(scope: Scope, receive: Any, send: Any) -> None:
        nonlocal passed
        passed = True

    async def send(message: Message) -> None:
        assert message.get("status", 403) == 403

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    headers = [(b"host", (host or "").encode())] if host is not None else []
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    headers += [] if also is None else [also]
    guard = Guard(inside, ["https://app.example.com"], open_gateway=open_gateway)
    both = []
    for kind in ("http", "websocket"):
        passed = False
        scope = {"type": kind, "headers": headers, "server": server, "client": client}
        await guard(scope, receive, send)
        both.append(passed)
    assert both[0] == both[1]
    return both[0]


@pytest.mark.parametrize(
    ("host", "origin", "allowed"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
async def test_host_and_origin_decide_on_a_loopback_address(
    host: str | None, origin: str | None, allowed: bool
) -> None:
    here = ("127.0.0.1", 8000)
    assert await passes(host, origin, server=here, client=("127.0.0.1", 5)) is allowed


@pytest.mark.parametrize(
    ("client", "open_gateway", "allowed"),
    [
        (("127.0.0.1", 5), True, True),
        (("::ffff:127.0.0.1", 5), True, True),
        (("192.0.2.7", 5), True, False),
        (("192.0.2.7", 5), False, True),
        (("2001:db8::7", 5), True, False),
        (("testclient", 5), True, True),
        (("unknown", 5), True, False),
        (("", 0), True, False),
        (None, True, False),
        (None, False, True),
    ],
)
async def test_without_a_secret_only_this_machine_is_served(
    client: Any, open_gateway: bool, allowed: bool
) -> None:
    """Also when mounted in an app that listens on every address, or on a Unix socket."""
    found = await passes(
        "any.example", None, server=("0.0.0.0", 80), client=client, open_gateway=open_gateway
    )
    assert found is allowed


FORWARDED = [
    (b"forwarded", b"for=127.0.0.1"),
    (b"x-forwarded-for", b"unknown"),
    (b"x-forwarded-for", b"127.0.0.1"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-anything", b""),
    (b"x-real-ip", b"127.0.0.1"),
    (b"via", b"1.1 proxy"),
]


@pytest.mark.parametrize("header", FORWARDED)
async def test_without_a_secret_nothing_that_a_proxy_passes_on_is_served(
    header: tuple[bytes, bytes],
) -> None:
    """A proxy on this machine serves others: each of them would be an operator."""
    here: dict[str, Any] = {"server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 5)}
    assert await passes(OURS, None, **here, also=(b"x-requested-with", b"x"))
    assert not await passes(OURS, None, **here, also=header)
    assert await passes(OURS, None, **here, also=header, open_gateway=False)


async def test_what_a_proxy_passes_on_is_refused_by_every_door_with_the_remedy() -> None:
    """With its name in capitals, as proxies write it."""
    async with world() as here:
        for name in ("X-Forwarded-For", "Via", "X-Real-IP", "Forwarded"):
            headers = {name: "127.0.0.1"}
            for method, path in (
                ("GET", "/"),
                ("GET", "/health"),
                ("POST", "/api/tasks"),
                ("GET", "/api/events/stream"),
                ("POST", "/mcp"),
            ):
                answer = await ask(here, method, path, headers=headers)
                assert (answer.status, answer.json["code"]) == (403, "not_permitted")
                assert "token_secret" in answer.json["detail"]
            with pytest.raises(InvalidStatus, match="403"):
                async with wire(here, additional_headers=headers):
                    pass
        assert (await ask(here, "GET", "/health")).status == 200


@pytest.mark.parametrize(("secret", "status"), [("", 403), (SECRET, 200)])
async def test_over_a_unix_socket_nobody_is_known_to_be_here(
    tmp_path: Path, secret: str, status: int
) -> None:
    """Such a socket is what a proxy in front of an application is often given."""
    path = str(tmp_path / "s")
    app = Gateway(Settings(token_secret=secret, drain_grace=0.1)).app
    server = uvicorn.Server(uvicorn.Config(app, uds=path, lifespan="on", log_config=None))
    serving = asyncio.create_task(server.serve())
    with hurried():
        await until(lambda: server.started)
        try:
            transport = httpx2.AsyncHTTPTransport(uds=path)
            async with httpx2.AsyncClient(transport=transport) as client:
                headers = {"authorization": f"Bearer {token()}"}
                answer = await client.get("http://localhost/api/tasks", headers=headers)
        finally:
            server.should_exit = True
            await serving
    assert answer.status_code == status


async def test_origins_are_checked_on_real_requests() -> None:
    evil = {"origin": "https://evil.example"}
    async with world() as here:
        assert (await ask(here, "GET", "/health", headers=evil)).status == 403
        assert (await ask(here, "POST", "/api/tasks", body={}, headers=evil)).status == 403
        own = {"origin": here.http}
        assert (await ask(here, "GET", "/health", headers=own)).status == 200
        for origin in (None, here.http):
            async with wire(here, origin=origin) as client:
                await client.result("connect")
        with pytest.raises(InvalidStatus, match="403"):
            async with wire(here, origin="https://evil.example"):
                pass


async def test_allowed_origins_get_cors() -> None:
    origin = {"origin": "https://app.example.com"}
    async with world(secret=SECRET, allowed_origins=("https://app.example.com",)) as here:
        answer = await ask(here, "GET", "/health", headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        preflight = origin | {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, content-type, idempotency-key",
        }
        answer = await ask(here, "OPTIONS", "/api/tasks", headers=preflight)
        assert answer.status == 200
        assert "idempotency-key" in answer.headers["access-control-allow-headers"]
        # Errors can be read by the page, too.
        answer = await ask(here, "GET", "/api/tasks", headers=origin)
        assert answer.status == 401
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
