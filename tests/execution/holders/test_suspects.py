"""Suspects: a worker has one at a time, beside as many other tasks as it likes."""

from __future__ import annotations

import asyncio

from gateway.domain.attempt import ALONE_AFTER
from tests.execution.hands import Hand, hand
from tests.execution.world import World


async def held(worker: Hand, *task_ids: str) -> None:
    """Let a worker take certain tasks."""
    for task_id in task_ids:
        assert (await worker.claim(task_id=task_id))["task_id"] == task_id


async def lost(worker: Hand, *task_ids: str) -> None:
    """Report that a process has ended with certain tasks, the way a worker does."""
    others = len(task_ids) - 1
    for task_id in task_ids:
        term = worker.here.state.tasks[task_id].term
        worker.claimed = {"task_id": task_id, "term": term}
        about = {"error_type": "agent_lost", "error_code": "process_lost", "message": "gone"}
        await worker.tell("task.fail", **about, others=others)


async def test_two_of_one_process_are_not_given_to_one_worker_again(here: World) -> None:
    worker, other = await hand(here), await hand(here)
    first, second = await here.submit("writer"), await here.submit("writer")
    await held(worker, first, second)
    await lost(worker, first, second)
    fresh = await here.submit("writer")
    await here.passing(2)
    taken = [(await worker.claim())["task_id"] for _ in range(2)]
    assert taken == [first, fresh]
    assert await worker.claim() is None
    assert (await other.claim())["task_id"] == second
    for task_id in (first, second):
        assert len(here.state.tasks[task_id].attempts) == 2
        assert here.state.tasks[task_id].attempt == 2


async def test_a_claim_that_waits_is_passed_over_for_another_workers(here: World) -> None:
    """Claims of one kind find the same, except for what one worker may not have."""
    worker, other = await hand(here), await hand(here)
    first, second = await here.submit("writer"), await here.submit("writer")
    await held(worker, first, second)
    waiting = [asyncio.create_task(who.claim(wait=30)) for who in (worker, worker, other)]
    await here.passing(0.1)
    await lost(worker, first, second)
    await here.until(lambda: sum(one.done() for one in waiting) == 2)
    assert [one.done() for one in waiting] == [True, False, True]
    # What the worker holds ends: its other claim looks again, at once.
    second_of_it = await here.submit("writer")
    await here.until(waiting[1].done)
    assert (await waiting[1])["task_id"] == second_of_it


async def test_when_its_suspect_has_ended_a_worker_gets_the_next(here: World) -> None:
    worker = await hand(here)
    first, second = await here.submit("writer"), await here.submit("writer")
    await held(worker, first, second)
    await lost(worker, first, second)
    await here.passing(2)
    assert (await worker.claim())["task_id"] == first
    waiting = asyncio.create_task(worker.claim(wait=30))
    await here.passing(0.1)
    assert not waiting.done()
    await worker.tell("task.complete", result=1)
    await here.until(waiting.done)
    assert (await waiting)["task_id"] == second


async def test_one_that_is_lost_again_and_again_is_made_alone(here: World) -> None:
    """The first loss was beside others and does not count; from the second one on it is known."""
    worker = await hand(here, agents=[{"name": "writer", "max_attempts": 6}])
    killer, other = await here.submit("writer"), await here.submit("writer")
    await held(worker, killer, other)
    await lost(worker, killer, other)
    await here.call("task.cancel", task_id=other)
    alone = []
    for _ in range(ALONE_AFTER + 1):
        await here.until(lambda: here.state.tasks[killer].status == "waiting")
        await here.passing(30)
        await worker.beat()
        alone.append((await worker.claim(task_id=killer))["alone"])
        fresh = await here.submit("writer")
        await held(worker, fresh)
        await lost(worker, killer, fresh)
        await here.call("task.cancel", task_id=fresh)
    assert alone == [False] * ALONE_AFTER + [True]
    counted = [attempt for attempt in here.state.tasks[killer].attempts if not attempt.released]
    assert len(counted) == ALONE_AFTER + 1
