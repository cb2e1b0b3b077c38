"""Volume: whoever has put more into the log than its rate allows gets no new task for a while."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Task
from gateway.domain.access import LOCAL_OPERATOR, OPEN_USER_SCOPES, Caller
from gateway.domain.errors import RateLimitedRequest
from tests.execution.conftest import OpenWorld
from tests.execution.world import World

ANN, MAL = (Caller(name, OPEN_USER_SCOPES) for name in ("ann", "mal"))
LARGE: dict[str, Any] = {"agent": "nobody", "input": "x" * 200_000}


async def create_and_cancel(here: World, caller: Caller, times: int) -> int:
    """Do so with a large task until it is refused; gives how often it was not."""
    for number in range(times):
        try:
            made = await here.call("task.create", caller, **LARGE)
        except RateLimitedRequest as refused:
            return number if refused.code == "rate_limited" else -1
        await here.call("task.cancel", caller, task_id=made["task_id"])
    return times


async def test_large_tasks_of_one_user_do_not_push_out_what_others_wrote(
    open_world: OpenWorld,
) -> None:
    here = await open_world(log_bytes=8 * 2**20)
    note = {"type": "notification", "recipient_id": "ann", "subject": "s", "payload": {}}
    await here.call("event.publish", ANN, **note)
    # A quarter of the log, and one more.
    assert 8 <= await create_and_cancel(here, MAL, 100) <= 12
    assert await create_and_cancel(here, ANN, 2) == 2
    page = await here.call("event.list", ANN, topic="recipient:ann")
    assert [event["type"] for event in page["items"]] == ["notification"]
    await here.passing(1.1)
    assert {event["user_id"] for event in here.said("request_rejected")} == {"mal"}


async def test_the_wait_that_is_told_is_enough_and_no_shorter_one(open_world: OpenWorld) -> None:
    here = await open_world(log_bytes=2 * 2**20, task_bytes=100_000)
    await create_and_cancel(here, MAL, 100)
    with pytest.raises(RateLimitedRequest) as refused:
        await here.call("task.create", MAL, **LARGE)
    assert refused.value.retry_after is not None
    await here.passing(refused.value.retry_after - 0.1)
    assert await create_and_cancel(here, MAL, 1) == 0
    await here.passing(0.2)
    assert await create_and_cancel(here, MAL, 1) == 1


async def test_a_result_is_taken_whatever_it_weighs_and_is_owed(open_world: OpenWorld) -> None:
    here = await open_world(log_bytes=2**19, task_bytes=50_000)

    @here.gateway.agent("writer")
    async def write(task: Task) -> str:
        return "x" * 200_000

    ids = [await here.submit("writer", user_id="mal") for _ in range(5)]
    for task_id in ids:
        assert (await here.done(task_id)).status == "succeeded"
    assert await create_and_cancel(here, MAL, 1) == 0
    # What is critical is for few to ask, and an open gateway's "local" is everyone.
    await here.submit("nobody", user_id="mal", priority=0)
    for _ in range(5):
        await here.call("task.create", LOCAL_OPERATOR, **LARGE)


async def test_it_is_switched_off_by_0(open_world: OpenWorld) -> None:
    here = await open_world(log_bytes=2**20, task_bytes=0)
    assert await create_and_cancel(here, MAL, 20) == 20
