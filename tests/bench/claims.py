"""
What a claim costs, with 10, 1,000 and 10,000 tasks that wait, beside what an append costs.

    python -m tests.bench.claims

In one process, without a door: from the call of the operation to its answer, one at a time. The
tasks are of 100 users and four priorities, and as many wait at the end as at the beginning. What
a claim is compared with is the plainest operation of a worker that appends one event about a
task: the renewal of its lease. A bare append, of an event that nothing follows from, stands
beside it. Then a claim that takes a lock with the task, and how many claims look when a task
comes and fifty wait.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway import Gateway
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.settings import Settings
from gateway.execution.engine import Engine
from tests.nats import NatsServer

__all__ = ["Bench", "run"]

PENDING = (10, 1_000, 10_000)
CLAIMS = 300
USERS = 100
FILLING = 256
WAITING = 50


class Bench:
    """
    A gateway with a worker, and tasks that wait for it.

    Attributes:
        numbers: Tells tasks and locks apart.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.numbers = itertools.count()
        self._worker: dict[str, str] = {}

    async def begin(self) -> None:
        """Register the worker."""
        answer = await self.call("agent.register", handle="bench")
        self._worker = {name: answer[name] for name in ("agent_id", "agent_secret")}

    async def call(self, operation: str, **params: Any) -> Any:
        """Call an operation as this machine's operator."""
        return await self.engine.call(operation, params, LOCAL_OPERATOR)

    async def create(self) -> None:
        """Let one more task wait."""
        number = next(self.numbers)
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
        while (missing := pending - self.engine.parts.state.queue_depth) > 0:
            await asyncio.gather(*(self.create() for _ in range(min(missing, FILLING))))

    async def claim(self, **params: Any) -> Any:
        """Claim the next task."""
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

        values = [await _ms(renew) for _ in range(count)]
        await self.end(claim)
        await self.create()
        return values

    async def appends(self, count: int = CLAIMS) -> list[float]:
        """Milliseconds of an append of one event that nothing follows from, each."""
        intake = self.engine.parts.intake

        async def append() -> None:
            await intake.append([intake.draft("notification", "bench", **NOTE)])

        return [await _ms(append) for _ in range(count)]

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

    async def looks(self) -> int:
        """How many claims look when a task comes and fifty wait."""
        claims = self.engine.parts.claims
        waiting = [asyncio.create_task(self.claim(wait=30)) for _ in range(WAITING)]
        await asyncio.sleep(0.5)  # noqa: TID251 - lets them look, and find nothing
        before = claims.looks
        await self.create()
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.1)  # noqa: TID251 - lets the others look
        looks = claims.looks - before
        for claim in waiting:
            claim.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self.end(done.pop().result())
        return looks


NOTE: dict[str, Any] = {
    "message": "notification",
    "user_id": "user-1",
    "recipient_id": "user-1",
    "subject": "a",
    "payload": {"question": "how much?"},
}


async def run() -> None:
    """Measure and print."""
    await _of("memory")
    with tempfile.TemporaryDirectory(prefix="nats-bench-") as folder:
        server = NatsServer(Path(folder))
        await server.start()
        try:
            await _of(server.url)
        finally:
            server.kill()


async def _of(store: str) -> None:
    settings = Settings(
        store=store,
        store_stream="CLAIMS",
        queue_limit=2 * max(PENDING),
        queue_timeout=86_400,
        heartbeat_timeout=3600,
        offline_after=7200,
        workers=1,
        drain_grace=0.001,
    )
    gateway = Gateway(settings)
    async with gateway.lifespan():
        engine = gateway.engine
        await engine.parts.watch.until_ready()
        bench = Bench(engine)
        await bench.begin()
        looks = await bench.looks()
        print(f"claims, store: {store.partition(':')[0]}, one at a time, {CLAIMS} each")
        print(f"a task that comes while {WAITING} claims wait: {looks} of them look")
        print(f"{'':34}{'p50 ms':>9}{'p99 ms':>9}{'to renewal':>12}")
        for pending in PENDING:
            await bench.fill(pending)
            await bench.claims(20)
            rows = {
                "bare append": await bench.appends(),
                "renewal": await bench.renewals(),
                "claim": await bench.claims(),
                "claim with a lock": await bench.claims(lock=True),
            }
            for name, values in rows.items():
                told = f"{pending} wait: {name}"
                p99 = sorted(values)[int(len(values) * 0.99)]
                ratio = _p50(values) / _p50(rows["renewal"])
                print(f"{told:34}{_p50(values):9.3f}{p99:9.3f}{ratio:12.2f}")


async def _ms(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1e3


def _p50(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    asyncio.run(run())
