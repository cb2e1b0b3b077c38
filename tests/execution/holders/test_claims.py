"""Whom a task is given to: to who can still be told, and never to nobody."""

from __future__ import annotations

import asyncio
import dataclasses
import random

import pytest

from gateway.domain.errors import StaleTerm
from tests.execution.conftest import OpenWorld
from tests.execution.holders.test_registry import Hand, hand
from tests.execution.world import SlowLog, World, another_node


async def again(worker: Hand, session: str) -> list[dict[str, object]]:
    """Register the same worker over another connection; gives what it is taken to hold."""
    worker.caller = dataclasses.replace(worker.caller, session_id=session)
    answer = await worker.here.call(
        "agent.register", worker.caller, handle="writer", **worker.proof
    )
    held: list[dict[str, object]] = answer["tasks"]
    return held


async def test_who_has_come_back_hears_nothing_over_the_connection_that_it_has_lost(
    here: World,
) -> None:
    """From here the old one may look open for a minute, and its claim waits first in the row."""
    worker = await hand(here, session="lost")
    lost = asyncio.create_task(worker.claim(wait=20))
    await here.passing(1)
    assert await again(worker, "new") == []
    task_id = await here.submit("writer")
    claim = await worker.claim(wait=1)
    assert claim["task_id"] == task_id
    await worker.tell("task.complete", result=1)
    assert await lost is None


async def test_who_has_come_to_another_node_hears_nothing_from_the_first(here: World) -> None:
    """The connection that it has lost may look open from there for a minute."""
    async with another_node(here) as there:
        worker = await hand(here, session="lost")
        lost = asyncio.create_task(worker.claim(wait=20))
        await here.passing(1)
        back = dataclasses.replace(worker, here=there)
        assert await again(back, "new") == []
        task_id = await there.submit("writer")
        await here.passing(1)
        claim = await back.claim(wait=1)
        assert claim["task_id"] == task_id
        await back.tell("task.complete", result=1)
        assert await lost is None


async def test_another_registration_over_the_same_connection_costs_no_claim(here: World) -> None:
    worker = await hand(here, session="one")
    waiting = asyncio.create_task(worker.claim(wait=20))
    await here.passing(1)
    await again(worker, "one")
    task_id = await here.submit("writer")
    assert (await waiting)["task_id"] == task_id
    await worker.tell("task.complete", result=1)


async def test_who_drains_is_given_nothing_more(here: World) -> None:
    worker, other = await hand(here), await hand(here)
    waiting = asyncio.create_task(worker.claim(wait=2))
    await here.passing(1)
    await worker.beat(status="draining")
    await here.submit("writer")
    assert await waiting is None
    assert await other.claim() is not None
    await other.tell("task.complete", result=1)
    await worker.beat(status="idle")
    await here.submit("writer")
    assert await worker.claim() is not None
    await worker.tell("task.complete", result=1)


@pytest.mark.parametrize("seed", range(5))
async def test_a_claim_that_is_cancelled_has_taken_nothing(
    open_world: OpenWorld, seed: int
) -> None:
    """Whatever had begun by then is for somebody else, at once and without a failure."""
    chance = random.Random(seed)
    here = await open_world(seed=seed, wrap=lambda log: SlowLog(log, chance))
    gone, there = await hand(here), await hand(here)
    for _ in range(30):
        waiting = asyncio.create_task(gone.claim(wait=20))
        await here.passing(0.1)
        task_id = await here.submit("writer")
        await here.passing(chance.random() * 0.012)
        waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled():
            await gone.tell("task.complete", result=1)
            continue
        claim = await there.claim(wait=1)
        assert claim["task_id"] == task_id
        await there.tell("task.complete", result=1)
    assert here.said("lease_changed", action="released")
    assert here.said("agent_error") == []


async def test_who_comes_back_is_told_what_it_holds_and_goes_on_or_gives_it_back(
    here: World,
) -> None:
    """It need not know: a claim whose answer was lost, or a crash. Nothing waits for a lease."""
    worker = await hand(here, session="one")
    assert await again(worker, "one") == []
    task_id = await here.submit("writer")
    first = await worker.claim()
    assert await again(worker, "two") == [{"task_id": task_id, "term": 1}]
    same = await worker.claim(task_id=task_id)
    assert (same["term"], same["attempt"]) == (first["term"], first["attempt"])
    await worker.tell("task.release")
    assert await again(worker, "three") == []
    other = await hand(here)
    assert (await other.claim())["task_id"] == task_id
    await other.tell("task.complete", result=1)


@pytest.mark.parametrize("seed", range(5))
async def test_who_asks_for_a_task_twice_at_once_has_one_claim(
    open_world: OpenWorld, seed: int
) -> None:
    """The second asks before the store has taken the first; that is not another worker."""
    chance = random.Random(seed)
    here = await open_world(seed=seed, wrap=lambda log: SlowLog(log, chance))
    worker = await hand(here)
    task_id = await here.submit("writer")
    claims = await asyncio.gather(*(worker.claim(task_id=task_id) for _ in range(10)))
    assert {(claim["task_id"], claim["term"], claim["attempt"]) for claim in claims} == {
        (task_id, 1, 1)
    }
    await worker.tell("task.complete", result=1)


@pytest.mark.parametrize("seed", range(5))
async def test_a_lease_that_was_renewed_at_the_last_moment_is_not_taken_away(
    open_world: OpenWorld, seed: int
) -> None:
    """Who decides that it is over and meets the renewal looks again at when it ends."""
    chance = random.Random(seed)
    here = await open_world(seed=seed, wrap=lambda log: SlowLog(log, chance))
    worker = await hand(here)
    kept = 0
    for _ in range(40):
        await here.submit("writer", max_attempts=10)
        await worker.claim(lease_ttl=1)
        await here.passing(1 - chance.random() * 0.01)
        try:
            await worker.tell("task.heartbeat", lease_ttl=1)
        except StaleTerm:
            continue
        kept += 1
        await here.passing(0.5)
        await worker.tell("task.complete", result=1)
    assert 0 < kept < 40
