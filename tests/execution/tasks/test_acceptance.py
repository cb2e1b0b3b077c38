"""What is taken on, once, and what is refused and said so."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from gateway import Task
from gateway.domain.access import Caller
from gateway.domain.errors import Conflict, Rejected
from tests.execution.conftest import OpenWorld
from tests.execution.world import SlowLog, World

ANN = Caller("ann", frozenset({"events:read", "tasks:write"}))


# --- idempotency -----------------------------------------------------------------------------


async def test_the_same_request_twice_is_one_task(here: World) -> None:
    asked: dict[str, Any] = {"agent": "nobody", "input": {"a": 1}, "idempotency_key": "k"}
    answers = await asyncio.gather(*(here.call("task.create", ANN, **asked) for _ in range(20)))
    assert len({answer["task_id"] for answer in answers}) == 1
    assert len(here.said("task_submitted")) == 1
    assert (await here.call("task.create", **asked))["task_id"] != answers[0]["task_id"]


async def test_the_same_key_for_another_request_is_a_conflict(here: World) -> None:
    await here.call("task.create", agent="nobody", input=1, idempotency_key="k")
    for other in ({"input": 2}, {"input": 1, "priority": 1}, {"input": 1, "agent": "other"}):
        with pytest.raises(Conflict) as refused:
            await here.call("task.create", **{"agent": "nobody", "idempotency_key": "k", **other})
        assert refused.value.field == "idempotency_key"


async def test_a_key_means_the_same_through_every_door(here: World) -> None:
    """In Python, too: other content under the same key is not silently taken for the first."""
    first = await here.call(
        "task.create", agent="nobody", input={"a": 1, "b": 2}, idempotency_key="k"
    )
    again = await here.submit("nobody", {"b": 2, "a": 1}, idempotency_key="k")
    assert again == first["task_id"]
    with pytest.raises(Conflict):
        await here.submit("nobody", {"a": 2}, idempotency_key="k")
    mine = await here.submit("nobody", 1, idempotency_key="p")
    assert await here.submit("nobody", 1, idempotency_key="p") == mine
    with pytest.raises(Conflict):
        await here.submit("nobody", 2, idempotency_key="p")


async def test_a_key_still_stands_after_the_end(here: World) -> None:
    @here.gateway.agent("echo")
    async def echo(task: Task) -> None:
        pass

    task = await here.run("echo", idempotency_key="k")
    assert await here.submit("echo", idempotency_key="k") == task.task_id


# --- bounds ----------------------------------------------------------------------------------


async def test_over_the_limit_of_the_queue_requests_are_refused(open_world: OpenWorld) -> None:
    """The most important ones are taken up to twice the limit."""
    here = await open_world(queue_limit=3)
    for _ in range(3):
        await here.submit("nobody")
    for priority in (1, 5, 10):
        with pytest.raises(Rejected) as rejected:
            await here.submit("nobody", user_id="ann", priority=priority)
        assert rejected.value.code == "priority_load_shedding"
        assert rejected.value.retry_after
    for _ in range(3):
        await here.submit("nobody", priority=0)
    with pytest.raises(Rejected):
        await here.submit("nobody", priority=0)
    events = here.said("request_rejected")
    assert [event["reason"] for event in events] == ["priority_load_shedding"] * 4
    assert len(here.said("task_submitted")) == 6


async def test_what_runs_does_not_stand_in_the_queue(open_world: OpenWorld) -> None:
    here = await open_world(queue_limit=1, workers=3)

    @here.gateway.agent("slow")
    async def slow(task: Task) -> None:
        await here.passing(10)

    for _ in range(3):
        await here.submit("slow")
        await here.passing(0.1)
    await here.submit("slow")
    with pytest.raises(Rejected):
        await here.submit("slow")


async def test_a_key_that_is_forgotten_may_be_used_again(here: World) -> None:
    """What it stood for is not listed any more after a day; asking again makes a new task."""

    @here.gateway.agent("echo")
    async def echo(task: Task) -> str:
        return "done"

    first = (await here.run("echo", idempotency_key="k")).task_id
    here.stopped_for(2 * 86_400)
    await here.passing(60)
    await here.run("echo", idempotency_key="another")
    assert first not in here.state.tasks
    again = [await here.submit("echo", idempotency_key="k") for _ in range(2)]
    assert again[0] == again[1] != first


async def test_a_key_is_one_task_on_a_store_further_away(open_world: OpenWorld) -> None:
    """Every append takes a moment there, in which the same request comes again."""
    here = await open_world(wrap=lambda log: SlowLog(log, random.Random(0)))
    asked: dict[str, Any] = {"agent": "nobody", "idempotency_key": "k"}
    answers = await asyncio.gather(*(here.call("task.create", **asked) for _ in range(20)))
    assert len({answer["task_id"] for answer in answers}) == 1
