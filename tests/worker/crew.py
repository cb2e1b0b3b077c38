"""Workers for tests: a claimer with a desk that the test holds, and a gateway to ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.errors import StaleTerm, StoreUnavailable
from gateway.ports import Draft, EventLog
from gateway.worker.claimer import Claim, Claimer
from gateway.worker.registration import Identity
from tests.transports.world import World, until

__all__ = ["Desk", "DoubtfulLog", "call", "status", "submit", "working"]


class Desk:
    """What a test's worker does with its claims: it holds each until the test lets it go."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.lost: list[str] = []
        self.running = self.most = 0
        self.go = asyncio.Event()
        self.registered: list[Identity] = []
        self.claimer: Claimer

    async def make(self, claim: Claim) -> None:
        self.claims.append(claim)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
            if claim["task_id"] not in self.lost:
                with contextlib.suppress(StaleTerm):
                    await self.claimer.report("task.complete", claim, {"result": "done"})
        finally:
            self.running -= 1

    def lose(self, task_id: str) -> None:
        self.lost.append(task_id)
        self.go.set()


@contextlib.asynccontextmanager
async def working(url: str, **options: Any) -> AsyncIterator[Desk]:
    """Run a worker; it has to leave by itself, or it is cancelled at the end."""
    desk = Desk()
    desk.claimer = Claimer(
        url,
        handle="test",
        agents=[{"name": "echo", "max_attempts": 1}],
        make=desk.make,
        lost=desk.lose,
        on_registered=desk.registered.append,
        **options,
    )
    running = asyncio.create_task(desk.claimer.run())
    try:
        await until(lambda: desk.registered or running.done())
        if running.done():
            running.result()
        yield desk
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def call(here: World, method: str, **params: Any) -> Any:
    return await here.engine.call(method, params, LOCAL_OPERATOR)


async def submit(here: World, **params: Any) -> str:
    task = await call(here, "task.create", agent="echo", input={"word": "yes"}, **params)
    return str(task["task_id"])


async def status(here: World, task_id: str) -> str:
    return str((await call(here, "task.get", task_id=task_id))["status"])


class DoubtfulLog:
    """The same log, which gives no answer to the first piece of text it is given."""

    def __init__(self, log: EventLog, *, writes: bool) -> None:
        self._log = log
        self._writes = writes
        self.doubted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        if self.doubted or drafts[0].type != "partial_result" or b'"text"' not in drafts[0].body:
            return await self._log.append(drafts, expected=expected)
        self.doubted = True
        if self._writes:
            await self._log.append(drafts, expected=expected)
        raise StoreUnavailable("no answer", retry_after=0.01, in_doubt=True)
