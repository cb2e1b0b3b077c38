"""What is taken on, once, and what is refused and said so."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from gateway import Task
from gateway.domain.access import Caller
from gateway.domain.errors import Conflict, InvalidParams, NotPermitted, Rejected, TooLarge
from gateway.protocol.operations import OPERATIONS
from tests.execution.conftest import OpenWorld
from tests.execution.world import SlowLog, World

ANN = Caller("ann", frozenset({"events:read", "tasks:write"}))


async def test_every_operation_has_a_handler_and_no_handler_is_without_one(here: World) -> None:
    assert set(here.engine.parts.handlers) == set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_an_operation_needs_its_scope_and_knows_its_parameters(
    here: World, name: str
) -> None:
    nobody = Caller("ann", frozenset())
    examples = {"term": 1, "type": "notification"}
    given = {field: examples.get(field, "x") for field in OPERATIONS[name].params["required"]}
    with pytest.raises(NotPermitted):
        await here.call(name, nobody, **given)
    if name != "event.publish":
        with pytest.raises(InvalidParams) as refused:
            await here.call(name, foreign=1, **given)
        assert refused.value.field == "foreign"


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


async def test_no_more_run_at_once_than_there_are_workers(open_world: OpenWorld) -> None:
    here = await open_world(workers=3)
    inside = most = 0

    @here.gateway.agent("slow")
    async def slow(task: Task) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await here.passing(1)
        inside -= 1

    ids = [await here.submit("slow") for _ in range(10)]
    for task_id in ids:
        await here.done(task_id)
    assert most == 3


async def test_the_most_urgent_goes_first_then_the_oldest(open_world: OpenWorld) -> None:
    here = await open_world(workers=1)
    order: list[int] = []

    @here.gateway.agent("noter")
    async def noter(task: Task, number: int) -> None:
        order.append(number)

    priorities = [5, 10, 0, 5, 1, 0]
    ids = [
        await here.submit("noter", {"number": number}, priority=priority)
        for number, priority in enumerate(priorities)
    ]
    for task_id in ids:
        await here.done(task_id)
    assert order == [2, 5, 4, 0, 3, 1]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"agent": "two words"}, "agent"),
        ({"priority": 11}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"timeout": 0}, "timeout"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"user_id": "*"}, "user_id"),
        ({"input": float("nan")}, "input"),
        ({"capability": "x"}, "agent"),
    ],
)
async def test_what_cannot_be_meant_is_refused_with_its_field(
    here: World, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        await here.call("task.create", **{"agent": "echo", **given})
    assert refused.value.field == field
    assert here.events == []


async def test_an_input_over_the_bound_is_refused(here: World) -> None:
    await here.call("task.create", agent="nobody", input="x" * (65_536 - 2))
    with pytest.raises(TooLarge) as refused:
        await here.call("task.create", agent="nobody", input="x" * (65_536 - 1))
    assert refused.value.field == "input"


async def test_only_operators_ask_for_others(here: World) -> None:
    await here.call("task.create", agent="nobody", user_id="bob")
    with pytest.raises(NotPermitted):
        await here.call("task.create", ANN, agent="nobody", user_id="bob")
    mine = await here.call("task.create", ANN, agent="nobody")
    assert here.state.tasks[mine["task_id"]].user_id == "ann"
    listed = await here.call("task.list", ANN)
    assert [task["task_id"] for task in listed["items"]] == [mine["task_id"]]
    with pytest.raises(NotPermitted):
        await here.call("task.list", ANN, user_id="bob")


async def test_tasks_are_listed_in_pages_newest_first(here: World) -> None:
    ids = [await here.submit("nobody") for _ in range(7)]
    found: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await here.call("task.list", limit=3, **cursor)
        found += [task["task_id"] for task in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == ids[::-1]


async def test_events_are_listed_in_pages_in_order(here: World) -> None:
    for _ in range(7):
        await here.submit("nobody", user_id="ann")
    await here.submit("nobody", user_id="bob")
    found: list[int] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await here.call("event.list", ANN, limit=3, type="task_submitted", **cursor)
        found += [event["offset"] for event in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == list(range(1, 8))
    for topic in ("user:bob", "*", "recipient:bob"):
        with pytest.raises(NotPermitted):
            await here.call("event.list", ANN, topic=topic)


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
