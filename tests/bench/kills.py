"""
From a worker's death to the news of it, in processes that are really killed.

    python -m tests.bench.kills [KILLS]

KILLS (50) of each kind, a few workers at a time, each at any moment between two of its beats.
When the process that runs the agents dies, its keeper tells; when the whole worker dies, no
process does: the lost connection makes it suspect, and silence for the heartbeat timeout takes its
task. A worker that has nothing to do stands by, and goes on with the tasks.
Times end when a browser has read the frame: the owner's for the error, which says in the same
moment what comes next, an operator's for the worker's status.

Beside it, in the same run: from the death of a bare process to the end of its socket in this one,
which is what the machine itself needs at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys

from gateway.app.clock import SystemClock
from gateway.domain.settings import Settings
from tests.bench.tables import Figures, Outline, spread
from tests.scenarios.harness import (
    Browser,
    GatewayProcess,
    WorkerProcess,
    browser,
    gateway_process,
    worker_process,
)

__all__ = ["OUTLINE", "measure", "run"]

KILLS = 50
AT_ONCE = 5
HOST = "127.0.0.1"
HEARTBEAT_S = Settings().heartbeat_timeout
# What is promised: the error within the heartbeats' limit and a timer's room, suspect at once.
ERROR_MS = HEARTBEAT_S * 1e3 + 250
SUSPECT_MS = 100.0

KINDS = {"its process": False, "the whole worker": True}
TOLD = ("its owner reads the error", "an operator reads suspect", "the next attempt has begun")
BARE = "a bare process: the end of its socket"

Times = tuple[float, float, float]

OUTLINE = Outline(
    "A killed worker: noticed, and gone on from",
    f"From SIGKILL, {KILLS} of each kind, at any moment between two beats, {AT_ONCE} workers at a "
    f"time, another one standing by.\nHeartbeat timeout {HEARTBEAT_S} s: an agent's process is "
    f"missed by its keeper; a whole worker is suspect by its lost connection, and\nloses its task "
    f"by its silence. The next attempt begins where a worker is free.",
    (*(f"{kind} is killed: {told}" for kind in KINDS for told in TOLD), BARE),
)


async def run(kills: int = KILLS) -> None:
    """Measure and print."""
    figures = await measure(kills / KILLS)
    print(OUTLINE.text(figures))
    for row, promised in zip(OUTLINE.rows, (ERROR_MS, SUSPECT_MS, None) * 2, strict=False):
        if promised is not None and figures[row][-1] > promised:
            print(f"not kept: {row}, promised within {promised:.0f} ms")


async def measure(share: float = 1.0) -> Figures:
    """Measure; a share of the full size has fewer kills."""
    kills = max(1, round(KILLS * share))
    figures: dict[str, tuple[float, ...]] = {}
    bare: list[float] = []
    async with gateway_process(target=None) as gateway:
        for kind, whole in KINDS.items():
            times: list[Times] = []
            while len(times) < kills:
                times += await _wave(gateway, min(AT_ONCE, kills - len(times)), whole=whole)
                bare.append(await _bare())
            for told, values in zip(TOLD, zip(*times, strict=True), strict=True):
                figures[f"{kind} is killed: {told}"] = spread(values)
    return {**figures, BARE: spread(bare)}


async def _wave(gateway: GatewayProcess, count: int, *, whole: bool) -> list[Times]:
    """Start workers, give each a task, and kill them all; one more stands by."""
    async with (
        browser(gateway.url, "42") as page,
        browser(gateway.url) as operator,
        contextlib.AsyncExitStack() as stack,
    ):

        async def worker(concurrency: int) -> WorkerProcess:
            return await stack.enter_async_context(
                worker_process(
                    *(gateway.url, "--concurrency", str(concurrency)),
                    target="tests.bench.agents:gateway",
                )
            )

        workers = await asyncio.gather(*(worker(1) for _ in range(count)))
        tasks = []
        for _ in workers:
            reply = await operator.call("task.create", agent="waiting", user_id="42")
            tasks.append(reply["result"]["task_id"])
        await page.until(lambda _: len(page.all("partial_result")) == count)
        await worker(count)
        held = {event["agent_id"]: event["task_id"] for event in page.all("task_started")}
        times = await asyncio.gather(
            *(
                _kill(worker, held[worker.agent_id], page, operator, whole=whole)
                for worker in workers
            )
        )
        for task_id in tasks:
            await operator.call("task.cancel", task_id=task_id)
        return times


async def _kill(
    worker: WorkerProcess, task_id: str, page: Browser, operator: Browser, *, whole: bool
) -> Times:
    """Kill one; milliseconds until owner and operator have read of it, and until it goes on."""
    doomed = [worker.process.pid] if whole else []
    doomed.append(worker.child.pid)
    await SystemClock().sleep(random.random() * HEARTBEAT_S / 3)
    at = asyncio.get_running_loop().time()
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    suspect = await operator.event(
        "agent_status_changed", agent_id=worker.agent_id, status="suspect"
    )
    error = await page.event("agent_error", task_id=task_id, within_s=HEARTBEAT_S * 3)
    begun = await page.event("task_started", task_id=task_id, attempt=2, within_s=HEARTBEAT_S * 6)
    if whole:
        await worker.process.wait()
    read = page.at[error["offset"]], operator.at[suspect["offset"]], page.at[begun["offset"]]
    told, suspected, gone_on = ((moment - at) * 1e3 for moment in read)
    return told, suspected, gone_on


async def _bare() -> float:
    """Milliseconds from the death of a process that does nothing to the end of its connection."""
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    ended: asyncio.Future[float] = loop.create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there.set()
        with contextlib.suppress(OSError):
            await reader.read()
        ended.set_result(loop.time())
        writer.close()

    async with await asyncio.start_server(listen, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-S", "-c", f"import socket; socket.create_connection(('{HOST}', {port})).recv(1)"),
        )
        async with asyncio.timeout(20):
            await there.wait()
        at = loop.time()
        process.kill()
        took_s = await ended - at
        await process.wait()
    return took_s * 1e3


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else KILLS))
