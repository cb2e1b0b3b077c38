"""Limits: the queue, the deadline, the lease and the attempt each end a task in time."""

from __future__ import annotations

import pytest

from gateway.domain.errors import StaleTerm
from tests.execution.conftest import OpenWorld
from tests.execution.hands import TIMER_S, hand, passed
from tests.execution.world import World, away_world


async def test_a_lease_that_is_not_renewed_ends_at_its_time(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer")
    await worker.claim(lease_ttl=10)
    (started,) = here.said("task_started")
    await worker.beat_for(9.9, every=0.99)
    assert here.said("agent_error") == []
    await here.passing(TIMER_S)
    (error,) = here.said("agent_error")
    assert error["error_code"] == "lease_expired"
    assert 10 <= passed(error, started) <= 10 + TIMER_S
    with pytest.raises(StaleTerm):
        await worker.tell("task.complete", result=1)
    assert (await worker.claim())["term"] == 2
    await worker.tell("task.complete", result=2)
    assert (await here.done(task_id)).result == 2


async def test_a_lease_made_shorter_ends_at_the_shorter_time(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim(lease_ttl=60)
    await worker.tell("task.heartbeat", lease_ttl=2)
    await here.passing(2 + TIMER_S)
    assert [event["error_code"] for event in here.said("agent_error")] == ["lease_expired"]
    await here.call("task.cancel", task_id=worker.claimed["task_id"])


async def test_a_task_has_one_timer_of_its_lease_however_often_it_is_renewed(here: World) -> None:
    worker = await hand(here, agents=[{"name": "writer", "timeout": 1000}])
    await here.submit("writer", timeout=2000.0)
    await worker.claim(lease_ttl=3)
    before = len(here.engine.parts.monitor._due)
    for _ in range(100):
        await here.passing(1)
        await worker.tell("task.heartbeat")
    assert len(here.engine.parts.monitor._due) <= before + 1
    await worker.tell("task.complete", result=1)
    await here.passing(10)
    assert here.engine.parts.limits._lease_due == {}


async def test_over_the_limit_a_live_worker_has_stalled_and_a_silent_one_timed_out(
    here: World,
) -> None:
    agents = [{"name": "writer", "timeout": 10, "max_attempts": 1}]
    live = await hand(here, agents=agents)
    silent = await hand(here, agents=agents)
    first, second = await here.submit("writer"), await here.submit("writer")
    await live.claim()
    await silent.claim()
    await live.beat_for(10)
    assert here.said("agent_error") == []
    await live.beat_for(1, every=0.5)
    codes = {event["agent_id"]: event["error_code"] for event in here.said("agent_error")}
    assert codes == {live.agent_id: "stalled", silent.agent_id: "task_timeout"}
    assert {here.state.tasks[task].status for task in (first, second)} == {"dead_lettered"}


async def test_a_deadline_that_passed_while_the_store_was_away_ends_the_task_when_it_is_back(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    task_id = await here.submit("nobody", timeout=10.0)
    log.away = True
    await here.passing(20)
    log.away = False
    await here.passing(20)
    assert here.state.tasks[task_id].status == "failed"
