"""Many at once, and some that do not read: what others notice, and what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import psutil
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.app.clock import SystemClock
from tests.scenarios.durable import until
from tests.scenarios.harness import GatewayProcess, browser, gateway_process
from tests.scenarios.proxy import Proxy
from tests.soak import times

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
# Readers that read, and events of 16 KB (row MESH-19); a socket in the system holds 250 of them.
READERS, EVENTS, BYTES = 20, times(350, 10_000), 16_000
KEPT = 300
SILENCE_S, STALL_S = 2.0, 5.0
# Agents that come back at once, how long /health may take meanwhile, and what they may take in the
# server's memory (row FLUX-07).
AGENTS, HEALTH_S, AGENT_BYTES_MAX = times(100, 1_000), times(10, 1), 256 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    async with gateway_process(
        target=None,
        log_events=KEPT,
        publish_bytes=0,
        rate_http=0,
        stall_timeout=STALL_S,
        heartbeat_interval=1,
        client_timeout=SILENCE_S,
    ) as running:
        yield running


async def publish(gateway: GatewayProcess, count: int = EVENTS) -> None:
    note = {"type": "notification", "channel": "crowd", "payload": "x" * BYTES}
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=30) as http:
        for number in range(count):
            note["subject"] = str(number)
            (await http.post("/api/events", json=note)).raise_for_status()


async def call(client: ClientConnection, method: str, **params: Any) -> Any:
    await client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    return json.loads(await client.recv())["result"]


@contextlib.asynccontextmanager
async def narrow(gateway: GatewayProcess) -> AsyncIterator[ClientConnection]:
    """Follow the channel over a socket that holds little, read only as the test reads."""
    thin = socket.socket()
    thin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    thin.connect(("127.0.0.1", gateway.port))
    url = gateway.url.replace("http", "ws", 1) + "/ws"
    client = await connect(
        url, sock=thin, max_queue=1, max_size=None, ping_interval=None, close_timeout=0.1
    )
    try:
        await call(client, "connect")
        await call(client, "subscribe", topics=["channel:crowd"])
        yield client
    finally:
        await client.close()


async def to_the_end(client: ClientConnection) -> None:
    while True:
        await client.recv()


def connected(gateway: GatewayProcess, count: int) -> Any:
    """Whether that many connections are there."""

    async def asked() -> bool:
        return bool((await gateway.get("/api/stats"))["connections"] == count)

    return asked


@pytest.mark.requirement("MESH-19")
async def test_a_reader_that_stops_costs_the_others_nothing_and_is_freed(
    gateway: GatewayProcess,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pages = [
            await stack.enter_async_context(
                browser(gateway.url, f"u{number}", topics=["channel:crowd"])
            )
            for number in range(READERS)
        ]
        stuck = await stack.enter_async_context(narrow(gateway))
        await until(connected(gateway, READERS + 1))
        await publish(gateway)
        for page in pages:
            await page.until(lambda events: len(events) >= EVENTS, within_s=60)
            assert [event["subject"] for event in page.events] == list(map(str, range(EVENTS)))
        await until(connected(gateway, READERS), within_s=30)
        with pytest.raises(ConnectionClosed):
            await to_the_end(stuck)


@pytest.mark.requirement("MESH-W19")
async def test_a_reader_that_is_too_slow_is_told_what_it_has_lost(gateway: GatewayProcess) -> None:
    async with narrow(gateway) as slow:
        publishing = asyncio.create_task(publish(gateway, 3 * KEPT))
        told: list[Any] = []
        while not publishing.done():
            # It lives, as far as it is behind.
            await slow.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
            told += [json.loads(await slow.recv()) for _ in range(3)]
            await CLOCK.sleep(0.1)
        while not told or told[-1].get("subject") != str(3 * KEPT - 1):
            told.append(json.loads(await slow.recv()))
    gaps = [frame["params"] for frame in told if frame.get("method") == "gap"]
    events = [frame for frame in told if "type" in frame]
    jumps = [
        (before["offset"], after["offset"])
        for before, after in itertools.pairwise(events)
        if int(after["subject"]) != int(before["subject"]) + 1
    ]
    assert gaps
    assert len(gaps) == len(jumps)
    for gap, (last, next_one) in zip(gaps, jumps, strict=True):
        assert last < gap["from"] <= gap["to"] < next_one


@pytest.mark.requirement("MESH-W18")
async def test_clients_behind_a_cable_that_is_cut_are_found_by_their_silence(
    gateway: GatewayProcess,
) -> None:
    """No FIN and no RST comes, and nothing is sent to them but heartbeats."""
    async with Proxy(gateway.port) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/ws"
        clients = [await connect(url, ping_interval=None, close_timeout=0.1) for _ in range(10)]
        for client in clients:
            await call(client, "connect")
        await until(connected(gateway, 10))
        proxy.stalled = True
        began = CLOCK.monotonic()
        await until(connected(gateway, 0))
        assert CLOCK.monotonic() - began < SILENCE_S + 5
        for client in clients:
            await client.close()


@pytest.mark.requirement("FLUX-07")
async def test_agents_that_come_back_at_once_are_all_served() -> None:
    """Each over a socket of its own, again and again until the gateway that was killed is there."""
    port, url = 0, ""
    registered: set[int] = set()
    stop = asyncio.Event()

    async def agent(number: int) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, ConnectionClosed, TimeoutError):
                async with connect(url, ping_interval=None, open_timeout=30) as client:
                    await call(client, "connect")
                    await call(client, "agent.register", handle=f"a{number}")
                    registered.add(number)
                    await client.wait_closed()
            registered.discard(number)
            await CLOCK.sleep(0.05)

    crowd: list[asyncio.Task[None]] = []
    for life in range(2):
        async with gateway_process(target=None, port=port) as running:
            port = running.port
            url = running.url.replace("http", "ws", 1) + "/ws"
            before = psutil.Process(running.process.pid).memory_info().rss
            if not crowd:
                crowd = [asyncio.create_task(agent(number)) for number in range(AGENTS)]
            slowest_s = 0.0
            async with asyncio.timeout(60):
                while len(registered) < AGENTS:
                    began = CLOCK.monotonic()
                    (await running.http.get("/health")).raise_for_status()
                    slowest_s = max(slowest_s, CLOCK.monotonic() - began)
                    await CLOCK.sleep(0.02)
            assert slowest_s < HEALTH_S
            grown = psutil.Process(running.process.pid).memory_info().rss - before
            assert grown < AGENTS * AGENT_BYTES_MAX + 64 * 1024**2
            by_status = (await running.get("/api/stats"))["agents"]["by_status"]
            assert by_status["healthy"] == AGENTS
            if life == 0:
                running.process.send_signal(signal.SIGKILL)
                await running.process.wait()
                await until(lambda: _none(registered), within_s=30)
    stop.set()
    await asyncio.gather(*crowd)


async def _none(registered: set[int]) -> bool:
    return not registered
