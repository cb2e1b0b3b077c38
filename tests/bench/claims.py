"""
What a claim costs, with 10, 1,000 and 10,000 tasks that wait, beside what an append costs.

    python -m tests.bench.claims

First as a worker on a WebSocket sees it, from the request to its answer, one at a time: an append
is an ``event.publish``, the plainest operation that puts one event into the log. Then in one
process, without a door, where a bare append is the store alone. The tasks are of 100 users and
four priorities, and as many wait at the end as at the beginning. Beside it: a claim that takes a
lock with the task, and how many claims look when a task comes and fifty wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from gateway import Gateway
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.settings import Settings
from gateway.execution.engine import Engine
from tests.bench.tables import Figures, Outline, spread
from tests.nats import NatsServer
from tests.scenarios.harness import browser, gateway_process

__all__ = ["OUTLINE", "Bench", "measure", "run"]

PENDING = (10, 1_000, 10_000)
CLAIMS = 300
USERS = 100
FILLING = 256
SETTINGS: dict[str, Any] = {
    "queue_limit": 2 * max(PENDING),
    "queue_timeout": 86_400,
    "heartbeat_timeout": 3600,
    "offline_after": 7200,
    "drain_grace": 0.001,
    # It uses all of the processor, which is no overload here.
    "degraded_cpu": 0,
    "degraded_lag": 0,
}
WAITING = 50

Rows = dict[str, list[float]]


class Bench:
    """
    A gateway with a worker, and tasks that wait for it.

    Args:
        call: Calls an operation as an operator, and gives its result.

    Attributes:
        numbers: Tells tasks and locks apart.
    """

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self.call = call
        self.numbers = itertools.count()
        self._waiting = 0
        self._worker: dict[str, str] = {}

    async def begin(self) -> None:
        """Register the worker."""
        answer = await self.call("agent.register", handle="bench")
        self._worker = {name: answer[name] for name in ("agent_id", "agent_secret")}

    async def create(self) -> None:
        """Let one more task wait."""
        number = next(self.numbers)
        self._waiting += 1
        await self.call(
            "task.create",
            agent="bench",
            input={"question": "how much?"},
            user_id=f"user-{number % USERS}",
            priority=5 + number % 4,
            timeout=86_400,
        )

    async def fill(self, pending: int) -> None:
        """Let so many tasks wait."""
        while (missing := pending - self._waiting) > 0:
            await asyncio.gather(*(self.create() for _ in range(min(missing, FILLING))))

    def empty(self) -> None:
        """Know that no task waits."""
        self._waiting = 0

    async def claim(self, **params: Any) -> Any:
        """Claim the next task."""
        self._waiting -= 1
        return await self.call("task.claim", **self._worker, **params)

    async def end(self, claim: Any) -> None:
        """Complete a task."""
        lease = {"task_id": claim["task_id"], "term": claim["term"]}
        await self.call("task.complete", **self._worker, **lease, result=None)

    async def renewals(self, count: int = CLAIMS) -> list[float]:
        """Milliseconds of a renewal of a lease, each."""
        claim = await self.claim()
        lease = {"task_id": claim["task_id"], "term": claim["term"], "lease_ttl": 60}

        async def renew() -> None:
            await self.call("task.heartbeat", **self._worker, **lease)

        values = await self.between(renew, count)
        await self.end(claim)
        await self.create()
        return values

    async def publishing(self, count: int = CLAIMS) -> list[float]:
        """Milliseconds of an ``event.publish``, each."""

        async def publish() -> None:
            await self.call("event.publish", type="notification", **NOTE)

        return await self.between(publish, count)

    async def between(self, work: Callable[[], Awaitable[object]], count: int) -> list[float]:
        """Milliseconds of ``work``, each after a task was taken and done, and another made."""
        values = []
        for _ in range(count):
            await self.end(await self.claim())
            await self.create()
            values.append(await _ms(work))
        return values

    async def claims(self, count: int = CLAIMS, *, lock: bool = False) -> list[float]:
        """Milliseconds of a claim, each; a task is made for each that is taken."""
        values = []
        for _ in range(count):
            params = {"resource_key": f"r{next(self.numbers)}"} if lock else {}
            claims: list[Any] = []

            async def claim(params: Any = params, claims: list[Any] = claims) -> None:
                claims.append(await self.claim(**params))

            values.append(await _ms(claim))
            await self.end(claims[0])
            await self.create()
        return values


NOTE: dict[str, Any] = {
    "user_id": "user-1",
    "recipient_id": "user-1",
    "subject": "a",
    "payload": {"question": "how much?"},
}


# By WebSocket: what is measured with each number of tasks that wait.
APPEND, RENEWAL, CLAIM, WITH_LOCK = "append", "renewal", "claim", "claim with a lock"
STORES = ("memory", "nats")
OUTLINE = Outline(
    "A claim, with few and many tasks that wait",
    f"From a worker's request on its WebSocket to the answer, {CLAIMS} of each, one at a time; "
    f"tasks of {USERS} users and four priorities.\nAn append is an `event.publish`, the plainest "
    f"operation that puts one event into the log. NATS is one server on the same machine.",
    tuple(
        f"{store}, {pending} wait: {name}"
        for store in STORES
        for pending in PENDING
        for name in (APPEND, RENEWAL, CLAIM, WITH_LOCK)
    ),
    ("p50 ms", "p99 ms"),
)


async def measure(share: float = 1.0) -> Figures:
    """Measure by WebSocket; a share of the full size has fewer tasks and claims."""
    figures: dict[str, tuple[float, ...]] = {}
    with _nats() as server:
        await server.start()
        for store, url in zip(STORES, ("memory", server.url), strict=True):
            async for pending, rows in _by_socket(url, share):
                for name, values in rows.items():
                    figures[f"{store}, {pending} wait: {name}"] = spread(values)[:2]
    return figures


async def run() -> None:
    """Measure and print."""
    with _nats() as server:
        await server.start()
        for store in ("memory", server.url):
            print(_head(f"by WebSocket, store: {store.partition(':')[0]}"))
            async for pending, rows in _by_socket(store):
                _print(pending, rows)
            await _in_process(store)


@contextlib.contextmanager
def _nats() -> Iterator[NatsServer]:
    with tempfile.TemporaryDirectory(prefix="nats-bench-") as folder:
        server = NatsServer(Path(folder))
        try:
            yield server
        finally:
            server.kill()


async def _by_socket(store: str, share: float = 1.0) -> AsyncIterator[tuple[int, Rows]]:
    """Give the milliseconds with each number of tasks that wait."""
    named: dict[str, Any] = {} if store == "memory" else {"store": store, "store_stream": "SOCKET"}
    count = max(2, round(CLAIMS * share))
    async with (
        gateway_process(target=None, rate_http=0, rate_ws=0, **named, **SETTINGS) as gateway,
        browser(gateway.url, topics=["agent:none"]) as page,
    ):

        async def call(operation: str, **params: Any) -> Any:
            return (await page.call(operation, **params))["result"]

        bench = Bench(call)
        await bench.begin()
        for pending in PENDING:
            await bench.fill(max(2, round(pending * share)))
            await bench.claims(min(20, count))
            yield pending, {APPEND: await bench.publishing(count), **await _claiming(bench, count)}


async def _in_process(store: str) -> None:
    settings = Settings(store=store, store_stream="CLAIMS", workers=1, **SETTINGS)
    gateway = Gateway(settings)
    async with gateway.lifespan():
        engine = gateway.engine
        await engine.parts.watch.until_ready()

        async def call(operation: str, **params: Any) -> Any:
            return await engine.call(operation, params, LOCAL_OPERATOR)

        async def append() -> None:
            intake = engine.parts.intake
            await intake.append([intake.draft("notification", "bench", message="m", **NOTE)])

        bench = Bench(call)
        await bench.begin()
        print(_head(f"in process, store: {store.partition(':')[0]}"))
        print(f"a task that comes while {WAITING} claims wait: {await _looks(bench, engine)} look")
        for pending in PENDING:
            await bench.fill(pending)
            await bench.claims(20)
            rows = {"bare append": await bench.between(append, CLAIMS)}
            _print(pending, rows | await _claiming(bench))


async def _claiming(bench: Bench, count: int = CLAIMS) -> Rows:
    return {
        RENEWAL: await bench.renewals(count),
        CLAIM: await bench.claims(count),
        WITH_LOCK: await bench.claims(count, lock=True),
    }


async def _looks(bench: Bench, engine: Engine) -> int:
    """How many claims look when a task comes and fifty wait."""
    claims = engine.parts.claims
    waiting = [asyncio.create_task(bench.claim(wait=30)) for _ in range(WAITING)]
    await asyncio.sleep(0.5)  # noqa: TID251 - lets them look, and find nothing
    before = claims.looks
    await bench.create()
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.1)  # noqa: TID251 - lets the others look
    looks = claims.looks - before
    for claim in waiting:
        claim.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await bench.end(done.pop().result())
    bench.empty()
    return looks


def _head(where: str) -> str:
    return f"claims {where + f', {CLAIMS} each':<40}{'p50 ms':>9}{'p99 ms':>9}{'to append':>11}"


def _print(pending: int, rows: Rows) -> None:
    append = _p50(next(iter(rows.values())))
    for name, values in rows.items():
        p99 = sorted(values)[int(len(values) * 0.99)]
        told = f"{pending} wait: {name}"
        print(f"{told:47}{_p50(values):9.3f}{p99:9.3f}{_p50(values) / append:11.2f}")


async def _ms(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1e3


def _p50(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    asyncio.run(run())
