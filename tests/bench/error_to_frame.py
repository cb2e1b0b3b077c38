"""
From an agent's ``raise`` to the frame in a browser, on loopback, at 100 errors a second.

Measured between processes on the machine's monotonic clock. Beside it, in the same run and at
the same rate, a bare ``websockets`` server that sends one frame to one client: what the machine
itself needs at that moment. The ratio is what to compare.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import orjson
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.bench.tables import Figures, Outline, spread
from tests.scenarios.harness import browser, gateway_process

__all__ = ["OUTLINE", "measure", "run"]

ERRORS_PER_S = 100
SECONDS = 10

OUTLINE = Outline(
    "An error to a browser, under load",
    f"From an agent's `raise` to the frame in its owner's browser, {ERRORS_PER_S} errors a second "
    f"for {SECONDS} s, each the end of a task.\nBeside it a bare `websockets` server that sends "
    f"one frame to one client, in the same run and at the same rate.",
    ("gateway, raise to frame", "bare websockets, one frame"),
)


async def run() -> None:
    """Measure and print."""
    figures = await measure()
    print(OUTLINE.text(figures))
    ours, bare = figures.values()
    print(f"{'ratio':56}{ours[0] / bare[0]:9.1f}")


async def measure(share: float = 1.0) -> Figures:
    """Measure; a share of the full size takes less time."""
    total = max(10, round(ERRORS_PER_S * SECONDS * share))
    bare = await _bare(total)
    ours = await _ours(total)
    return dict(zip(OUTLINE.rows, (spread(ours), spread(bare)), strict=True))


async def _ours(total: int) -> list[float]:
    """Milliseconds from raise to frame."""
    async with (
        gateway_process(target="tests.bench.agents:gateway", workers=64) as gateway,
        browser(gateway.url, "42") as page,
    ):
        await _paced(total, lambda: page.call("task.create", agent="failing"))
        await page.until(lambda _: len(page.all("agent_error")) >= total, within_s=60)
        raised = {
            event["task_id"]: int(event["preserved_text"])
            for event in page.all("partial_result_preserved")
        }
        return [
            page.at[event["offset"]] * 1e3 - raised[event["task_id"]] / 1e6
            for event in page.all("agent_error")
        ]


async def _bare(total: int) -> list[float]:
    """Milliseconds from send to receive."""
    values: list[float] = []

    async def echo(connection: ServerConnection) -> None:
        async for _ in connection:
            await connection.send(orjson.dumps({"t": time.monotonic_ns(), "pad": "x" * 900}))

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", compression=None) as client:

            async def ask() -> None:
                await client.send("now")
                frame = orjson.loads(await client.recv())
                values.append((time.monotonic_ns() - frame["t"]) / 1e6)

            await _paced(total, ask, at_once=1)
    return values


async def _paced(total: int, work: Callable[[], Awaitable[object]], *, at_once: int = 1000) -> None:
    """Do it 100 times a second, whatever each takes, ``at_once`` at the most."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    running: set[asyncio.Task[None]] = set()
    room = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with room:
            await work()

    for number in range(total):
        due = begun + number / ERRORS_PER_S
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)  # noqa: TID251 - the pace is what is measured at
        task = asyncio.create_task(one())
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
