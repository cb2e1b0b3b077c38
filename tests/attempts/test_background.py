"""Background tasks of attempts: their exceptions are told, and the attempt goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway import Gateway, Task
from gateway.attempts.background import Background
from gateway.attempts.pieces import FAILURES_MAX
from gateway.errors import RateLimited
from tests.execution.world import World
from tests.worker.test_desk import at_desk


async def broken() -> None:
    await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop
    raise KeyError("index")


async def unread() -> None:
    asyncio.ensure_future(broken())  # noqa: RUF006 - forgotten, as agents do
    for _ in range(5):
        await asyncio.sleep(0)  # noqa: TID251 - turns of the loop
    gc.collect()


async def test_what_a_background_task_raises_is_told_and_the_attempt_goes_on(here: World) -> None:
    @here.gateway.agent("side", max_attempts=1)
    async def side(task: Task) -> str:
        await unread()
        await here.passing(5)
        return "done"

    task = await here.run("side")
    (error,) = here.said("agent_error")
    told = (error["error_type"], error["error_code"], error["severity"], error["will_retry"])
    assert told == ("processing_error", "background_failure", "warning", False)
    assert (error["user_id"], error["attempt"]) == (task.user_id, 1)
    assert error["detail"]["exception"] == "builtins.KeyError"
    assert (task.status, task.result, len(task.attempts)) == ("succeeded", "done", 1)
    assert here.types()[-2:] == ["agent_error", "task_finished"]
    assert here.said("task_finished")[0]["error_id"] == error["error_id"]
    assert here.state.breakers["side"].consecutive == 0


async def test_one_that_is_still_held_when_the_agent_ends_is_told_before_the_end(
    here: World,
) -> None:
    kept: list[asyncio.Task[None]] = []

    @here.gateway.agent("side")
    async def side(task: Task) -> str:
        kept.append(asyncio.create_task(broken()))
        await here.passing(1)
        return "done"

    assert (await here.run("side")).result == "done"
    assert here.types()[-2:] == ["agent_error", "task_finished"]
    kept.clear()
    gc.collect()
    assert len(here.said("agent_error")) == 1


async def test_what_somebody_reads_is_no_background_failure(here: World) -> None:
    @here.gateway.agent("reader")
    async def reader(task: Task) -> str:
        late = asyncio.create_task(broken())
        await here.passing(2)
        with contextlib.suppress(KeyError):
            await late
        await asyncio.gather(broken(), broken(), return_exceptions=True)
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(broken())
        cancelled = asyncio.create_task(here.passing(100))
        cancelled.cancel()
        return "done"

    assert (await here.run("reader")).result == "done"
    assert here.said("agent_error") == []


async def test_one_that_fails_after_the_end_goes_to_operators_only(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def late() -> None:
        await here.passing(5)
        raise KeyError("late")

    @here.gateway.agent("side")
    async def side(task: Task) -> str:
        asyncio.ensure_future(late())  # noqa: RUF006 - forgotten, as agents do
        return "done"

    task = await here.run("side")
    await here.passing(10)
    gc.collect()
    assert here.said("agent_error") == []
    assert f"task {task.task_id}: a background task failed" in caplog.text


async def test_a_failure_of_the_attempt_itself_takes_the_same_id(here: World) -> None:
    """One failure of one task, from its first event to its last."""

    @here.gateway.agent("side", max_attempts=2)
    async def side(task: Task) -> str:
        if task.attempt == 2:
            return "done"
        await unread()
        await here.passing(1)
        raise RateLimited

    task = await here.run("side")
    beside, failed = here.said("agent_error")
    assert beside["error_id"] == failed["error_id"]
    assert (failed["will_retry"], task.status) == (True, "succeeded")
    assert here.said("system_recovered")[0]["error_id"] == failed["error_id"]


async def test_an_attempt_tells_so_many_and_no_more(here: World) -> None:
    @here.gateway.agent("side")
    async def side(task: Task) -> None:
        kept = [asyncio.create_task(broken()) for _ in range(FAILURES_MAX + 5)]
        await asyncio.wait(kept)

    await here.run("side")
    assert len(here.said("agent_error")) == FAILURES_MAX


async def test_a_block_tells_of_its_background_tasks_too(here: World) -> None:
    async with here.gateway.attempt("endpoint"):
        await unread()
        await here.passing(1)
    (error,) = here.said("agent_error")
    assert error["error_code"] == "background_failure"
    assert here.said("task_finished")[0]["outcome"] == "succeeded"


async def test_a_worker_tells_of_them_as_the_gateway_does() -> None:
    worker = Gateway()

    @worker.agent("side", max_attempts=1)
    async def side(task: Task) -> str:
        await unread()
        return "done"

    async with at_desk(worker) as scene:
        task = await scene.run("side")
        assert (task.status, task.result) == ("succeeded", "done")
        (error,) = scene.said("agent_error")
        assert (error["error_code"], error["severity"]) == ("background_failure", "warning")
        assert scene.said("task_finished")[0]["error_id"] == error["error_id"]


async def test_the_loops_own_factory_and_handler_are_still_used() -> None:
    loop = asyncio.get_running_loop()
    made: list[Any] = []
    handled: list[Any] = []
    failed: list[BaseException] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **more)

    before: tuple[Callable[..., Any] | None, Any] = (
        loop.get_task_factory(),
        loop.get_exception_handler(),
    )
    loop.set_task_factory(cast(Any, factory))
    loop.set_exception_handler(lambda loop, context: handled.append(context["message"]))
    try:
        background = Background(failed.append)
        background.begin()
        await unread()
        background.end()
        await unread()
    finally:
        loop.set_task_factory(before[0])
        loop.set_exception_handler(before[1])
    assert len(made) == 2
    assert [type(error) for error in failed] == [KeyError]
    assert handled == ["Task exception was never retrieved"]
