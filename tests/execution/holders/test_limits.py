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


# --- the queue -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("after_s", "taken"), [(9.99, True), (10.01, False)])
async def test_a_task_waits_for_a_holder_as_long_as_the_queue_allows(
    open_world: OpenWorld, after_s: float, taken: bool
) -> None:
    here = await open_world(queue_timeout=10.0)
    task_id = await here.submit("writer", timeout=100.0)
    await here.passing(after_s)
    worker = await hand(here)
    assert (await worker.claim() is not None) is taken
    if taken:
        await worker.beat_for(20)
        await worker.tell("task.complete", result=1)
    else:
        assert here.state.tasks[task_id].status == "dead_lettered"
        assert here.said("task_finished")[0]["reason"] == "no_worker"


@pytest.mark.parametrize("held_s", [3.0, 15.0])
async def test_a_task_that_was_given_back_has_its_time_in_the_queue_anew(
    open_world: OpenWorld, held_s: float
) -> None:
    """It was taken in time, so that it cannot end as one that nobody has taken."""
    here = await open_world(queue_timeout=10.0)
    task_id = await here.submit("writer", timeout=100.0)
    await here.passing(6)
    worker = await hand(here)
    await worker.claim()
    await here.passing(held_s)
    await worker.tell("task.release")
    await here.passing(9.9)
    assert here.state.tasks[task_id].status == "pending"
    await here.passing(TIMER_S)
    assert here.said("task_finished")[0]["reason"] == "no_worker"


async def test_of_two_limits_that_are_as_long_the_queues_reason_is_told(
    open_world: OpenWorld,
) -> None:
    here = await open_world(queue_timeout=10.0)
    task = await here.run("writer", timeout=10.0)
    assert (task.status, here.said("task_finished")[0]["reason"]) == ("dead_lettered", "no_worker")


async def test_a_task_that_waits_for_a_probe_has_until_its_deadline(open_world: OpenWorld) -> None:
    """Its agent is there and rests; and the reason that is told is the breaker's."""
    here = await open_world(queue_timeout=5.0)
    worker = await hand(here)
    waiting = await here.submit("writer", timeout=25.0)
    tasks = [await here.submit("writer", priority=0, max_attempts=1) for _ in range(5)]
    for _ in tasks:
        await worker.claim()
        await worker.tell("task.fail", message="no", error_type="service_unavailable")
    assert here.state.breakers["writer"].state == "open"
    await here.passing(20)
    assert here.state.tasks[waiting].status == "pending"
    await here.passing(6)
    assert here.said("task_finished", task_id=waiting)[0]["reason"] == "circuit_open"


async def test_while_this_node_did_not_run_no_time_in_the_queue_passes(
    open_world: OpenWorld,
) -> None:
    here = await open_world(queue_timeout=10.0)
    task_id = await here.submit("writer", timeout=1000.0)
    await here.passing(1)
    here.stopped_for(60)
    await here.passing(9.9)
    assert here.state.tasks[task_id].status == "pending"
    await here.passing(0.3)
    assert here.state.tasks[task_id].status == "dead_lettered"


# --- the deadline --------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [False, True])
async def test_the_callers_deadline_ends_a_task_whether_it_is_held_or_not(
    here: World, claimed: bool
) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", timeout=8.0)
    if claimed:
        await worker.claim(lease_ttl=60)
    await worker.beat_for(7.9, every=0.79)
    assert here.state.tasks[task_id].live
    await here.passing(0.2)
    assert here.state.tasks[task_id].status == "failed"
    assert here.said("agent_error")[-1]["error_code"] == "caller_deadline"
    assert here.said("task_finished")[0]["reason"] == "caller_deadline"


# --- leases and attempts -------------------------------------------------------------------------


async def test_a_lease_that_ends_while_the_store_is_away_is_lost_when_it_is_back(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    worker = await hand(here)
    task_id = await here.submit("writer", timeout=300.0)
    await worker.claim(lease_ttl=3)
    await here.passing(1)
    log.away = True
    await here.passing(10)
    log.away = False
    await here.passing(10)
    assert [event["error_code"] for event in here.said("agent_error")] == ["lease_expired"]
    assert here.state.tasks[task_id].holder is None
    await here.call("task.cancel", task_id=task_id)


async def test_after_a_stop_a_worker_may_still_report_that_its_attempt_was_over(
    here: World,
) -> None:
    """What it has said meanwhile waits in its connection."""
    worker = await hand(here, agents=[{"name": "writer", "timeout": 10, "max_attempts": 1}])
    await here.submit("writer", timeout=300.0)
    await worker.claim(lease_ttl=60)
    await here.passing(1)
    here.stopped_for(30)
    await here.passing(0.4)
    assert here.said("agent_error") == []
    assert (await worker.tell("task.complete", result=1))["status"] == "succeeded"


async def test_an_attempt_that_is_over_in_another_term_ends_no_later_attempt(here: World) -> None:
    worker = await hand(here, agents=[{"name": "writer", "timeout": 10}])
    await here.submit("writer", timeout=300.0)
    await worker.claim(lease_ttl=60)
    await worker.beat_for(8)
    await worker.tell("task.release")
    await worker.claim(lease_ttl=60)
    await worker.beat_for(8)
    assert here.said("agent_error") == []
    await worker.tell("task.complete", result=1)
