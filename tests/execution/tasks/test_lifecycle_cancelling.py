"""Cancelling is an outcome of its own, in every state; nothing comes after it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway import Task
from gateway.domain.access import Caller
from gateway.domain.errors import Conflict, NotFound
from gateway.errors import RateLimited
from tests.execution.world import World

ANN = Caller("ann", frozenset({"events:read", "tasks:write"}))
BOB = Caller("bob", frozenset({"events:read", "tasks:write"}))


@pytest.mark.parametrize("state", ["pending", "running", "waiting"])
@pytest.mark.parametrize("by", ["user", "operator"])
async def test_a_task_is_cancelled_in_any_state(here: World, state: str, by: str) -> None:
    stopped: list[bool] = []

    @here.gateway.agent("worker", timeout=100.0)
    async def worker(task: Task) -> None:
        if state == "waiting":
            raise RateLimited(retry_after=50.0)
        task.append("some")
        try:
            await here.passing(90)
        finally:
            stopped.append(True)

    task_id = await here.submit("nobody" if state == "pending" else "worker", user_id="ann")
    await here.passing(10)
    assert here.state.tasks[task_id].status == state
    if by == "user":
        view = await here.call("task.cancel", ANN, task_id=task_id)
    else:
        view = await here.call("task.cancel", task_id=task_id)
    assert view["status"] == "cancelled"
    await here.done(task_id)
    (finished,) = here.said("task_finished")
    assert (finished["outcome"], finished["reason"]) == ("cancelled", f"cancelled_by_{by}")
    assert finished["severity"] == "info"
    assert stopped == ([True] if state == "running" else [])
    await here.passing(100)
    assert len(here.said("task_finished", "task_started")) == (1 if state == "pending" else 2)
    if state == "running":
        assert here.said("partial_result_preserved")[0]["preserved_text"] == "some"
        assert here.said("agent_error")[0]["error_type"] == "cancelled"


async def test_cancelling_is_no_failure_of_the_agent(here: World) -> None:
    @here.gateway.agent("worker", timeout=100.0)
    async def worker(task: Task) -> None:
        await here.passing(90)

    for _ in range(10):
        task_id = await here.submit("worker")
        await here.passing(1)
        await here.call("task.cancel", task_id=task_id)
    assert here.state.breakers["worker"].consecutive == 0
    assert here.said("circuit_breaker_triggered") == []


async def test_an_agent_that_cancels_itself_has_failed_and_is_tried_again(here: World) -> None:
    @here.gateway.agent("worker", max_attempts=3)
    async def worker(task: Task) -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await here.passing(1)

    task = await here.run("worker")
    assert (task.status, task.attempt) == ("dead_lettered", 3)
    assert here.said("agent_error")[0]["cause"] == "exception"


async def test_a_result_that_comes_with_the_cancellation_is_too_late(here: World) -> None:
    @here.gateway.agent("worker", timeout=100.0)
    async def worker(task: Task) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await here.passing(90)
        return "late"

    task_id = await here.submit("worker")
    await here.passing(1)
    await here.call("task.cancel", task_id=task_id)
    task = await here.done(task_id)
    assert (task.status, task.result) == ("cancelled", None)
    assert here.said("resource_cleanup") == []


async def test_a_task_is_cancelled_once_and_by_its_owner_or_an_operator(here: World) -> None:
    @here.gateway.agent("worker", timeout=100.0)
    async def worker(task: Task) -> None:
        await here.passing(90)

    task_id = await here.submit("worker", user_id="ann")
    with pytest.raises(NotFound):
        await here.call("task.cancel", BOB, task_id=task_id)
    await here.call("task.cancel", ANN, task_id=task_id)
    with pytest.raises(Conflict):
        await here.call("task.cancel", ANN, task_id=task_id)
