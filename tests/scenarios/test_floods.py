"""Clients that ask for much and read nothing: what they cost a gateway, and others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import psutil
import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from tests.scenarios.harness import GatewayProcess, browser, gateway_process
from tests.soak import times
from tests.transports.raw_client import frame
from tests.transports.world import SECRET, token

# The tests share a gateway, which is filled once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
STALL_S = 1.0
GROWTH_BYTES_MAX = 10 * 1024**2
REQUESTS = 2_000

UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    """A gateway with 3 MB of events for ann; its limits of rates are not what is tried here."""
    async with gateway_process(
        target=None, stall_timeout=STALL_S, rate_ws=0, rate_http=0, publish_bytes=0
    ) as running:
        for number in range(60):
            event = {
                "type": "notification",
                "recipient_id": "ann",
                "user_id": "ann",
                "subject": f"s{number}",
                "payload": {"text": "x" * 50_000},
            }
            answer = await running.http.post("/api/events", json=event)
            assert answer.status_code == 201, answer.text
        yield running


@contextlib.contextmanager
def deaf(gateway: GatewayProcess) -> Iterator[socket.socket]:
    """A connection with small buffers, so that little is sent that nobody reads."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.setblocking(False)
    with contextlib.closing(peer):
        yield peer


async def sent_while_taken(peer: socket.socket, data: bytes) -> None:
    """Send as much as the gateway takes; that it stops taking is what it should do."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(STALL_S / 2):
            await asyncio.get_running_loop().sock_sendall(peer, data)


async def growth(gateway: GatewayProcess, asking: asyncio.Task[None], *, for_s: float) -> int:
    """How much the gateway's memory grows at the most while somebody asks, in bytes."""
    process = psutil.Process(gateway.process.pid)
    before = most = process.memory_info().rss
    until = CLOCK.monotonic() + for_s
    while CLOCK.monotonic() < until or not asking.done():
        most = max(most, process.memory_info().rss)
        await CLOCK.sleep(0.02)
    await asking
    return most - before


async def warmed_up(gateway: GatewayProcess) -> None:
    """Let it answer once, so that what it allocates for good is there."""
    async with browser(gateway.url, "ann") as page:
        for _ in range(5):
            page_of = await page.call("event.list", topic="user:ann", limit=500)
            assert len(orjson.dumps(page_of)) > 900_000
    for _ in range(5):
        await gateway.get("/api/events?topic=user:ann&limit=500")


async def test_a_socket_that_asks_and_does_not_read_grows_nothing_and_is_freed(
    gateway: GatewayProcess,
) -> None:
    """Thirty-two requests for a long list grew it by 166 MB."""
    loop = asyncio.get_running_loop()
    await warmed_up(gateway)
    asked = {"method": "event.list", "params": {"topic": "user:ann", "limit": 500}}
    with deaf(gateway) as peer:
        await loop.sock_connect(peer, ("127.0.0.1", gateway.port))
        await loop.sock_sendall(peer, UPGRADE.format(port=gateway.port).encode())
        assert (await loop.sock_recv(peer, 1024)).startswith(b"HTTP/1.1 101 ")
        connect = {"jsonrpc": "2.0", "id": 0, "method": "connect", "params": {"user_id": "ann"}}
        await loop.sock_sendall(peer, frame(connect))
        requests = b"".join(
            frame({"jsonrpc": "2.0", "id": number, **asked}) for number in range(1, REQUESTS + 1)
        )
        assert (await gateway.get("/api/stats"))["connections"] == 1
        asking = asyncio.create_task(sent_while_taken(peer, requests))
        assert await growth(gateway, asking, for_s=STALL_S / 2) < GROWTH_BYTES_MAX
        # Others are served meanwhile, and it is gone when it has read nothing for long enough.
        async with asyncio.timeout(STALL_S * 10):
            while (await gateway.get("/api/stats"))["connections"]:
                await CLOCK.sleep(0.05)


async def test_requests_that_are_sent_ahead_and_never_read_grow_nothing(
    gateway: GatewayProcess,
) -> None:
    loop = asyncio.get_running_loop()
    await warmed_up(gateway)
    request = (
        "GET /api/events?topic=user:ann&limit=500 HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{gateway.port}\r\n\r\n"
    )
    with deaf(gateway) as peer:
        await loop.sock_connect(peer, ("127.0.0.1", gateway.port))
        asking = asyncio.create_task(sent_while_taken(peer, request.encode() * REQUESTS))
        assert await growth(gateway, asking, for_s=STALL_S / 2) < GROWTH_BYTES_MAX
        assert (await gateway.get("/health"))["status"] == "ok"


# --- requests without end -------------------------------------------------------------------

RATE, BURST = 100, 200


async def answers_of(
    gateway: GatewayProcess, user_id: str, *, count: int, pause_s: float = 0.0
) -> list[tuple[int, str | None]]:
    """Ask over one connection; gives status and Retry-After of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=2**20)
    request = (
        f"GET /api/tasks?limit=1 HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n"
        f"Authorization: Bearer {token(user_id)}\r\n\r\n"
    ).encode()
    answers: list[tuple[int, str | None]] = []
    refusals: list[dict[str, Any]] = []
    with contextlib.closing(writer):
        for _ in range(count):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            fields = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
            body = orjson.loads(await reader.readexactly(int(fields["content-length"])))
            status = int(head.split()[1])
            answers.append((status, fields.get("retry-after")))
            refusals += [body] if status == 429 else []
            await CLOCK.sleep(pause_s)
    assert {body["code"] for body in refusals} <= {"rate_limited"}
    assert all(0 < body["retry_after"] <= 1 / RATE + 0.001 for body in refusals)
    return answers


@pytest.mark.requirement("FLUX-14")
async def test_a_storm_of_one_user_is_told_when_to_come_back_and_others_do_not_notice() -> None:
    """Ten thousand requests, at 100 a second with a burst of 200 (in full: `make soak`)."""
    count = times(3_000, 10_000)
    async with gateway_process(
        target=None, token_secret=SECRET, rate_http=RATE, max_connections_user=20
    ) as gateway:
        began = CLOCK.monotonic()
        async with asyncio.TaskGroup() as group:
            storm = [
                group.create_task(answers_of(gateway, "ann", count=count // 10)) for _ in range(10)
            ]
            other = group.create_task(answers_of(gateway, "bob", count=50, pause_s=0.02))
        took_s = CLOCK.monotonic() - began
        answers = [answer for task in storm for answer in task.result()]
        assert len(answers) == count
        taken = sum(status == 200 for status, _ in answers)
        assert BURST <= taken <= BURST + RATE * took_s + 1
        assert {answer for answer in answers if answer[0] != 200} == {(429, "1")}
        assert {status for status, _ in other.result()} == {200}
        # Who waits as told, a second, is served.
        await CLOCK.sleep(1)
        assert {status for status, _ in await answers_of(gateway, "ann", count=1)} == {200}
