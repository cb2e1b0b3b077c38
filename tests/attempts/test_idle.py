"""Pauses of attempts: how long one may give nothing, however long the whole takes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway import Gateway, Task
from gateway.attempts.idle import Idle
from gateway.domain.errors import ConfigurationError
from tests.execution.world import World
from tests.worker.test_desk import at_desk


async def test_an_agent_that_still_gives_something_is_not_cut(here: World) -> None:
    """A long answer streams for 100 s; its pauses are what is watched."""

    @here.gateway.agent("writer", timeout=300.0, idle_timeout=5.0)
    async def writer(task: Task) -> AsyncIterator[str]:
        for _ in range(25):
            await here.passing(4)
            yield "word "

    task = await here.run("writer")
    assert (task.status, task.result) == ("succeeded", "word " * 25)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_an_agent_that_gives_nothing_any_more_is_stalled_and_tried_again(
    here: World, kind: str
) -> None:
    stop = here.stop()

    async def writer(task: Task) -> str:
        task.append("some")
        if task.attempt == 1:
            await here.passing(100)
        return "done"

    def in_thread(task: Task) -> str:
        task.append("some")
        if task.attempt == 1:
            stop.here()
        return "done"

    function = writer if kind == "async" else in_thread
    here.gateway.agent("writer", timeout=300.0, idle_timeout=5.0)(function)
    began_at = asyncio.get_running_loop().time()
    task_id = await here.submit("writer")
    await here.until(lambda: here.said("agent_error"))
    stop.go()  # a retry waits for the thread of the attempt before
    task = await here.done(task_id)
    (error,) = here.said("agent_error")
    assert (error["error_code"], error["cause"], error["will_retry"]) == (
        "stalled",
        "timeout",
        True,
    )
    assert "idle_limit_s 5" in error["message"]
    assert (task.status, task.result, task.attempt) == ("succeeded", "done", 2)
    assert asyncio.get_running_loop().time() - began_at < 30


async def test_progress_and_steps_are_signs_of_life(here: World) -> None:
    @here.gateway.agent("thinker", timeout=300.0, idle_timeout=5.0, max_attempts=1)
    async def thinker(task: Task) -> str:
        for number in range(4):
            await here.passing(3)
            task.progress(step=f"thought {number}")
            await here.passing(3)
            task.preserve(f"thought {number}", number)
        return "done"

    assert (await here.run("thinker")).result == "done"


async def test_the_limit_of_the_whole_holds_beside_it(here: World) -> None:
    @here.gateway.agent("writer", timeout=20.0, idle_timeout=5.0, max_attempts=1)
    async def writer(task: Task) -> None:
        while True:
            await here.passing(1)
            task.append("x")

    await here.run("writer")
    assert here.said("agent_error")[0]["error_code"] == "task_timeout"


async def test_a_block_that_gives_nothing_is_stalled(here: World) -> None:
    @here.gateway.agent("endpoint", idle_timeout=5.0)
    async def endpoint(task: Task) -> None: ...

    async def block() -> None:
        async with here.gateway.attempt("endpoint", timeout=100.0) as task:
            await here.passing(4)
            task.append("x")
            await here.passing(4)
            task.append("x")
            await here.passing(50)

    with pytest.raises(TimeoutError):
        await block()
    (error,) = here.said("agent_error")
    assert (error["error_code"], error["cause"]) == ("stalled", "timeout")


async def test_a_block_that_ends_in_time_is_not_looked_at_any_more(here: World) -> None:
    @here.gateway.agent("endpoint", idle_timeout=5.0)
    async def endpoint(task: Task) -> None: ...

    async with here.gateway.attempt("endpoint") as task:
        await here.passing(4)
        task.result = "done"
    await here.passing(20)
    assert here.said("task_finished")[0]["result"] == "done"


async def test_a_worker_watches_the_pauses_of_its_attempts() -> None:
    worker = Gateway()

    @worker.agent("writer", timeout=60.0, idle_timeout=0.2)
    async def writer(task: Task) -> str:
        if task.attempt == 1:
            await asyncio.Event().wait()
        return "done"

    async with at_desk(worker, retry_base=0.01) as scene:
        task = await scene.run("writer")
        assert (task.status, task.result) == ("succeeded", "done")
        (error,) = scene.said("agent_error")
        assert (error["error_type"], error["error_code"]) == ("agent_lost", "stalled")
        assert scene.said("task_reassigned") == []


@pytest.mark.parametrize("idle_timeout", [0, -1.0, "5", math.nan])
def test_a_pause_of_no_length_is_refused(idle_timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="agent echo: idle_timeout has to be over 0"):
        Gateway().agent("echo", idle_timeout=idle_timeout)(lambda task: None)


async def test_without_a_limit_no_pause_is_too_long() -> None:
    idle = Idle(None)
    never: asyncio.Future[None] = asyncio.Future()
    await idle.wait({never}, limit_s=1000.0)
    assert not idle.is_over
