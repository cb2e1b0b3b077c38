"""
The durable log against one nats-server of its own: appending, and beginning from a long log.

    python -m tests.bench.jetstream [EVENTS]

EVENTS (100,000) is how many a node that starts has to read and fold: the lives of tasks as a real
gateway writes them, of 1,000 users. Latency ends when this node's followers have seen the entry.
Memory is what the reading process grew by. Then the leader of three servers is killed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import multiprocessing
import re
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil

from gateway import Gateway, Task
from gateway.app.clock import RandomIds, SystemClock
from gateway.attempts.agents import Agents
from gateway.domain.errors import StoreUnavailable
from gateway.domain.settings import Settings
from gateway.execution.engine import Engine
from gateway.execution.node.watch import ENTRIES_UNSAVED_MAX, SAVES_PER_LOG
from gateway.execution.parts import Parts
from gateway.ports import Draft, EventLog
from gateway.stores.jetstream.log import JetStreamLog
from gateway.stores.memory import MemoryLog
from tests.nats import NatsServer, leader_of, nats_cluster

__all__ = ["run"]

EVENTS = 100_000
APPENDS = 2000
FILLING = 512
FAILOVERS = 3
UUIDS = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")


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
    await _failover()


def _log(
    server: NatsServer,
    events_max: int,
    *,
    servers: Sequence[str] = (),
    replicas: int = 1,
) -> JetStreamLog:
    return JetStreamLog(
        servers or [server.url],
        clock=SystemClock(),
        ids=RandomIds(),
        events_max=events_max,
        bytes_max=8 * 2**30,
        age_max_s=86400.0,
        stream="BENCH",
        replicas=replicas,
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


async def _filling(server: NatsServer, events: int, *, more: int = 0) -> None:
    """
    Write the lives of so many tasks that there are ``events`` entries.

    Args:
        more: How many are written on top of them now; 0: the log is empty, and all are.
    """
    life = await _life()
    entries = sum(len(drafts) for drafts in life)
    log = _log(server, events)
    known, events = (events // entries, more) if more else (0, events)
    await log.open()
    await log.start()

    async def live(number: int) -> int:
        for drafts in life:
            await log.append([_of_another(draft, known + number) for draft in drafts])
        return log.head

    _, seconds = await _timed(live, count=events // entries, at_once=FILLING)
    print(
        f"{events:,} entries of {events // entries:,} tasks written, {FILLING} at a time:"
        f" {events / seconds:,.0f}/s"
    )
    await log.close()


async def _life() -> list[Sequence[Draft]]:
    """What a real gateway appends for a task that streams an answer, append by append."""
    gateway = Gateway(Settings())
    written: list[Sequence[Draft]] = []
    clock, ids = SystemClock(), RandomIds()
    memory = MemoryLog(epoch="e", clock=clock, events_max=100, bytes_max=10**6, age_max_s=3600.0)

    @gateway.agent("bench")
    async def answer(task: Task, question: str) -> str:
        for _ in range(3):
            task.append("so it goes " * 10)
            await clock.sleep(0.11)
        return "the end"

    gateway.engine = Engine(
        Parts(
            log=_Noting(memory, written),
            clock=clock,
            ids=ids,
            settings=gateway.settings,
            agents=gateway.agents,
        )
    )
    async with gateway.lifespan():
        handle = await gateway.submit("bench", {"question": "?"}, user_id="user-000")
        await handle.result()
    return written


class _Noting:
    """A log that writes down what is appended."""

    def __init__(self, log: EventLog, written: list[Sequence[Draft]]) -> None:
        self._log = log
        self._written = written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        self._written.append(drafts)
        return await self._log.append(drafts, expected=expected)


def _of_another(draft: Draft, number: int) -> Draft:
    """The same of another task, of one of 1,000 users: no two have an id in common."""

    def other(text: bytes) -> bytes:
        text = UUIDS.sub(b"%08x" % number + rb"\1", text)
        return text.replace(b"user-000", b"user-%03d" % (number % 1000))

    return Draft(
        other(draft.subject.encode()).decode(),
        draft.type,
        tuple(other(topic.encode()).decode() for topic in draft.topics),
        draft.operators_only,
        other(draft.body),
        draft.detail and other(draft.detail),
        draft.state and other(draft.state),
    )


async def _beginning(server: NatsServer, events: int) -> None:
    """Begin without a snapshot, then from one that is as old as one gets."""
    await _begun(server, events, "without a snapshot")
    await _filling(server, events, more=min(ENTRIES_UNSAVED_MAX, events // SAVES_PER_LOG))
    await _begun(server, events, "from the oldest snapshot that there can be")


async def _begun(server: NatsServer, events: int, how: str) -> None:
    # A process of its own: this one has memory left over from writing.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as other:
        figures = other.submit(_begin, server.port, server.folder, events)
        seconds, grown, peak, tasks = await asyncio.wrap_future(figures)
    print(
        f"a start with {events:,} entries, {how}: {seconds:.1f} s, {tasks:,} tasks known, "
        f"{grown / 2**20:,.0f} MiB, at the most {peak / 2**20:,.0f} MiB"
    )


def _begin(port: int, folder: Path, events: int) -> tuple[float, int, int, int]:
    """Start a node; gives seconds, bytes that it grew by, those at the most, and tasks known."""
    return asyncio.run(_begin_here(NatsServer(folder, port=port), events))


async def _begin_here(server: NatsServer, events: int) -> tuple[float, int, int, int]:
    clock, ids = SystemClock(), RandomIds()
    engine = Engine(
        Parts(
            log=_log(server, events),
            clock=clock,
            ids=ids,
            settings=Settings(log_events=events),
            agents=Agents(),
            durable=True,
        )
    )
    before, begun = psutil.Process().memory_info().rss, time.perf_counter()
    async with engine.running():
        await engine.parts.watch.until_ready()
        seconds = time.perf_counter() - begun
        grown = psutil.Process().memory_info().rss - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        await engine.parts.watch.save()
    return seconds, grown, peak, len(engine.parts.state.tasks)


async def _failover() -> None:
    """Kill the leader of three servers under load; how long is nothing taken?"""
    print(f"three nats-servers, three replicas, the leader killed {FAILOVERS} times, 16 at a time")
    async with nats_cluster(3) as servers:
        log = _log(servers[0], 100_000, servers=[s.url for s in servers], replicas=3)
        await log.open()
        await log.start()
        clock = SystemClock()
        pauses: list[float] = []
        over = False
        answered_at = time.perf_counter()
        longest = 0.0
        numbers = itertools.count()

        async def write() -> None:
            nonlocal answered_at, longest
            while not over:
                try:
                    await log.append([_draft(next(numbers) * 5)])
                except StoreUnavailable:
                    await clock.sleep(0.01)  # it says so at once
                    continue
                now = time.perf_counter()
                longest = max(longest, now - answered_at)
                answered_at = now

        writers = [asyncio.ensure_future(write()) for _ in range(16)]
        for _ in range(FAILOVERS):
            leader = servers[await leader_of(servers, "BENCH")]
            longest = 0.0
            count = next(numbers)
            leader.kill()
            while next(numbers) < count + 2_000 or longest < 0.05:
                await clock.sleep(0.1)
            pauses.append(longest)
            await leader.start()
            await leader_of(servers, "BENCH", current=3)
        over = True
        await asyncio.gather(*writers)
        await log.close()
    words = ", ".join(f"{pause:.1f}" for pause in pauses)
    print(f"seconds between the last append taken before and the first after: {words}")


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS))
