"""
The durable log against one nats-server of its own: appending, and beginning from a long log.

    python -m tests.bench.jetstream [EVENTS]

EVENTS (100,000) is how many a node that starts has to read. An entry is about 700 bytes, of one
of 1,000 users and of a task with five entries. Latency ends when this node's followers have seen
the entry. Memory is what the reading process grew by.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import psutil

from gateway.app.clock import RandomIds, SystemClock
from gateway.ports import Draft, Entry
from gateway.stores.jetstream import JetStreamLog
from tests.nats import NatsServer

__all__ = ["run"]

EVENTS = 100_000
APPENDS = 2000
FILLING = 512


async def run(events: int = EVENTS) -> None:
    """Measure and print."""
    print("durable log, one nats-server, one replica, files on this machine's disk")
    # Not in memory, as in the tests: what a flush costs belongs to it.
    with tempfile.TemporaryDirectory(prefix="nats-bench-") as folder:
        server = NatsServer(Path(folder))
        await server.start()
        try:
            await _appending(server)
            await _filling(server, events)
            await _beginning(server, events)
        finally:
            server.kill()


def _log(server: NatsServer, events_max: int) -> JetStreamLog:
    return JetStreamLog(
        [server.url],
        clock=SystemClock(),
        ids=RandomIds(),
        events_max=events_max,
        bytes_max=8 * 2**30,
        age_max_s=86400.0,
        stream="BENCH",
    )


def _draft(number: int, *, about: str = "task") -> Draft:
    task, user = f"{number // 5:036d}", f"user-{number % 1000}"
    body = {"type": "task_progress", "user_id": user, "task_id": task, "message": "x" * 500}
    topics = (f"user:{user}", f"task:{task}", "agent:bench")
    return Draft(f"{about}/{task}", "task_progress", topics, False, orjson.dumps(body))


async def _appending(server: NatsServer) -> None:
    log = _log(server, APPENDS * 10)
    await log.open()
    await log.start()

    def decision(number: int) -> Awaitable[int]:
        draft = _draft(number * 5, about="decision")
        return log.append([draft, draft, draft], expected={draft.subject: 0})

    def decision_about_two(number: int) -> Awaitable[int]:
        first, second = _draft(number * 5, about="first"), _draft(number * 5, about="second")
        return log.append([first, second], expected={first.subject: 0, second.subject: 0})

    print(f"{'append':34}{'p50 ms':>9}{'p99 ms':>9}{'appends/s':>11}")
    for name, append, count, at_once in (
        ("one entry, 1 at a time", lambda n: log.append([_draft(n)]), APPENDS, 1),
        ("one entry, 64 at a time", lambda n: log.append([_draft(n)]), APPENDS, 64),
        ("decision, 3 entries, 1 at a time", decision, APPENDS, 1),
        ("decision, 2 subjects, 1 at a time", decision_about_two, APPENDS // 20, 1),
    ):
        values, seconds = await _timed(append, count=count, at_once=at_once)
        p50, p99 = values[len(values) // 2], values[int(len(values) * 0.99)]
        print(f"{name:34}{p50:9.2f}{p99:9.2f}{count / seconds:11.0f}")
    await log.close()


async def _timed(
    append: Callable[[int], Awaitable[int]], *, count: int, at_once: int
) -> tuple[list[float], float]:
    """Give each append's milliseconds, sorted, and the seconds for all."""
    values: list[float] = []
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await append(number)
            values.append((time.perf_counter() - begun) * 1e3)

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return sorted(values), time.perf_counter() - begun


async def _filling(server: NatsServer, events: int) -> None:
    log = _log(server, events)
    await log.open()
    await log.start()
    _, seconds = await _timed(
        lambda number: log.append([_draft(number, about="filled")]), count=events, at_once=FILLING
    )
    print(f"{events:,} entries written, {FILLING} at a time: {events / seconds:,.0f}/s")
    await log.close()


async def _beginning(server: NatsServer, events: int) -> None:
    # A process of its own: this one has memory left over from writing.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as other:
        figures = other.submit(_begin, server.port, server.folder, events)
        seen, seconds, grown = await asyncio.wrap_future(figures)
    print(f"{seen:,} entries read at the start in {seconds:.1f} s, {seen / seconds:,.0f}/s")
    print(f"memory for them: {grown / 2**20:,.0f} MiB, {grown / seen:,.0f} bytes each")


def _begin(port: int, folder: Path, events: int) -> tuple[int, float, int]:
    """Start a node; gives entries, seconds, and bytes that the process grew by."""
    return asyncio.run(_begin_here(NatsServer(folder, port=port), events))


async def _begin_here(server: NatsServer, events: int) -> tuple[int, float, int]:
    log = _log(server, events)
    seen = 0

    def follow(entry: Entry) -> None:
        nonlocal seen
        seen += 1

    log.follow(follow)
    await log.open()
    process = psutil.Process()
    before, begun = process.memory_info().rss, time.perf_counter()
    await log.start()
    seconds = time.perf_counter() - begun
    grown = process.memory_info().rss - before
    await log.close()
    return seen, seconds, grown


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS))
