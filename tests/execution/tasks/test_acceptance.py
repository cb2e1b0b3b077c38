"""Which orders become a task, each once, and which are refused, with an event that says so."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from gateway import Task
from gateway.domain.access import OPEN_USER_SCOPES, Caller
from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import Conflict, NotPermitted, RateLimitedRequest, Rejected, Unavailable
from gateway.execution.record.intake import RACES_MAX
from tests.execution.conftest import OpenWorld
from tests.execution.hands import hand
from tests.execution.record.room import NOW, RacingLog, Room
from tests.execution.world import SlowLog, World

ANN = Caller("ann", frozenset({"events:read", "tasks:write"}))


# --- idempotency -----------------------------------------------------------------------------


async def test_the_same_order_twice_is_one_task(here: World) -> None:
    asked: dict[str, Any] = {"agent": "nobody", "input": {"a": 1}, "idempotency_key": "k"}
    answers = await asyncio.gather(*(here.call("task.create", ANN, **asked) for _ in range(20)))
    assert len({answer["task_id"] for answer in answers}) == 1
    assert len(here.said("task_submitted")) == 1
    assert (await here.call("task.create", **asked))["task_id"] != answers[0]["task_id"]


async def test_the_same_key_for_another_order_is_a_conflict(here: World) -> None:
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


async def test_over_the_limit_of_the_queue_orders_are_refused(open_world: OpenWorld) -> None:
    """The most important ones are taken up to twice the limit."""
    here = await open_world(queue_limit=3)
    for _ in range(3):
        await here.submit("nobody", priority=1)
    for priority in (1, 5, 10):
        with pytest.raises(Rejected) as rejected:
            await here.submit("nobody", user_id="ann", priority=priority)
        assert rejected.value.code == "priority_load_shedding"
        assert rejected.value.retry_after
    for _ in range(3):
        await here.submit("nobody", priority=0)
    with pytest.raises(Rejected):
        await here.submit("nobody", priority=0)
    await here.passing(1.1)
    events = here.said("request_rejected")
    assert {event["reason"] for event in events} == {"priority_load_shedding"}
    told = [(event["user_id"], event["count"]) for event in events]
    assert told == [("ann", 1), ("local", 1), ("ann", 2)]
    assert len(here.said("task_submitted")) == 6


async def test_over_the_limit_the_lowest_priority_is_refused_first(open_world: OpenWorld) -> None:
    """Each step of priority has a tenth of the limit more, while something less urgent waits."""
    here = await open_world(queue_limit=100)
    refused: dict[int, int] = {}
    for number in range(3_300):
        try:
            await here.submit("nobody", priority=number % 11)
        except Rejected:
            refused.setdefault(number % 11, number)
    assert 0 not in refused or min(refused.values()) < refused[0]
    in_order = sorted(refused, key=lambda priority: refused[priority])
    assert in_order == sorted(refused, reverse=True)
    assert refused[10] < 120
    assert here.state.queue_depth == 200
    waiting = [task.priority for task in here.state.live.values()]
    assert waiting.count(0) > waiting.count(10)


async def test_when_there_will_be_room_is_told_by_how_fast_tasks_begin(
    open_world: OpenWorld,
) -> None:
    here = await open_world(queue_limit=5)

    async def retry_after_s() -> float:
        with pytest.raises(Rejected) as rejected:
            await here.submit("nobody", priority=10)
        return rejected.value.retry_after or 0.0

    for _ in range(5):
        await here.submit("nobody", priority=10)
    assert await retry_after_s() == 1.0  # nothing has begun: it is not known
    worker = await hand(here, agents=[{"name": "slow", "timeout": 1000}])
    for _ in range(10):
        await here.submit("slow", priority=0)
        await worker.claim()
        await worker.tell("task.complete", result=1)
        await here.passing(0.9)
    assert 1.0 <= await retry_after_s() <= 1.2
    for _ in range(4):
        await here.submit("nobody", priority=0)
    assert 4.0 <= await retry_after_s() <= 6.0


@pytest.mark.parametrize(
    ("mode", "taken"),
    [("normal", 11), ("degraded", 6), ("read_only", 0), ("draining", 0)],
)
async def test_what_each_mode_takes(here: World, mode: str, taken: int) -> None:
    running = await here.submit("nobody", priority=10)
    await here.call("mode.set", mode=mode)
    refused = []
    for priority in range(11):
        try:
            await here.submit("nobody", priority=priority)
        except Rejected as error:
            refused.append((priority, error.code))
    reason = {"degraded": "degraded_mode"}.get(mode, mode)
    assert refused == [(priority, reason) for priority in range(taken, 11)]
    # What was accepted goes on.
    worker = await hand(here, agents=[{"name": "nobody"}])
    assert (await worker.claim()) is not None
    await worker.tell("task.complete", result=1)
    assert any(task.status == "succeeded" for task in here.state.tasks.values())
    await here.call("mode.set", mode="normal")
    await here.submit("nobody", priority=10)
    assert running in here.state.tasks


async def test_a_user_may_fill_a_share_of_the_queue_and_what_is_critical_counts_not(
    open_world: OpenWorld,
) -> None:
    here = await open_world(queue_limit=8, queue_share=0.25)
    ann = Caller("ann", OPEN_USER_SCOPES)
    for _ in range(2):
        await here.call("task.create", ann, agent="nobody")
    for _ in range(5):
        with pytest.raises(RateLimitedRequest) as refused:
            await here.call("task.create", ann, agent="nobody", priority=1)
        assert (refused.value.code, refused.value.retry_after) == ("queue_share", 1.0)
    await here.call("task.create", ann, agent="nobody", priority=0)
    await here.submit("nobody", user_id="bob")
    await here.passing(1.1)
    events = here.said("request_rejected")
    assert [(event["user_id"], event["count"]) for event in events] == [("ann", 1), ("ann", 4)]
    assert {event["error_code"] for event in events} == {"too_many_requests"}


async def test_an_agent_may_have_a_rate_and_its_users_are_told(open_world: OpenWorld) -> None:
    here = await open_world(rate_agent=2)
    ann = Caller("ann", OPEN_USER_SCOPES)
    for _ in range(4):
        await here.call("task.create", ann, agent="nobody")
    with pytest.raises(RateLimitedRequest, match="2 a second") as refused:
        await here.call("task.create", ann, agent="nobody")
    assert (refused.value.code, refused.value.retry_after) == ("rate_limited", 0.5)
    with pytest.raises(RateLimitedRequest):
        await here.submit("nobody")
    # Others have their own, and what is critical is for few to ask.
    await here.call("task.create", ann, agent="another")
    await here.submit("nobody", priority=0)
    await here.passing(0.6)
    await here.call("task.create", ann, agent="nobody")
    await here.passing(1)
    assert {event["user_id"] for event in here.said("request_rejected")} == {"ann", "local"}


async def test_priority_0_needs_a_right_of_its_own(here: World) -> None:
    ann = Caller("ann", OPEN_USER_SCOPES - {"tasks:critical"})
    with pytest.raises(NotPermitted, match="tasks:critical") as refused:
        await here.call("task.create", ann, agent="nobody", priority=0)
    assert refused.value.field == "priority"
    assert here.types() == []


async def test_a_task_that_runs_does_not_stand_in_the_queue(open_world: OpenWorld) -> None:
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


async def test_a_key_may_be_used_again_when_its_task_is_not_kept_any_more(here: World) -> None:
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


# --- call by call ----------------------------------------------------------------------------


def test_an_order_has_defaults_for_what_the_caller_has_not_named() -> None:
    room = Room(AgentPolicy("search", max_attempts=2), task_timeout=77.0)
    plain = room.acceptance.order("search", input=1, user_id="ann")
    assert (plain.priority, plain.timeout_s, plain.max_attempts) == (5, 77.0, 2)
    named = room.acceptance.order(
        "search", input=1, user_id="ann", priority=0, timeout=3.0, max_attempts=1, retry_of="t1"
    )
    assert (named.priority, named.timeout_s, named.max_attempts) == (0, 3.0, 1)
    assert named.retry_of == "t1"


async def submit(room: Room, agent: str = "search", **asked: Any) -> str:
    order = room.acceptance.order(agent, **{"input": 1, "user_id": "ann", **asked})
    return (await room.acceptance.submit(order)).task_id


async def test_a_gateway_that_leaves_takes_no_order_and_tells_the_user() -> None:
    room = Room(drain_grace=9.0)
    room.acceptance.draining = True
    with pytest.raises(Rejected) as rejected:
        await submit(room)
    assert (rejected.value.code, rejected.value.retry_after) == ("draining", 9.0)
    assert room.types == ["request_rejected"]


async def test_a_key_of_before_is_answered_by_a_gateway_that_leaves() -> None:
    """Its task is there, and the caller only wants to know which."""
    room = Room()
    first = await submit(room, idempotency_key="k")
    room.acceptance.draining = True
    assert await submit(room, idempotency_key="k") == first


@pytest.mark.parametrize(("priority", "waiting_max"), [(0, 4), (1, 2), (5, 2)])
async def test_the_queue_takes_orders_up_to_its_limit(priority: int, waiting_max: int) -> None:
    room = Room(queue_limit=2, queue_share=1.0)
    for _ in range(waiting_max):
        await submit(room, priority=priority)
    with pytest.raises(Rejected):
        await submit(room, priority=priority)
    assert room.state.queue_depth == waiting_max


async def test_a_reserved_order_does_not_wait_in_the_queue() -> None:
    room = Room(queue_limit=1)
    await submit(room)
    await submit(room, reserved_for="n1")
    assert len(room.state.live) == 2


async def opened(room: Room) -> None:
    """Open the breaker of ``search``."""
    breaker = room.state.breaker("search", "agent")
    await room.intake.append([room.breaker_drafts.triggered(breaker)])


async def test_an_order_for_an_agent_that_rests_is_refused_until_it_is_probed() -> None:
    room = Room(breaker_cooldown=10.0, breaker_permits=1)
    await opened(room)
    room.clock.now = NOW + 4
    with pytest.raises(Rejected) as rejected:
        await submit(room)
    assert (rejected.value.code, rejected.value.retry_after) == ("circuit_breaker_open", 6.0)
    (event,) = room.said("request_rejected")
    assert event["error_id"] == room.state.breakers["search"].error_id
    room.clock.now = NOW + 10
    await submit(room)
    assert room.types[-2:] == ["circuit_breaker_test_request", "task_submitted"]
    with pytest.raises(Rejected):
        await submit(room)


async def test_an_order_whose_fallback_answers_is_taken_while_the_agent_rests() -> None:
    room = Room(AgentPolicy("search", fallback="stand_in"))
    await opened(room)
    task_id = await submit(room)
    assert room.state.tasks[task_id].probe is None
    with pytest.raises(Rejected):
        await submit(room, reserved_for="n1")


async def test_an_order_that_loses_the_last_permit_is_refused_and_not_tried_for_ever() -> None:
    room = Room(breaker_permits=1, breaker_cooldown=10.0, wrap=RacingLog)
    await opened(room)
    room.clock.now += 10
    other = room.breakers.admit(AgentPolicy("search"), user_id="bob", task_id="t0", attempt=1)
    log: Any = room.log
    log.rival, log.races = other.drafts[0], 1  # type: ignore[union-attr]
    with pytest.raises(Rejected) as rejected:
        await submit(room)
    assert rejected.value.code == "circuit_breaker_open"
    assert room.said("task_submitted") == []


async def test_an_order_that_loses_every_race_is_given_up() -> None:
    """Another writer moves the breaker on each time."""
    room = Room(breaker_permits=RACES_MAX + 1, breaker_cooldown=10.0, wrap=RacingLog)
    await opened(room)
    room.clock.now += 10
    other = room.breakers.admit(AgentPolicy("search"), user_id="bob", task_id="t0", attempt=1)
    log: Any = room.log
    log.rival, log.races = other.drafts[0], RACES_MAX  # type: ignore[union-attr]
    with pytest.raises(Unavailable, match="too many ask at once"):
        await submit(room)


async def test_a_key_whose_task_is_known_and_not_kept_is_a_conflict() -> None:
    room = Room()
    task_id = await submit(room, idempotency_key="k")
    del room.state.tasks[task_id]
    with pytest.raises(Conflict) as refused:
        await submit(room, idempotency_key="k")
    assert refused.value.code == "idempotency_key_reused"
