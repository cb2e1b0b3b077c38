"""
From a publication to its frame in each of many browsers, while users are served.

    python -m tests.bench.fan_out

Each notification goes to a channel that all of them follow; meanwhile other callers make tasks.
The time begins before the request to publish is sent, and ends when a browser has read the frame.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
from websockets.asyncio.client import ClientConnection, connect

from gateway.app.clock import SystemClock
from tests.bench.tables import Figures, Outline, spread
from tests.scenarios.harness import GatewayProcess, browser, gateway_process

__all__ = ["OUTLINE", "measure", "run"]

BROWSERS = (10, 200)
NOTES = 100
NOTES_PER_S = 10
TASKS_PER_S = 50

OUTLINE = Outline(
    "One event to many browsers",
    f"From the request to publish a notification to its frame in each browser that follows its\n"
    f"channel; {NOTES_PER_S} a second, {NOTES} of them, while {TASKS_PER_S} tasks a second are "
    f"made and done.",
    tuple(f"{count} browsers" for count in BROWSERS),
)
CLOCK = SystemClock()


async def run() -> None:
    """Measure and print."""
    print(OUTLINE.text(await measure()))


async def measure(share: float = 1.0) -> Figures:
    """Measure; a share of the full size has fewer browsers and notifications."""
    figures = {}
    async with gateway_process(
        target="tests.bench.agents:gateway", workers=64, rate_http=0, rate_ws=0
    ) as gateway:
        for row, count in zip(OUTLINE.rows, BROWSERS, strict=True):
            notes = max(2, round(NOTES * share))
            figures[row] = spread(await _times(gateway, max(2, round(count * share)), notes))
    return figures


async def _times(gateway: GatewayProcess, browsers: int, notes: int) -> list[float]:
    """Milliseconds, of each notification in each browser."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        sender = await stack.enter_async_context(browser(gateway.url, topics=["agent:none"]))
        readers = [
            asyncio.create_task(_read(await stack.enter_async_context(_following(gateway)), notes))
            for _ in range(browsers)
        ]
        load = asyncio.create_task(_load(gateway))
        sent: list[float] = []
        for number in range(notes):
            sent.append(loop.time())
            note = {"type": "notification", "channel": "news", "subject": "s", "payload": number}
            await sender.call("event.publish", **note)
            await CLOCK.sleep(max(0.0, sent[0] + (number + 1) / NOTES_PER_S - loop.time()))
        read = await asyncio.gather(*readers)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
    return [(at - sent[number]) * 1e3 for times in read for number, at in times.items()]


@contextlib.asynccontextmanager
async def _following(gateway: GatewayProcess) -> AsyncIterator[ClientConnection]:
    """A plain connection that follows the channel."""
    address = gateway.url.replace("http", "ws", 1) + "/ws"
    async with connect(address, compression=None) as socket:
        for id, (method, params) in enumerate(
            (("connect", {"user_id": "reader"}), ("subscribe", {"topics": ["channel:news"]}))
        ):
            frame = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
            await socket.send(orjson.dumps(frame).decode())
            assert "result" in orjson.loads(await socket.recv())
        yield socket


async def _read(socket: ClientConnection, notes: int) -> dict[int, float]:
    """When each notification was read, by its number."""
    loop = asyncio.get_running_loop()
    found: dict[int, float] = {}
    async with asyncio.timeout(120):
        while len(found) < notes:
            frame = orjson.loads(await socket.recv())
            if frame.get("type") == "notification":
                found[frame["payload"]] = loop.time()
    return found


async def _load(gateway: GatewayProcess) -> None:
    """Make tasks at an even pace."""
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(gateway.task("done", user_id="busy"))
            await CLOCK.sleep(1 / TASKS_PER_S)


if __name__ == "__main__":
    asyncio.run(run())
