"""The desk of a worker against a real gateway: what it makes of claims, what it passes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, cast

import pytest

from gateway import Gateway, Task
from gateway.app.clock import SystemClock
from gateway.domain.settings import Settings
from gateway.ports import EventLog
from gateway.worker.desk import work
from gateway.worker.line import Line
from tests.transports.world import until, world
from tests.worker.crew import DoubtfulLog, call


class NobodyKeepsIt:
    """The line of a worker whose keeper listens to nothing."""

    hello: Mapping[str, Any] = {}

    def say(self, kind: str, **about: Any) -> None:
        """Tell nobody."""


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("step_bytes", [10, 600])
async def test_an_agent_in_a_worker_is_heard_once_whatever_else_was_not_kept(
    writes: bool, step_bytes: int
) -> None:
    """That there was no room for a step says nothing about the text."""
    worker = Gateway(Settings(partial_bytes_task=1000))

    @worker.agent("writer", timeout=20.0)
    async def writer(task: Task) -> str:
        task.preserve("first", "x" * step_bytes)
        task.preserve("second", "x" * step_bytes)
        await until(lambda: here.engine.parts.state.tasks[task.task_id].preserved.pieces == 2)
        task.append("Hello ")
        await until(lambda: here.engine.parts.state.tasks[task.task_id].preserved.text)
        task.append("world")
        return "done"

    async with world(
        partial_bytes_task=1000,
        wrap_log=lambda log: cast(EventLog, DoubtfulLog(log, writes=writes)),
    ) as here:
        line = cast(Line, NobodyKeepsIt())
        doing = work(
            worker.agents,
            line,
            settings=worker.settings,
            clock=SystemClock(),
            url=here.ws,
            handle="w",
            domain=None,
            concurrency=1,
            grace_s=1.0,
        )
        running = asyncio.create_task(doing)
        created = await call(here, "task.create", agent="writer")
        task = here.engine.parts.state.tasks[created["task_id"]]
        await until(lambda: not task.live or running.done())
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert (task.status, task.preserved.text) == ("succeeded", "Hello world")
        assert task.preserved.pieces == 4
        assert task.preserved.evicted == (["second"] if step_bytes == 600 else [])
