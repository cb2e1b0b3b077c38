"""The deputy: speaks for a process that lives and says nothing, and for no other."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.client.http_calls import HttpCalls
from gateway.worker import deputy as deputy_module
from gateway.worker.deputy import Deputy
from gateway.worker.losses import Process
from tests.transports.world import World, until, world
from tests.worker.crew import call, submit

BEAT_S = 0.1


class Silent:
    """A process that says nothing, and what its deputy does about it."""

    def __init__(self, here: World, popen: subprocess.Popen[bytes], identity: Any) -> None:
        self.here = here
        self.identity = {name: identity[name] for name in ("agent_id", "agent_secret")}
        self.killed: list[Process] = []
        now = asyncio.get_running_loop().time()
        self.process = Process(
            popen, Path("nowhere"), registered=True, beat_every_s=BEAT_S, heard_at=now
        )

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        calls = HttpCalls(self.here.ws)
        deputy = Deputy(calls, lambda: self.identity, self.killed.append)
        watching = asyncio.create_task(deputy.watch(self.process))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def status(self) -> str:
        return str(
            (await call(self.here, "agent.get", agent_id=self.identity["agent_id"]))["status"]
        )


@contextlib.asynccontextmanager
async def silent(**settings: Any) -> AsyncIterator[Silent]:
    async with world(**settings) as here:
        agents = [{"name": "echo", "timeout": 30}]
        identity = await call(here, "agent.register", handle="test", agents=agents)
        popen = await asyncio.to_thread(subprocess.Popen, ["sleep", "60"])
        try:
            yield Silent(here, popen, identity)
        finally:
            popen.kill()
            await asyncio.to_thread(popen.wait)


async def test_it_beats_and_renews_for_a_process_that_lives() -> None:
    async with silent(heartbeat_timeout=0.6) as one:
        task_id = await submit(one.here)
        claim = await call(one.here, "task.claim", **one.identity, lease_ttl=1)
        key = (task_id, claim["term"])
        due = asyncio.get_running_loop().time() + 60
        one.process.held[key] = {"task_id": task_id, "term": claim["term"], "due": due}
        async with one.watched():
            task, ends = one.here.engine.parts.state.tasks[task_id], [claim["lease_expires_at"]]

            def renewed() -> bool:
                if task.lease_expires_at != ends[-1]:
                    ends.append(task.lease_expires_at)
                return len(ends) > 3

            await until(renewed)
            assert await one.status() == "suspect"
            assert await call(one.here, "task.claim", **one.identity) is None
        assert one.killed == []


async def test_it_ends_a_process_for_the_limit_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deputy_module, "BEYOND_LIMIT_S", 0.1)
    async with silent() as one:
        now = asyncio.get_running_loop().time()
        for task_id, limit_s in (("t1", 0.2), ("t2", 60)):
            held = {"task_id": task_id, "term": 1, "due": now + limit_s}
            one.process.held[task_id, 1] = held
        async with one.watched():
            await until(lambda: one.killed)
        assert one.killed == [one.process]
        assert one.process.overdue == {("t1", 1)}


async def test_it_says_nothing_for_one_that_is_stopped_or_was_heard() -> None:
    """A process that is stopped does no work, and its tasks are for others."""
    async with silent(heartbeat_timeout=0.6) as one:
        one.process.popen.send_signal(signal.SIGSTOP)
        async with one.watched():
            await until(
                lambda: (
                    one.here.engine.parts.state.workers[one.identity["agent_id"]].status
                    == "unhealthy"
                )
            )
