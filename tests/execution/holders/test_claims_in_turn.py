"""Which task is next, through the gateway: users take turns, waiting lifts, few claims look."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.execution.conftest import OpenWorld
from tests.execution.hands import Hand, hand
from tests.execution.world import World


async def test_a_thousand_tasks_of_one_user_delay_anothers_next_by_one_a_worker(
    open_world: OpenWorld,
) -> None:
    here = await open_world(queue_limit=10_000, log_events=50_000, queue_timeout=86_400)
    workers = [await hand(here) for _ in range(3)]
    for _ in range(1000):
        await here.submit("writer", user_id="many", timeout=86_400)
    order: list[str] = []

    async def work(worker: Hand) -> None:
        while (claim := await worker.claim()) is not None:
            order.append(claim["user_id"])
            await here.passing(1)
            await worker.tell("task.complete", result=None)

    working = [asyncio.create_task(work(worker)) for worker in workers]
    waited: list[int] = []
    for number in range(1, 21):
        # By then those of the first user have waited, and lifted their priority.
        await here.passing(7.3)
        before = len(order)
        await here.submit("writer", user_id="few")
        await here.until(lambda number=number: order.count("few") == number)  # type: ignore[misc]
        waited.append(order.index("few", before) - before)
    await asyncio.gather(*working)
    assert max(waited) <= len(workers)
    assert Counter(order) == {"many": 1000, "few": 20}


async def test_users_with_many_tasks_each_share_the_workers_evenly(open_world: OpenWorld) -> None:
    here = await open_world(queue_limit=10_000)
    worker = await hand(here)
    for user, count in (("ann", 30), ("bob", 10), ("cid", 20)):
        for _ in range(count):
            await here.submit("writer", user_id=user)
    order = []
    while (claim := await worker.claim()) is not None:
        order.append(claim["user_id"])
        await worker.tell("task.complete", result=None)
    assert Counter(order[:30]) == {"ann": 10, "bob": 10, "cid": 10}
    assert Counter(order[30:50]) == {"ann": 10, "cid": 10}
    assert set(order[50:]) == {"ann"}


@pytest.mark.requirement("FLUX-11")
async def test_under_a_constant_flow_of_urgent_tasks_the_least_urgent_is_done_and_p0_is_first(
    here: World,
) -> None:
    """Two hundred seconds, a worker that is never idle, and always a task of priority 1 or two."""
    worker, end = await hand(here), here.engine.clock.monotonic() + 200
    old = await here.submit("writer", user_id="ann", priority=9)
    started: list[tuple[float, int]] = []
    critical: list[tuple[str, float]] = []
    for _ in range(2):
        await here.submit("writer", user_id="ann", priority=1)
    while (now := here.engine.clock.monotonic()) < end:
        if len(started) % 20 == 19:
            critical.append((await here.submit("writer", user_id="ann", priority=0), now))
        claim = await worker.claim()
        priority = here.state.tasks[claim["task_id"]].priority
        started.append((here.engine.clock.wall() - here.state.tasks[old].created_at, priority))
        if critical and here.state.tasks[critical[-1][0]].attempt == 0:
            raise AssertionError("a critical task has waited for a lesser one")
        if priority == 1:
            await here.submit("writer", user_id="ann", priority=1)
        await here.passing(1)
        await worker.tell("task.complete", result=None)
    assert here.state.tasks[old].status == "succeeded"
    (when,) = [at for at, priority in started if priority == 9]
    # After eight steps it stands with those of priority 1, before all that are newer.
    assert 80 <= when <= 83
    assert len(critical) >= 9
    while (claim := await worker.claim()) is not None:
        await worker.tell("task.complete", result=None)


async def test_a_task_that_comes_is_looked_at_by_two_of_fifty_claims_that_wait(
    here: World,
) -> None:
    claims = here.engine.parts.claims
    workers = [await hand(here) for _ in range(50)]
    waiting = []
    for worker in workers:
        waiting.append(asyncio.create_task(worker.claim(wait=30)))
        await here.passing(0.01)
    assert claims.waiting == 50
    for number in range(5):
        before = claims.looks
        await here.submit("writer")
        await waiting[number]
        await here.passing(0.1)
        assert claims.looks - before == 2
        assert claims.waiting == 49 - number
    # Ten at once: one look for each, and one that finds nothing more.
    before = claims.looks
    for _ in range(10):
        await here.submit("writer")
    await asyncio.gather(*waiting[5:15])
    await here.passing(0.1)
    assert claims.looks - before <= 20
    assert not any(claim.done() for claim in waiting[15:])
    assert await asyncio.gather(*waiting[15:]) == [None] * 35
    for worker in workers[:15]:
        await worker.tell("task.complete", result=1)
