"""A task does not wait for ever: for a worker, or beyond its caller's deadline."""

from __future__ import annotations

import pytest

from gateway import Task
from gateway.errors import RateLimited
from tests.execution.conftest import OpenWorld
from tests.execution.world import World


async def test_a_task_that_no_worker_takes_is_a_dead_letter(here: World) -> None:
    """With the default limits, where the deadline is just as long, the better reason is told."""
    created = await here.call("task.create", agent="nobody", user_id="ann")
    assert created["warning"] == "no_worker"
    task = await here.done(created["task_id"])
    assert task.status == "dead_lettered"
    (finished,) = here.said("task_finished")
    assert (finished["reason"], finished["duration"]) == ("no_worker", 300)
    assert here.said("agent_error")[0]["error_code"] == "no_worker"


async def test_a_capability_that_no_worker_has_is_a_dead_letter(here: World) -> None:
    created = await here.call("task.create", capability="flying")
    assert created["warning"] == "no_worker"
    assert (await here.done(created["task_id"])).status == "dead_lettered"


async def test_a_capability_that_an_agent_has_is_taken(here: World) -> None:
    @here.gateway.agent("bird", capabilities=["flying"])
    async def bird(task: Task) -> str:
        return "up"

    created = await here.call("task.create", capability="flying")
    assert "warning" not in created
    assert (await here.done(created["task_id"])).result == "up"


async def test_the_callers_deadline_says_what_has_held_the_task(open_world: OpenWorld) -> None:
    here = await open_world()
    await here.done(await here.submit("nobody", timeout=10.0))
    message = here.said("agent_error")[-1]["message"]
    assert message == (
        "agent nobody: caller_deadline (timeout), limit_s 10.0, waited_for worker nobody"
    )


@pytest.mark.parametrize("state", ["pending", "running", "waiting"])
async def test_the_callers_deadline_ends_a_task_in_any_state(
    open_world: OpenWorld, state: str
) -> None:
    """No agent has failed: no breaker counts it."""
    here = await open_world(workers=1)

    @here.gateway.agent("hog", timeout=100.0)
    async def hog(task: Task) -> None:
        await here.passing(20)

    @here.gateway.agent("slow", timeout=100.0, max_attempts=2)
    async def slow(task: Task) -> None:
        if state == "waiting":
            raise RateLimited(retry_after=4.0)
        await here.passing(90)

    name = "nobody" if state == "pending" else "slow"
    task_id = await here.submit(name, timeout=10.0)
    await here.passing(2)
    if state == "waiting":
        # Its second attempt finds no room.
        await here.submit("hog")
    await here.passing(4)
    assert here.state.tasks[task_id].status == state
    task = await here.done(task_id)
    assert (task.status, here.said("task_finished")[0]["reason"]) == ("failed", "caller_deadline")
    assert here.said("agent_error")[-1]["error_code"] == "caller_deadline"
    if name in here.state.breakers:
        assert here.state.breakers[name].window.counts(here.engine.clock.wall())[1] == (
            state == "waiting"
        )
